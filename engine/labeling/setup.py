"""The project of a stage or a gate in Label Studio: made, found again, put right. Doing it twice changes nothing."""

from engine.annotation import Link
from engine.labeling.client import HANDED_OUT, LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks
from engine.places import place
from schemas.config import ANNOTATED_STAGES
from schemas.errors import InputError
from schemas.labeling import Purpose, instructions, labeling_config, project_title

PURPOSES_WITH_MODEL: tuple[Purpose, ...] = (*ANNOTATED_STAGES, "audit")


def setup_project(
    client: LabelStudioClient,
    folder: LabelingFolder,
    purpose: Purpose,
    *,
    name: str,
    backend_url: str,
    links: PictureLinks = PictureLinks(),
) -> Link:
    """Make sure that the project of a purpose exists, with its labelling config, pictures, model backend and webhook.

    name: of the workspace, in the title. links: addresses of pictures.
    Raises InputError if the model backend does not answer, WaitError if Label Studio does not.
    """
    project = known_project(client, folder, purpose, name)
    changed: list[str] = []
    config, text = labeling_config(purpose), instructions(purpose)
    if project is None:
        project = client.create_project(title=project_title(name, purpose), config=config, instructions=text)
        changed.append("project")
    else:
        changed += _put_right(client, project, config, text)
    try:
        if not links.base:
            changed += _connect_pictures(client, folder, project, purpose)
    except InputError:
        if "project" in changed:
            client.delete_project(project)  # nobody can work in it
        raise
    folder.put_project(purpose, project)
    if purpose in PURPOSES_WITH_MODEL:
        changed += _connect_backend(client, project, backend_url)
    return Link(purpose, f"{client.url}/projects/{project}/data", tuple(changed), project)


def known_project(client: LabelStudioClient, folder: LabelingFolder, purpose: Purpose, name: str) -> int | None:
    """The project by the id that is kept, else by its title; None where there is none, or none any more."""
    projects = client.projects()
    kept = folder.project(purpose)
    return kept if kept in projects.values() else projects.get(project_title(name, purpose))


def _put_right(client: LabelStudioClient, project: int, config: str, text: str) -> list[str]:
    """Of a project that is there already. What is right is not sent: the server goes through all tasks for it."""
    found, changed = client.project(project), []
    if found.get("label_config", "").split() != config.split():
        client.update_project(project, label_config=config, expert_instruction=text)
        changed.append("labelling config")
    if any(found.get(name) != value for name, value in HANDED_OUT.items()):
        client.update_project(project, **HANDED_OUT)
        changed.append("how tasks are handed out")
    return changed


def _connect_pictures(client: LabelStudioClient, folder: LabelingFolder, project: int, purpose: Purpose) -> list[str]:
    pictures = folder.images / purpose  # the server refuses its document root itself
    place(pictures).make_folder()
    if str(pictures.resolve()) in client.local_storages(project):
        return []
    try:
        client.add_local_storage(project, folder=str(pictures.resolve()))
    except InputError as error:
        raise InputError(
            f"Label Studio cannot show pictures of {pictures}; start it on a machine that has this folder, with "
            f"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="
            f"{folder.images.resolve()} ({error})"
        ) from error
    return ["pictures"]


def _connect_backend(client: LabelStudioClient, project: int, url: str) -> list[str]:
    changed = []
    known = client.backends(project)
    good = [backend for backend in known if backend.get("url") == url and backend.get("is_interactive")]
    for backend in known:
        if backend not in good[:1]:
            client.remove_backend(int(backend["id"]))
            changed.append("old model backend taken away")
    if not good:
        try:
            client.add_backend(project, url=url, title="sam-engine")
        except InputError as error:
            raise InputError(
                f"Label Studio cannot reach the model backend at {url}; start it with: sam-engine labeling serve "
                f"WORKSPACE, and allow its address (ML_BLOCK_LOCAL_IP=false for one on this machine) ({error})"
            ) from error
        changed.append("model backend")
    hook = f"{url.rstrip('/')}/webhook"
    if hook not in client.webhooks(project):
        client.add_webhook(project, url=hook)
        changed.append("webhook")
    return changed
