"""Sending pictures of a release back to annotators, as a gate of quality does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.quality.returned import returned_images, take_out, waiting
from engine.store import Store
from schemas.errors import InputError
from schemas.stages import STAGES
from schemas.tables import Round

Made = tuple[str, int]  # the stage and the round that masks were made in


@dataclass(frozen=True)
class Sent:
    """sent: pictures that the next round of people gets. waiting: that were sent before, and no round has yet."""

    sent: int
    waiting: int


def send_to_annotators(store: Store, made: Mapping[int, Sequence[Made]]) -> Sent:
    """Have people look at images again: they come first in the next round of people, with the masks that they have.

    made: by the workspace's image id, where the released masks of the image were made. Of these the masks of the latest
    round go back and leave the tables until then. Nothing is changed where one of the images cannot be sent.
    Raises InputError for an image that the workspace does not have, and masks of a round that it has not or that is
    still open.
    """
    rounds = {(record.stage, record.round): record for record in store.rounds()}
    there = {image.image_id for image in waiting(returned_images(store), list(rounds.values()))}
    by_round: dict[Made, set[int]] = {}
    for image_id, places in made.items():
        store.shard_of(image_id)
        if image_id not in there and places:
            by_round.setdefault(max(places, key=_order), set()).add(image_id)
    records = [(_finished(store, rounds.get(place), place), images) for place, images in by_round.items()]
    for record, images in records:
        take_out(store, "explorer", record, images=images, mask_ids=set())
    return Sent(sum(len(images) for _, images in records), len(there & made.keys()))


def _finished(store: Store, record: Round | None, place: Made) -> Round:
    stage, number = place
    if record is None:
        raise InputError(f"{store.files}: has no round {number} of {stage}; name the workspace that the release is of")
    if record.state == "open":
        raise InputError(f"{stage} round {number} is still open; finish it with: sam-engine run {stage} {store.files}")
    return record


def _order(place: Made) -> tuple[int, int]:
    return STAGES.index(place[0]), place[1]
