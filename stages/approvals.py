"""What a person has to allow before it happens: a stage that begins, a release that is built (`flow.approve`).

An approval is for a state of the workspace, not for ever: for the model that a stage would work with, or for the masks
that a release would hold. It is a small file in the workspace, so that it holds for every run, command and machine.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from engine.keys import content_key
from engine.places import Place
from engine.store import Store
from engine.workspace import Workspace
from schemas.config import APPROVE_RELEASE, EngineConfig
from schemas.errors import InputError, WaitError
from schemas.stages import Stage

_FOLDER = "approvals"
RELEASED: tuple[Stage, ...] = ("fully_automatic",)  # unless somebody asks for others


@dataclass(frozen=True)
class Approval:
    """Something that is to be allowed. what: a stage, or "release". subject: the state that it is allowed for. options:
    of the command that allows it."""

    what: str
    subject: str
    options: str = ""


@dataclass(frozen=True)
class Approved:
    """That a person allowed it: who, and what they noted."""

    what: str
    subject: str
    by: str
    note: str


def of_stage(config: EngineConfig, stage: Stage, model: str) -> Approval | None:
    """What has to be allowed before a round of a stage opens that works with a model; None where nothing has to be."""
    return Approval(stage, model) if stage in config.flow.approve else None


def of_release(store: Store, config: EngineConfig, stages: Sequence[Stage]) -> Approval | None:
    """What has to be allowed before a release of the masks of these stages, as they are now."""
    if APPROVE_RELEASE not in config.flow.approve:
        return None
    versions = store.versions()
    chosen = [(stage, versions.get(stage, -1)) for stage in sorted(set(stages))]
    options = "" if set(stages) == set(RELEASED) else "".join(f" --stage {stage}" for stage, _ in chosen)
    return Approval(APPROVE_RELEASE, content_key(chosen, config.release.model_dump_json()), options)


def find_approval(workspace: Workspace, wanted: Approval) -> Approved | None:
    """The approval, where a person gave it. Raises InputError for a damaged file."""
    file = _file(workspace, wanted)
    try:
        return Approved(**json.loads(file.text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: damaged; delete it and approve again: {command(workspace, wanted)}") from error


def all_given(workspace: Workspace) -> list[Approved]:
    """Every approval that was given, of states that are past, too. Damaged files are left out."""
    found = []
    for file in (workspace.root / _FOLDER).find("*.json"):
        with suppress(ValueError, TypeError):
            found.append(Approved(**json.loads(file.text())))
    return found


def approve(workspace: Workspace, wanted: Approval, *, by: str, note: str = "") -> bool:
    """Allow it. Returns False where it is allowed already: nothing is written then."""
    if find_approval(workspace, wanted) is not None:
        return False
    file = _file(workspace, wanted)
    (workspace.root / _FOLDER).make_folder()
    file.write(json.dumps(asdict(Approved(wanted.what, wanted.subject, by, note)), ensure_ascii=False).encode())
    return True


def require(workspace: Workspace, wanted: Approval | None) -> None:
    """Raises WaitError, with the command for it, where it has to be allowed and is not."""
    if (message := missing(workspace, wanted)) is not None:
        raise WaitError(message)


def missing(workspace: Workspace, wanted: Approval | None) -> str | None:
    """For whom it waits and the way to answer; None where nothing has to be allowed, or it is."""
    if wanted is None or find_approval(workspace, wanted) is not None:
        return None
    subject = "a release of the masks as they are now" if wanted.what == APPROVE_RELEASE else f"model {wanted.subject}"
    return f"{wanted.what} waits for a person who approves {subject}; run: {command(workspace, wanted)}"


def command(workspace: Workspace, wanted: Approval) -> str:
    return f"sam-engine approve {workspace} {wanted.what}{wanted.options}"


def _file(workspace: Workspace, wanted: Approval) -> Place:
    return workspace.root / _FOLDER / f"{wanted.what}-{wanted.subject}.json"
