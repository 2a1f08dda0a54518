"""The model backend of a project as Label Studio sees it: whether it answers, with which model, to which secret."""

from typing import Any

from engine.labeling.client import LabelStudioClient
from engine.labeling.secret import BackendLogin
from schemas.errors import InputError

TITLE = "sam-engine"


def connect_backend(client: LabelStudioClient, project: int, url: str, login: BackendLogin) -> list[str]:
    """Make a project ask the model backend at `url` with the workspace's secret, and no other; what was changed.

    Raises InputError where it does not answer.
    """
    changed = []
    known = client.backends(project)
    good = [backend for backend in known if backend.get("url") == url and backend.get("is_interactive")][:1]
    for backend in known:
        if backend not in good:
            client.remove_backend(int(backend["id"]))
            changed.append("old model backend taken away")
    try:
        if not good:
            client.add_backend(project, url=url, title=TITLE, login=login)
            changed.append("model backend")
        elif not _has_login(good[0], login):
            client.put_login(int(good[0]["id"]), project, url=url, title=TITLE, login=login)
            changed.append("secret of the model backend")
    except InputError as error:
        raise InputError(
            f"Label Studio cannot reach the model backend at {url}; start it with: sam-engine labeling serve "
            f"WORKSPACE, and allow its address (ML_BLOCK_LOCAL_IP=false for one on this machine) ({error})"
        ) from error
    return changed + _connect_webhook(client, project, f"{url.rstrip('/')}/webhook", login)


def renew_login(client: LabelStudioClient, project: int, url: str, login: BackendLogin) -> None:
    """Give the workspace's secret to a project that was set up before there was one, or with another.

    Where the backend does not answer just now, nothing is changed, and the next call tries again.
    """
    for backend in client.backends(project):
        if backend.get("url", "").rstrip("/") == url and not _has_login(backend, login):
            try:
                client.put_login(int(backend["id"]), project, url=backend["url"], title=TITLE, login=login)
            except InputError:
                return
            _connect_webhook(client, project, f"{url}/webhook", login)


def backend_problem(
    client: LabelStudioClient, project: int, url: str, *, login: BackendLogin, model_id: str = ""
) -> str:
    """What is wrong with the model backend of a project, and the way out, in a line; "" where nothing is.

    Label Studio asks it anew. url: where it should be. model_id: that should answer, "" where any will do.
    """
    found = next((one for one in client.backends(project) if one.get("url", "").rstrip("/") == url), None)
    if found is None:
        return (
            f"project {project} has no model backend at {url}; start one with: sam-engine labeling serve, then run: "
            "sam-engine labeling setup"
        )
    if not _has_login(found, login):
        return f"project {project} does not have the secret of the model backend; run: sam-engine labeling setup"
    if found.get("state") == "ER" and "401" in str(found.get("error_message")):
        return (
            f"the model backend at {url} refuses this workspace's secret: it is another workspace's, or was started "
            "before the secret was made; start sam-engine labeling serve for this workspace anew"
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


def has_webhook(client: LabelStudioClient, project: int, url: str, login: BackendLogin) -> bool:
    """Whether a project tells the backend at `url` of what was done, with the workspace's secret."""
    hooks = [hook for hook in client.webhooks(project) if hook["url"] == f"{url}/webhook"]
    return any(_is_good(hook, login) for hook in hooks)


def _connect_webhook(client: LabelStudioClient, project: int, url: str, login: BackendLogin) -> list[str]:
    # Label Studio makes one by itself for each model backend, without a secret.
    hooks = [hook for hook in client.webhooks(project) if hook["url"] == url]
    headers = {"Authorization": login.webhook_header}
    if not hooks:
        client.add_webhook(project, url=url, headers=headers)
        return ["webhook"]
    if any(_is_good(hook, login) for hook in hooks):
        return []
    client.put_headers(int(hooks[0]["id"]), url=url, headers=headers)
    return ["secret of the webhook"]


def _has_login(backend: dict[str, Any], login: BackendLogin) -> bool:
    return backend.get("basic_auth_user") == login.user and bool(backend.get("basic_auth_pass_is_set"))


def _is_good(hook: dict[str, Any], login: BackendLogin) -> bool:
    return (hook.get("headers") or {}).get("Authorization") == login.webhook_header
