"""Which images a round takes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.image_index import ImageIndex
from engine.quality.returned import returned_images, waiting
from engine.store import Store
from schemas.config import EngineConfig
from schemas.image_ids import ImageIds
from schemas.stages import ANNOTATED_STAGES, Stage
from schemas.tables import Round
from stages.unreadable import lost_images


def images_of_next_round(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> ImageIds:
    """The images that the next round of a stage takes; empty where none is left.

    rounds: of all stages so far. People get images that nobody annotated yet and that are not held out; the simulated
    annotator only those with ground truth. Images that a gate of quality sent back come first; where no round is left
    for them, they get one of their own. A stage without annotators takes every image it has not had.
    Images that a round left out since they could not be read are free again once they can.
    """
    images, lost = store.image_index(), lost_images(store, rounds)
    if stage not in ANNOTATED_STAGES:
        return ImageIds(images.first(images.without([*_taken(rounds, (stage,)), lost]), len(images)))
    people = config.annotator.by_people
    back = [image.image_id for image in waiting(returned_images(store), rounds)] if people else []
    returned = [image_id for image_id in back if image_id not in lost]
    allowed = _can_be_annotated(images, needs_ground_truth=not people)
    allowed &= images.without([*_taken(rounds, ANNOTATED_STAGES), ImageIds(back), lost])
    later = ANNOTATED_STAGES[ANNOTATED_STAGES.index(stage) + 1 :]
    left = {name: _rounds_left(config, name, rounds) for name in (stage, *later)}
    count = share_of_images(
        len(returned) + int(np.count_nonzero(allowed)),
        rounds_left=left[stage],
        images_per_round=_images_per_round(config, stage),
        later_rounds_left=sum(left[name] for name in later),
        later_images=sum(left[name] * _images_per_round(config, name) for name in later),
        first_round=not any(record.stage == stage for record in rounds),
    )
    if count == 0 and not later:
        return ImageIds(returned)  # a round of their own, although none is left
    back_first = np.array(returned[:count], dtype=np.int64)
    return ImageIds(np.concatenate([back_first, images.first(allowed, count - len(returned))]))


def share_of_images(
    free: int,
    *,
    rounds_left: int,
    images_per_round: int,
    later_rounds_left: int,
    later_images: int,
    first_round: bool,
) -> int:
    """How many of `free` images the next of a stage's rounds takes.

    later_images: that the rounds left of later stages could take.
    With plenty: images_per_round. With fewer than all rounds that are left could take, equal shares of what there is,
    so that each round, of later annotated stages too, gets something; the last image is left to these.
    """
    rounds = rounds_left + later_rounds_left
    if rounds_left <= 0 or free == 0:
        return 0
    if free >= rounds_left * images_per_round + later_images:
        return images_per_round
    if later_rounds_left and free == 1 and not first_round:
        return 0
    return min(images_per_round, -(-free // rounds))


def rounds_of(config: EngineConfig, stage: Stage) -> int:
    """How many rounds of an annotated stage the configuration asks for."""
    return int(getattr(config, stage).rounds)


def _images_per_round(config: EngineConfig, stage: Stage) -> int:
    return int(getattr(config, stage).images_per_round)


def _rounds_left(config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> int:
    return rounds_of(config, stage) - sum(record.stage == stage for record in rounds)


def _can_be_annotated(images: ImageIndex, *, needs_ground_truth: bool) -> npt.NDArray[np.bool_]:
    of_train = ~images.held_out
    return of_train & images.has_ground_truth if needs_ground_truth else of_train


def _taken(rounds: Sequence[Round], stages: Sequence[Stage]) -> list[ImageIds]:
    return [record.worked_on for record in rounds if record.stage in stages]
