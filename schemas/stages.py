"""The stages of the engine by name, in the order in which they follow one another.

Three are built in. A distribution brings another by an entry point that gives a `StageInfo`:

    [project.entry-points."sam_data_engine.stages"]
    detector_boxes = "detector_boxes:STAGE"

A workspace has it where its `engine.yaml` names it under `stages`.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from schemas.plugins import Registry

Stage = str
# What does their work: as in `StageInfo`.
BUILTIN_WORKERS: Mapping[Stage, str] = {
    "assisted_manual": "stages.assisted_manual:AssistedManualWorker",
    "semi_automatic": "stages.semi_automatic:SemiAutomaticWorker",
    "fully_automatic": "stages.fully_automatic:FullyAutomaticWorker",
}
BUILTIN_STAGES: tuple[Stage, ...] = tuple(BUILTIN_WORKERS)
# In these annotators work, in rounds of some images each; in the others the model works alone, on every image.
ANNOTATED_STAGES: tuple[Stage, ...] = ("assisted_manual", "semi_automatic")
STAGES_GROUP = "sam_data_engine.stages"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
# Names of the tables, gates and flows that there are already.
_TAKEN = re.compile(
    "images|ground_truth|annotations|events|generation|rounds|round_images|shard_sums|published|collected|prompts"
    "|questions|gates|returned|removed|image_numbers|mask_numbers|rejected|verification|exhaustivity|audit|data_engine"
)
_log = logging.getLogger(__name__)


class StageOptions(BaseModel):
    """What `engine.yaml` may say of a stage that a package brings; a package derives its own from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class StageInfo:
    """All that others need to know of a stage that a package brings, without the code that does its work.

    worker: "module:class" of a `stages.workers.ShardWorker`, imported when there is work to do. options: of its keys
    under `stages` in `engine.yaml`. after: the stage that it follows. No annotators work in it: like the fully
    automatic stage it takes every image that it has not had, with the model of the last annotated stage before it.
    """

    worker: str
    options: type[StageOptions] = StageOptions
    after: Stage = BUILTIN_STAGES[-1]


def can_be_called(name: str) -> bool:
    """Whether a package's stage can have that name: it becomes a table's and a flow's."""
    return bool(_NAME.fullmatch(name)) and not _TAKEN.fullmatch(name) and name not in BUILTIN_STAGES


STAGE_INFOS: Registry[StageInfo] = Registry(
    "stage", group=STAGES_GROUP, needs=("worker", "options", "after"), builtin={}
)


def _installed() -> dict[Stage, StageInfo]:
    found = {}
    for name, info in STAGE_INFOS.working():
        if not can_be_called(name):
            _log.warning("stage %r of %s is left out: no stage can have that name", name, info.worker)
        else:
            found[name] = info
    return found


def in_order(installed: Mapping[Stage, StageInfo]) -> tuple[Stage, ...]:
    """The built-in stages and those of packages, each behind the one that it follows, by name where several follow one.

    One that follows none of the others is left out, with a warning in the log.
    """
    order, left = list(BUILTIN_STAGES), dict(sorted(installed.items(), reverse=True))
    while placed := [name for name, info in left.items() if info.after in order]:
        for name in placed:
            order.insert(order.index(left.pop(name).after) + 1, name)
    for name, info in left.items():
        _log.warning("stage %r of %s is left out: there is no stage %r to follow", name, info.worker, info.after)
    return tuple(order)


INSTALLED_STAGES: Mapping[Stage, StageInfo]
STAGES: tuple[Stage, ...]


def __getattr__(name: str) -> object:
    """STAGES and INSTALLED_STAGES, found when they are first asked for: so that a package's module can import this one
    to say what its stage is."""
    if name not in ("STAGES", "INSTALLED_STAGES"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    installed = _installed()
    globals().update(INSTALLED_STAGES=installed, STAGES=in_order(installed))
    return globals()[name]
