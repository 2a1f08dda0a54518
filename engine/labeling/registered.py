"""The model backend of a project as Label Studio sees it: whether it answers, and with which model."""

from engine.labeling.client import LabelStudioClient


def backend_problem(client: LabelStudioClient, project: int, url: str, *, model_id: str = "") -> str:
    """What is wrong with the model backend of a project, and the way out, in a line; "" where nothing is.

    Label Studio asks it anew. url: where it should be. model_id: that should answer, "" where any will do.
    """
    found = next((one for one in client.backends(project) if one.get("url", "").rstrip("/") == url), None)
    if found is None:
        return (
            f"project {project} has no model backend at {url}; start one with: sam-engine labeling serve, then run: "
            "sam-engine labeling setup"
        )
    if found.get("state") != "CO":
        return f"the model backend at {url} does not answer; start it with: sam-engine labeling serve"
    answers = str(found.get("model_version") or "")
    if model_id and answers != model_id:
        return (
            f"the model backend at {url} answers with model {answers}, and the open round works with {model_id}; start "
            "sam-engine labeling serve for this workspace anew, without --model"
        )
    return ""
