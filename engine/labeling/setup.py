"""The project of a stage or a gate in Label Studio: made, found again, put right. Doing it twice changes nothing."""

from engine.annotation import Link
from engine.files import open_lock, take
from engine.labeling.client import HANDED_OUT, LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks
from engine.labeling.registered import connect_backend
from engine.labeling.secret import backend_login
from engine.places import place
from schemas.errors import InputError
from schemas.labeling import Purpose, instructions, labeling_config, project_title
from schemas.stages import ANNOTATED_STAGES

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

    Of several at once on a machine one makes it, and the others wait and find it.
    name: of the workspace, in the title. links: addresses of pictures.
    Raises InputError if the model backend does not answer, WaitError if Label Studio does not.
    """
    with open_lock(folder.root / ".setup.lock") as lock:
        take(lock, wait=True)
        return _set_up(client, folder, purpose, name=name, backend_url=backend_url, links=links)


def _set_up(
    client: LabelStudioClient,
    folder: LabelingFolder,
    purpose: Purpose,
    *,
    name: str,
    backend_url: str,
    links: PictureLinks,
) -> Link:
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
        changed += connect_backend(client, project, backend_url, backend_login(folder))
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
