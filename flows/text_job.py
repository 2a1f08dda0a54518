"""A training of a text head that a user asks for; the head stays beside the model whose embeddings it looks at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from engine.labelled_masks import masks_by_label
from engine.labels.frames import MaskFrame
from engine.mirrors import refuse_copy
from engine.samples import CocoSamples
from engine.workspace import roots_of
from flows.console import note, progress_bars
from model.devices import device_of
from model.predictor import Predictor
from model.storage import load_model
from model.text_crops import mask_crop
from model.text_encoders import TEXT_ENCODERS, PictureTextEncoder, TextEncoder
from model.text_head import TEXT_HEAD_FOLDER, save_text_head
from model.text_prompts import usual_text
from model.text_training import TextSample, TextTraining, encode_text_sample, train_text_head
from model.training.samples import Sample, decode_masks
from schemas.counted import counted
from schemas.errors import InputError
from stages.progress import Progress

LearnFrom = Literal["labels", "pictures"]
# The first is what the head keeps of each label; the others are there so that it also understands these.
WORDINGS = ("{}", "a {}", "the {}", "a photo of a {}")


@dataclass(frozen=True)
class KeptTextHead:
    """Where the head is, and of how many pictures and texts it learned."""

    folder: Path
    images: int
    texts: int

    def to_dict(self) -> dict[str, Any]:
        return {"folder": self.folder, "images": self.images, "texts": self.texts}

    def __str__(self) -> str:
        return (
            f"The text head is in {self.folder}; it learned {counted(self.texts, 'text')} on "
            f"{counted(self.images, 'picture')}."
        )


@dataclass(frozen=True, kw_only=True)
class TextJob:
    """The options of `sam-engine train-text`, which says what each is for."""

    coco: tuple[Path, ...]
    model: str
    images: Path | None
    workspace: str | None
    encoder: str
    encoder_weights: Path | None
    learn_from: LearnFrom
    passes: int
    min_area: int
    seed: int
    device: str
    mask_frame: MaskFrame = "auto"

    def run(self) -> KeptTextHead:
        """Train the head and keep it.

        Raises InputError, before anything is trained, for a model, encoder, device or pictures that are not there, for
        masks without labels, and for a model that has a text head.
        """
        sam, info = load_model(self.model, roots_of(self.workspace), device=device_of(self.device))
        refuse_copy(info.folder, "a text head")
        folder = info.folder / TEXT_HEAD_FOLDER
        if folder.exists():
            raise InputError(f"{folder}: this model has a text head already; delete the folder to train another")
        encoder = TEXT_ENCODERS[self.encoder](self.encoder_weights)
        files = [self._samples(file, sam.image_size) for file in self.coco]
        training = TextTraining(seed=self.seed, passes=self.passes)
        with progress_bars() as progress:
            lessons = self._lessons(files, encoder, Predictor(sam), progress)
            head = train_text_head(
                lessons.samples,
                lessons.embeddings,
                training,
                device=sam.device,
                on_step=lambda done, steps, loss: progress("training the head", done, steps, f"loss {loss:.2f}"),
            )
        card = {
            "model_id": info.model_id,
            "encoder": self.encoder,
            "encoder_weights": str(self.encoder_weights.absolute()) if self.encoder_weights else None,
            "encoder_key": encoder.key,
            "learned_from": self.learn_from,
            "coco": [f"{file.parent.name}/{file.name}" for file in self.coco],
            "images": len(lessons.samples),
            "min_area": self.min_area,
            "fingerprints": [samples.fingerprint() for samples in files],
            "training": asdict(training),
        }
        save_text_head(head, lessons.words, folder, card)
        return KeptTextHead(folder, len(lessons.samples), len(lessons.embeddings))

    def _samples(self, file: Path, side: int) -> CocoSamples:
        samples = CocoSamples([file], images_root=self.images, mask_frame=self.mask_frame)
        least_px = self.min_area if self.learn_from == "pictures" else 1  # labels are of all their masks together
        samples = samples.sampled(max_masks=None, min_area_px=least_px)
        for problem in samples.problems:
            note(f"{problem.source}: {problem.reason}")
        samples.longest_px = side
        return samples

    def _lessons(
        self, files: Sequence[CocoSamples], encoder: TextEncoder, predictor: Predictor, progress: Progress
    ) -> "_Lessons":
        if self.learn_from == "labels":
            lessons: _Lessons = _LabelLessons(files, encoder, self.min_area)
        elif isinstance(encoder, PictureTextEncoder):
            lessons = _PictureLessons(encoder, self.seed)
        else:
            raise InputError(f"--learn-from pictures: the text encoder {self.encoder} embeds no pictures; use clip")
        total, done = sum(map(len, files)), 0
        for number, samples in enumerate(files):
            for index in range(len(samples)):
                progress("encoding", done, total)
                done += 1
                try:
                    lessons.add(predictor, samples[index], number)
                except InputError as error:
                    note(f"skipped: {error}")
        progress("encoding", total, total)
        if not lessons.samples:
            raise InputError("no picture to learn from: none has a mask with a label; look at --coco and --min-area")
        return lessons


@dataclass
class _Lessons:
    """What is learned, picture by picture. words: the embedding of each text that the head shall keep."""

    samples: list[TextSample] = field(default_factory=list)
    words: dict[str, Tensor] = field(default_factory=dict)

    @property
    def embeddings(self) -> Tensor:
        """(V, T, D)."""
        raise NotImplementedError

    def add(self, predictor: Predictor, sample: Sample, file: int) -> None:
        """A picture of the file with that number."""
        raise NotImplementedError


class _LabelLessons(_Lessons):
    """Each label of a picture is a text; labels that only other pictures of its file have are not in it."""

    def __init__(self, files: Sequence[CocoSamples], encoder: TextEncoder, least_px: int) -> None:
        super().__init__()
        self._least_px = least_px
        self._labels = [sorted(usual_text(label) for label in samples.labels() if label.strip()) for samples in files]
        self._rows = {label: row for row, label in enumerate(sorted(set().union(*self._labels)))}
        if not self._rows:
            raise InputError("no mask has a label to learn; give masks labels, or use --learn-from pictures")
        worded = [wording.format(label) for label in self._rows for wording in WORDINGS]
        self._embeddings = encoder.encode(worded).unflatten(0, (len(self._rows), len(WORDINGS)))
        self.words = dict(zip(self._rows, self._embeddings[:, 0], strict=True))

    @property
    def embeddings(self) -> Tensor:
        return self._embeddings

    def add(self, predictor: Predictor, sample: Sample, file: int) -> None:
        found = masks_by_label(sample)
        large = {label: rle for label, rle in found.items() if coco_mask.area(rle) >= self._least_px}
        if not large:
            return
        masks = [decode_masks([rle])[:, :, 0].astype(bool) for rle in large.values()]
        absent = [self._rows[label] for label in self._labels[file] if label not in found]
        present = [self._rows[label] for label in large]
        self.samples.append(encode_text_sample(predictor, sample.image, masks, present=present, absent=absent))


class _PictureLessons(_Lessons):
    """Each mask is a text: what the encoder makes of the picture of it (SAM paper, D.5). Nothing is known absent."""

    def __init__(self, encoder: PictureTextEncoder, seed: int) -> None:
        super().__init__()
        self._encoder, self._rng = encoder, np.random.default_rng(seed)
        self._parts: list[Tensor] = []

    @property
    def embeddings(self) -> Tensor:
        return torch.cat(self._parts)[:, None]

    def add(self, predictor: Predictor, sample: Sample, file: int) -> None:
        masks = list(np.moveaxis(decode_masks(sample.masks).astype(bool), 2, 0))
        crops = [mask_crop(sample.image, mask, self._rng) for mask in masks]
        first = sum(map(len, self._parts))
        self._parts.append(self._encoder.encode_pictures([crop.picture for crop in crops], [c.mask for c in crops]))
        present = range(first, first + len(masks))
        self.samples.append(encode_text_sample(predictor, sample.image, masks, present=present, absent=()))
