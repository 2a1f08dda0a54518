"""The masks that a model is measured on and never learns from: of images that are held out, or that were set aside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.evaluation.model_scores import ModelScores, score_model
from engine.keys import content_key
from engine.store import Store
from model.predictor import Predictor
from model.sam import Sam
from model.training.samples import Sample
from schemas.errors import InputError
from schemas.rle import CocoRle
from schemas.stages import ANNOTATED_STAGES
from schemas.tables import GROUND_TRUTH, Round
from stages.records import masks_by_image
from stages.workers import images_by_shard

MeasuredOn = Literal["holdout", "set_aside"]
MEASURED_IMAGES, MEASURED_MASKS = 100, 200  # at most; more hardly move a mean and cost minutes
_SET_ASIDE_FRAC = 0.2
_FEWEST_TO_SET_ASIDE_FROM = 5
_KEYS = 2**63  # of `content_key`


@dataclass(frozen=True)
class MeasuringSet:
    """Images with true masks, at most MEASURED_MASKS of them.

    measured_on: ground truth of held-out images, or what people made on images that training leaves out. key: changes
    with the images and their masks. unreadable: images that could not be read when a model was measured.
    """

    measured_on: MeasuredOn
    masks: dict[int, list[CocoRle]]
    key: str
    unreadable: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Of masks, on images that could be read."""
        return sum(len(masks) for image_id, masks in self.masks.items() if image_id not in self.unreadable)

    @property
    def images(self) -> int:
        """How many of them could be read."""
        return len(self.masks) - len(self.unreadable)

    def score(self, store: Store, sam: Sam, on_image: Callable[[int, int], None]) -> ModelScores | None:
        """How good a model is here; None without a mask. on_image: told how many images of how many are done.

        Images that cannot be read do not count; which they are is found once.
        """

        def samples() -> Iterator[Sample]:
            for done, (image_id, masks) in enumerate(self.masks.items(), start=1):
                image = self._image(store, image_id)
                if image is not None:
                    yield Sample(image, masks)
                on_image(done, len(self.masks))

        return score_model(Predictor(sam), samples())

    def _image(self, store: Store, image_id: int) -> npt.NDArray[np.uint8] | None:
        if image_id in self.unreadable:
            return None
        try:
            return store.load_image(image_id)
        except InputError:
            self.unreadable.add(image_id)
            return None


def set_aside(store: Store, rounds: Sequence[Round], *, seed: int) -> frozenset[int]:
    """Ids of images that people annotated and training leaves out, about a fifth; none where images are held out.

    Which they are follows from the ids, the seed and the rounds so far, so an image that was set aside stays so. Images
    of the first rounds, as long as there are too few to set one aside, are learned from for good.
    rounds: of all stages, in order.
    """
    if len(_held_out(store)):
        return frozenset()
    annotated: set[int] = set()
    eligible: set[int] = set()
    for record in rounds:
        if record.stage in ANNOTATED_STAGES and record.state != "open":
            new = set(record.image_ids) - annotated
            annotated |= new
            if len(annotated) >= _FEWEST_TO_SET_ASIDE_FROM:
                eligible |= new
    return frozenset(
        image_id for image_id in eligible if int(content_key("set aside", seed, image_id), 16) < _SET_ASIDE_FRAC * _KEYS
    )


def measuring_set(store: Store, aside: frozenset[int], *, seed: int) -> MeasuringSet | None:
    """Held-out images with their ground truth, else those that were set aside with people's masks; None for none."""
    held_out = _held_out(store)
    candidates = np.sort(held_out if len(held_out) else np.array(sorted(aside), dtype=np.int64))
    rng = np.random.default_rng((seed, 1))
    image_ids = np.sort(rng.permutation(candidates)[:MEASURED_IMAGES]).tolist()
    tables = (GROUND_TRUTH,) if len(held_out) else ANNOTATED_STAGES
    masks = _masks(store, image_ids, tables)
    chosen = np.sort(rng.permutation(len(masks))[:MEASURED_MASKS])
    grouped: dict[int, list[CocoRle]] = {}
    for image_id, mask in (masks[number] for number in chosen):
        grouped.setdefault(image_id, []).append(mask)
    if not grouped:
        return None
    key = content_key(
        "measured", image_ids, [mask["counts"].hex() for of_image in grouped.values() for mask in of_image]
    )
    return MeasuringSet("holdout" if len(held_out) else "set_aside", grouped, key)


def held_out_truth(store: Store, *, images: int, seed: int) -> dict[int, list[CocoRle]]:
    """All masks of ground truth of a random choice of at most `images` held-out images; empty where there are none."""
    ids = np.sort(np.random.default_rng((seed, 2)).permutation(np.sort(_held_out(store)))[:images]).tolist()
    grouped: dict[int, list[CocoRle]] = {image_id: [] for image_id in ids}
    for image_id, mask in _masks(store, ids, (GROUND_TRUTH,)):
        grouped[image_id].append(mask)
    return grouped


def _held_out(store: Store) -> np.ndarray:
    images = store.image_index()
    ids: np.ndarray = images.ids[images.held_out & images.has_ground_truth]
    return ids


def _masks(store: Store, image_ids: list[int], tables: Sequence[str]) -> list[tuple[int, CocoRle]]:
    """(image id, mask) of all masks of these images, in the order of ids."""
    found: list[tuple[int, CocoRle]] = []
    for shard, ids in images_by_shard(store, image_ids).items():
        rows = pa.concat_tables([store.read_shard(table, shard) for table in tables])
        by_image = masks_by_image(rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(ids, pa.int64()))))
        for image_id in ids:
            for rle in by_image.get(image_id, []):
                found.append((image_id, rle.coco()))
    return found
