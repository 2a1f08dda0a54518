"""The object detector of a round: trained once on all masks so far, with a threshold for the stated precision."""

import hashlib
import threading
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.evaluation.matching import match_masks
from engine.files import storage_errors
from engine.image_index import ImageIndex
from engine.keys import content_key
from engine.mirrors import folder_here, put_folder
from engine.store import Store
from model.detector_training import DetectorSample, DetectorTraining, encode_sample, train_detector
from model.object_detector import CARD_FILE, DETECTOR_FOLDER, ObjectDetector, load_detector, save_detector
from model.predictor import Predictor
from model.registry import find_model
from model.training.bad_samples import BadLimit, BadSamples
from schemas.errors import InputError, WaitError
from schemas.mask import Mask
from schemas.rle import Rle
from schemas.round_metrics import PrefillThreshold
from schemas.stages import STAGES, Stage
from schemas.tables import GROUND_TRUTH, MASKS, Round
from stages.prefill import PrefillSettings, prefill, scored_masks
from stages.prefill_threshold import MeasuredOn, choose_or_half
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where, masks_by_image
from stages.workers import Picture, images_by_shard

# Part of every detector's key: raise it when the same inputs would give another detector or threshold.
DETECTOR_VERSION = 3
MEASURED_IMAGES = 200  # at most; more hardly move the threshold and cost minutes
_one_training = threading.Lock()  # threads of one process wait for the detector instead of each training its own


class TrainedDetector(NamedTuple):
    """A detector, the threshold that was chosen for it, and the card that says where it comes from."""

    detector: ObjectDetector
    threshold: PrefillThreshold
    card: Mapping[str, Any]


class LearnedDetector:
    """The detector of one round: trained once on the masks of the rounds before, then found in the workspace.

    Everything follows from the model, those masks, the held-out ground truth, the settings and the seed; their key
    names the folder. Masks that the round itself makes do not count, so all its shards get one detector.
    """

    def __init__(self, work: RoundWork) -> None:
        self._store, self._config, self._record, self._progress = work.store, work.config, work.record, work.progress
        self._predictor = Predictor(work.sam)
        self.settings = PrefillSettings.of(work.config.semi_automatic)
        seed = content_key("detector", work.config.seed, work.record.stage, work.record.round)
        number = int(seed, 16) % 2**31
        self.training = DetectorTraining.to_go_on(seed=number) if self._start else DetectorTraining(seed=number)

    @cached_property
    def key(self) -> str:
        """16 hex digits: equal keys, equal prefilled masks.

        Raises WaitError where there are no masks to learn from.
        """
        plan = self._plan
        mask_ids = np.sort(plan.masks["mask_id"].to_numpy())
        return content_key(
            DETECTOR_VERSION,
            self._record.model_before,
            hashlib.sha256(mask_ids.tobytes()).hexdigest(),
            plan.measured,
            [self._store.committed(GROUND_TRUTH, shard) for shard in images_by_shard(self._store, plan.measured)],
            plan.measured_on,
            self.settings.to_dict(),
            asdict(self.training),
            self._start.weights_sha256 if self._start else None,
            self._config.semi_automatic.prefill_precision,
            self._config.annotator.accept_iou,
        )

    @property
    def folder(self) -> Path:
        """On this disk; where the workspace is at a URL, a copy of what is there."""
        return folder_here(self._store.files.detectors / self.key)

    @cached_property
    def trained(self) -> TrainedDetector:
        """Load the round's detector, or train it, choose its threshold and keep it.

        Call it before shards are shared out among processes: those that find none train one each.
        Raises WaitError where there are no masks to learn from, InputError for a damaged folder or a full disk.
        """
        with _one_training:
            if not (self.folder / CARD_FILE).exists():
                self._train()
            detector, card = load_detector(self.folder, device=self._predictor.sam.device)
            return TrainedDetector(detector, PrefillThreshold(**card["threshold"]), card)

    def masks(self, picture: Picture, where: Where, rows: ShardRows) -> list[Mask]:
        """The round's prefilled masks of a picture, best first; see `prefill`."""
        detector, threshold, _ = self.trained
        self._predictor.set_image(picture.pixels)
        found = prefill(self._predictor, detector, threshold=threshold.threshold, settings=self.settings)
        return [replace(mask, model_id=self._record.model_before, generator_config=self.key) for mask in found]

    def metrics(self) -> dict[str, Any]:
        """prefill: how the threshold was chosen (`schemas.round_metrics.PrefillThreshold`)."""
        return {"prefill": self.trained.threshold.to_dict()}

    def _train(self) -> None:
        plan = self._plan
        boxes = _boxes_by_image(plan.masks, leave_out=frozenset(plan.measured))
        way_out = f"raise retraining.max_bad_frac in {self._store.files.config}"
        bad = BadSamples(BadLimit(len(boxes), self._config.retraining.max_bad_frac, way_out=way_out))
        detector = train_detector(
            _Images(self._store, self._predictor, boxes),
            self.training,
            start=self._start.detector if self._start else None,
            device=self._predictor.sam.device,
            bad=bad,
            on_step=lambda done, steps, loss: self._progress(
                f"{_title(self._record)}, training the detector", done, steps, f"loss {loss:.2f}"
            ),
        )
        card = {
            "model_id": self._record.model_before,
            "start": self._start.weights_sha256 if self._start else None,
            "stage": self._record.stage,
            "round": self._record.round,
            "versions": self._store.versions(),
            "images": len(boxes),
            "masks": sum(map(len, boxes.values())),
            "settings": self.settings.to_dict(),
            "training": asdict(self.training),
            "threshold": self._measured_threshold(detector).to_dict(),
            **({"skipped": bad.to_dict()} if bad else {}),
        }
        with storage_errors(self.folder):
            save_detector(detector, self.folder, card)
            put_folder(self.folder, self._store.files.detectors / self.key)

    def _measured_threshold(self, detector: ObjectDetector) -> PrefillThreshold:
        plan, scores, right, objects, images = self._plan, [], [], 0, 0
        for done, (image_id, truth) in enumerate(self._truth(), start=1):
            try:
                self._predictor.set_image(self._store.load_image(image_id))
            except InputError:  # a picture that cannot be read does not count
                continue
            found = scored_masks(self._predictor, detector, self.settings)
            scores += [each.score for each in found]
            right += match_masks([each.mask.rle for each in found], truth, iou=self._config.annotator.accept_iou)
            objects, images = objects + len(truth), images + 1
            self._progress(f"{_title(self._record)}, measuring the detector", done, len(plan.measured))
        return choose_or_half(
            scores,
            right,
            objects=objects,
            images=images,
            precision=self._config.semi_automatic.prefill_precision,
            iou=self._config.annotator.accept_iou,
            measured_on=plan.measured_on,
        )

    def _truth(self) -> Iterator[tuple[int, list[Rle]]]:
        """The images that are measured on, with the masks of their objects."""
        plan = self._plan
        tables = [GROUND_TRUTH] if plan.measured_on == "holdout" else list(_rounds_before(self._record))
        for shard, image_ids in images_by_shard(self._store, plan.measured).items():
            rows = pa.concat_tables([self._store.read_shard(table, shard) for table in tables])
            if plan.measured_on == "training_fifth":
                rows = rows.filter(pc.is_in(rows["mask_id"], value_set=plan.masks["mask_id"].combine_chunks()))
            masks = masks_by_image(rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(image_ids))))
            yield from ((image_id, masks.get(image_id, [])) for image_id in image_ids)

    @cached_property
    def _start(self) -> "_Start | None":
        """The detector that came with the round's model, or with the nearest one that it was trained from."""
        roots, model_id = self._store.files.model_roots(), self._record.model_before
        while model_id:
            try:
                info = find_model(model_id, roots)
            except InputError:  # a parent that nobody kept
                return None
            folder = info.folder / DETECTOR_FOLDER
            if (folder / CARD_FILE).exists():
                detector, card = load_detector(folder)
                return _Start(detector, card["weights_sha256"])
            model_id = info.card.parent
        return None

    @cached_property
    def _plan(self) -> "_Plan":
        return _plan(self._store, self._record, seed=self.training.seed)


class _Start(NamedTuple):
    """A detector to go on from."""

    detector: ObjectDetector
    weights_sha256: str


class _Plan(NamedTuple):
    """masks: columns image_id, mask_id, bbox of all masks to learn from. measured: ids of images to measure on."""

    masks: pa.Table
    measured: list[int]
    measured_on: MeasuredOn


class _Images:
    """What the detector learns from (`model.detector_training.DetectorSource`): an image is encoded when it is asked
    for."""

    def __init__(self, store: Store, predictor: Predictor, boxes: Mapping[int, npt.NDArray[np.float32]]) -> None:
        self._store, self._predictor, self._boxes = store, predictor, boxes
        self._image_ids = list(boxes)

    def __len__(self) -> int:
        return len(self._image_ids)

    def __getitem__(self, index: int) -> DetectorSample:
        image_id = self._image_ids[index]
        image = self._store.load_image(image_id)
        return encode_sample(self._predictor, image, self._boxes[image_id], full_hw=(image.shape[0], image.shape[1]))


def _plan(store: Store, record: Round, *, seed: int) -> _Plan:
    """Raises WaitError where there are no masks, or too few images to set one aside for the threshold."""
    images = store.image_index()
    masks = _masks_so_far(store, record, images)
    if not len(masks):
        raise WaitError(
            f"{_title(record)}: there are no masks to train the object detector on; finish a round of "
            f"{STAGES[0]} first (sam-engine run {STAGES[0]} {store.files}), or set semi_automatic.prefill to "
            f"generator in {store.files.config}"
        )
    held_out = images.ids[images.held_out & images.has_ground_truth]
    learned_from = np.unique(masks["image_id"].to_numpy())
    candidates = np.sort(held_out) if len(held_out) else learned_from
    count = min(MEASURED_IMAGES, len(candidates) if len(held_out) else -(-len(candidates) // 5))
    if not len(held_out) and count == len(learned_from):
        raise WaitError(
            f"{_title(record)}: the masks so far are of a single image, so none can be set aside to choose the object "
            f"detector's threshold on; annotate another one, or set semi_automatic.prefill to generator in "
            f"{store.files.config}"
        )
    chosen = np.random.default_rng(seed).permutation(candidates)[:count]
    return _Plan(masks, sorted(chosen.tolist()), "holdout" if len(held_out) else "training_fifth")


def _rounds_before(record: Round) -> dict[Stage, int | None]:
    """Stages whose masks were there when the round began, with how many of their rounds; None for all."""
    earlier: dict[Stage, int | None] = dict.fromkeys(STAGES[: STAGES.index(record.stage)])
    return {**earlier, record.stage: record.round - 1}


def _masks_so_far(store: Store, record: Round, images: ImageIndex) -> pa.Table:
    """Masks of the rounds before on images to train on, sorted by image and mask: columns image_id, mask_id, bbox."""
    columns, to_train_on = ["image_id", "mask_id", "bbox", "round"], ~images.held_out
    parts = [MASKS.empty_table().select(columns[:-1])]
    for stage, rounds in _rounds_before(record).items():
        for shard, rows in store.files_at(stage).each(columns):
            here = images.slice_of(shard)
            of_train = pa.array(images.ids[here][to_train_on[here]])
            if rounds is not None:
                rows = rows.filter(pc.less_equal(rows["round"], rounds))
            parts.append(rows.filter(pc.is_in(rows["image_id"], value_set=of_train)).drop_columns("round"))
    return pa.concat_tables(parts).sort_by([("image_id", "ascending"), ("mask_id", "ascending")])


def _boxes_by_image(masks: pa.Table, *, leave_out: Container[int]) -> dict[int, npt.NDArray[np.float32]]:
    """{image id: (N, 4) XYXY pixels of the image}, in the order of ids."""
    image_ids = masks["image_id"].to_numpy()
    boxes = masks["bbox"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    ids, starts = np.unique(image_ids, return_index=True)
    grouped = zip(ids.tolist(), np.split(boxes, starts[1:]), strict=True)
    return {image_id: of_image for image_id, of_image in grouped if image_id not in leave_out}


def _title(record: Round) -> str:
    return f"{record.stage} round {record.round}"
