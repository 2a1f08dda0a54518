"""Which images a round takes."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from engine.quality.returned import returned_images, waiting
from engine.store import Store
from schemas.config import EngineConfig, Stage
from schemas.tables import Round

PEOPLE_STAGES: tuple[Stage, Stage] = ("assisted_manual", "semi_automatic")


def images_of_next_round(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> list[int]:
    """The images that the next round of a stage takes; empty where none is left.

    rounds: of all stages so far. People get images that nobody annotated yet and that are not held out; the simulated
    annotator only those with ground truth. Images that a gate of quality sent back come first; where no round is left
    for them, they get one of their own. The fully automatic stage takes every image it has not had.
    """
    images = store.images()
    if stage == "fully_automatic":
        return _without(images, _taken(rounds, (stage,)))
    people = config.annotator.by_people
    returned = [image.image_id for image in waiting(returned_images(store), rounds)] if people else []
    allowed = _can_be_annotated(images, needs_ground_truth=not people)
    free = returned + _without(images.filter(allowed), _taken(rounds, PEOPLE_STAGES))
    done = {people: sum(record.stage == people for record in rounds) for people in PEOPLE_STAGES}
    left = {people: rounds_of(config, people) - done[people] for people in PEOPLE_STAGES}
    later = PEOPLE_STAGES[PEOPLE_STAGES.index(stage) + 1 :]
    count = share_of_images(
        len(free),
        rounds_left=left[stage],
        images_per_round=_images_per_round(config, stage),
        later_rounds_left=sum(left[people] for people in later),
        later_images_per_round=config.semi_automatic.images_per_round,
        first_round=done[stage] == 0,
    )
    if count == 0 and not later:
        return returned  # a round of their own, although none is left
    return free[:count]


def share_of_images(
    free: int,
    *,
    rounds_left: int,
    images_per_round: int,
    later_rounds_left: int,
    later_images_per_round: int,
    first_round: bool,
) -> int:
    """How many of `free` images the next of a stage's rounds takes.

    With plenty: images_per_round. With fewer than all rounds that are left could take, equal shares of what there is,
    so that each round, of the later people's stage too, gets something; the last image is left to that stage.
    """
    rounds = rounds_left + later_rounds_left
    if rounds_left <= 0 or free == 0:
        return 0
    if free >= rounds_left * images_per_round + later_rounds_left * later_images_per_round:
        return images_per_round
    if later_rounds_left and free == 1 and not first_round:
        return 0
    return min(images_per_round, -(-free // rounds))


def rounds_of(config: EngineConfig, stage: Stage) -> int:
    """How many rounds of a people's stage the configuration asks for."""
    return config.assisted_manual.rounds if stage == "assisted_manual" else config.semi_automatic.rounds


def _images_per_round(config: EngineConfig, stage: Stage) -> int:
    return (
        config.assisted_manual.images_per_round
        if stage == "assisted_manual"
        else config.semi_automatic.images_per_round
    )


def _can_be_annotated(images: pa.Table, *, needs_ground_truth: bool) -> pa.ChunkedArray:
    of_train = pc.equal(images["split"], "train")
    return pc.and_(of_train, images["has_ground_truth"]) if needs_ground_truth else of_train


def _taken(rounds: Sequence[Round], stages: Sequence[Stage]) -> set[int]:
    return {image_id for record in rounds if record.stage in stages for image_id in record.image_ids}


def _without(images: pa.Table, taken: set[int]) -> list[int]:
    return [image_id for image_id in images["image_id"].to_pylist() if image_id not in taken]
