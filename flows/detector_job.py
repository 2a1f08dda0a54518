"""A training of an object detector that a user asks for; the detector stays beside the model that it looks through."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.encoded_samples import EncodedSamples
from engine.labels.frames import MaskFrame
from engine.mirrors import refuse_copy
from engine.samples import CocoSamples
from engine.workspace import roots_of
from flows.console import note, progress_bars
from flows.skipped import skipped_text
from model.detector_training import DetectorTraining, train_detector
from model.devices import device_of
from model.object_detector import DETECTOR_FOLDER, ObjectDetector, save_detector
from model.predictor import Predictor
from model.sam import Sam
from model.storage import load_model
from model.training.bad_samples import MAX_BAD_FRAC, BadLimit, BadSamples
from schemas.errors import InputError


@dataclass(frozen=True)
class KeptDetector:
    """Where the detector is, of how many images it learned, and what it skipped."""

    folder: Path
    images: int
    skipped: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"folder": self.folder, "images": self.images, "skipped": self.skipped}

    def __str__(self) -> str:
        return f"The detector is in {self.folder}.{skipped_text(self.skipped)}"


@dataclass(frozen=True, kw_only=True)
class DetectorJob:
    """The options of `sam-engine train-detector`, which says what each is for."""

    coco: tuple[Path, ...]
    model: str
    images: Path | None
    workspace: str | None
    steps: int | None
    min_area: int
    seed: int
    device: str
    mask_frame: MaskFrame = "auto"
    max_bad_frac: float = MAX_BAD_FRAC

    def run(self) -> KeptDetector:
        """Train the detector and keep it.

        Raises InputError, before anything is trained, for a model, device or pictures that are not there, and for a
        model that has a detector.
        """
        sam, info = load_model(self.model, roots_of(self.workspace), device=device_of(self.device))
        refuse_copy(info.folder, "a detector")
        folder = info.folder / DETECTOR_FOLDER
        if folder.exists():
            raise InputError(f"{folder}: this model has a detector already; delete the folder to train another")
        samples = self._samples(sam)
        training = self._training(len(samples))
        before = tuple(samples.bad)
        bad = BadSamples(BadLimit(len(samples) + len(before), self.max_bad_frac, before), tell=note)
        detector = _train(sam, samples, training, bad)
        skipped = bad.to_dict()
        card = {
            "model_id": info.model_id,
            "coco": [f"{file.parent.name}/{file.name}" for file in self.coco],
            "images": len(samples),
            "min_area": self.min_area,
            "fingerprint": samples.fingerprint(),
            "training": asdict(training),
        }
        save_detector(detector, folder, card | ({"skipped": skipped} if skipped else {}))
        return KeptDetector(folder, len(samples), skipped)

    def _samples(self, sam: Sam) -> CocoSamples:
        samples = CocoSamples(list(self.coco), images_root=self.images, mask_frame=self.mask_frame)
        samples = samples.sampled(max_masks=None, min_area_px=self.min_area)
        for problem in samples.problems:
            note(f"{problem.source}: {problem.reason}")
        samples.longest_px = sam.image_size
        return samples

    def _training(self, images: int) -> DetectorTraining:
        """Each picture 8 times, or as many steps as were asked for; all embeddings stay in memory."""
        passes = {"passes": 8} if self.steps is None else {"passes": 1, "min_steps": self.steps}
        return DetectorTraining(seed=self.seed, many_images=images, images_in_memory=images, **passes)


def _train(sam: Sam, samples: CocoSamples, training: DetectorTraining, bad: BadSamples) -> ObjectDetector:
    with progress_bars() as progress:
        return train_detector(
            EncodedSamples(samples, Predictor(sam)),
            training,
            device=sam.device,
            bad=bad,
            on_step=lambda done, steps, loss: progress("training the detector", done, steps, f"loss {loss:.2f}"),
        )
