"""A few pictures with masks that lie beside a model: of what it knew before, so that a retraining does not forget it.

They are a COCO file in the model's folder. Its pictures lie beside it, or in the folder of an installed package that
the file names: {"images_in": {"package": "skimage", "folder": "data"}}.
"""

import importlib.util
import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import rle as rle_codec
from engine.files import write_atomic
from engine.images import read_bytes
from engine.samples import CocoSamples
from model.registry import ModelInfo, beside
from model.training.order import FiledSource, GroupedSource
from model.training.run_weights import RunWeights
from model.training.samples import Sample, SampleSource, decode_masks
from schemas.content_ids import content_id
from schemas.errors import InputError

REPLAY_FILE = "replay.json"
_PICTURES_FOLDER = "replay"


class WithReplay:
    """Samples to learn from, and behind them those that keep old knowledge, for a share of the pictures of a step."""

    def __init__(self, samples: SampleSource, weights: Sequence[float], replay: CocoSamples, *, frac: float) -> None:
        """weights: how often each of `samples` comes. frac: share of the pictures of a step that are replayed."""
        self._samples, self._replay = samples, replay
        total = weights.total if isinstance(weights, RunWeights) else sum(weights)
        of_each = frac / (1 - frac) * total / len(replay)
        self.weights: Sequence[float] = (
            weights.followed_by(of_each, count=len(replay))
            if isinstance(weights, RunWeights)
            else [*weights, *[of_each] * len(replay)]
        )

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """As `model.training.order.GroupedSource` has them; replayed pictures go with any others."""
        alone = np.full(len(self), -1, dtype=np.int32)
        if isinstance(self._samples, GroupedSource):
            alone[: len(self._samples)] = self._samples.groups
        return alone

    @property
    def files(self) -> npt.NDArray[np.int64] | None:
        """As `model.training.order.FiledSource` has them; replayed pictures lie in none."""
        return self._samples.files if isinstance(self._samples, FiledSource) else None

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: int) -> Sample:
        new = len(self._samples)
        return self._samples[index] if index < new else self._replay[index - new]


def replay_file(model: ModelInfo, roots: Sequence[Path]) -> Path | None:
    """The replay set beside a model, or beside the nearest one that it was trained from; None where there is none."""
    return beside(model, roots, REPLAY_FILE)


def read_replay(file: Path, *, leave_out: Callable[[int], bool] = lambda _: False) -> CocoSamples | None:
    """The samples of a replay set; None where no picture is left.

    leave_out: asked for each picture's image id: those of a workspace, which holds some of them out, must not come in
    by the back door.
    Raises InputError where the file or its pictures cannot be read.
    """
    samples = CocoSamples([file], images_root=_images_root(file))
    return samples.filtered(lambda path: not leave_out(content_id(read_bytes(path))))


def write_replay(
    samples: CocoSamples,
    folder: Path,
    *,
    count: int,
    longest_px: int,
    seed: int = 0,
    without: Collection[int] = (),
) -> Path:
    """Keep a random `count` of the pictures, with their masks, as the replay set of the model in `folder`.

    longest_px: pictures and masks are scaled down to it. without: samples that never come. The pictures are copies: who
    may have the model may see them.
    Returns the COCO file, which is written last.
    """
    shuffled = np.random.default_rng(seed).permutation(len(samples))
    chosen = [int(index) for index in shuffled if index not in without][:count]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, index in enumerate(sorted(chosen), start=1):
        sample = samples[index]
        scale = min(1.0, longest_px / max(sample.full_hw))
        height, width = (max(1, round(side * scale)) for side in sample.full_hw)
        name = f"{_PICTURES_FOLDER}/{number}.jpg"
        _write_picture(cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA), folder / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for rle in _scaled(sample, (width, height)):
            annotations.append({"id": len(annotations) + 1, "image_id": number, "iscrowd": 0, "segmentation": rle})
    file = folder / REPLAY_FILE
    write_atomic(file, json.dumps({"images": images, "annotations": annotations}).encode())
    return file


def _write_picture(image: npt.NDArray[np.uint8], path: Path) -> None:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, format="JPEG", quality=95)
    write_atomic(path, encoded.getvalue())


def _scaled(sample: Sample, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The masks of a sample at a size (width, height), as COCO RLE; those that vanish are left out."""
    for mask in sample.masks:
        covered = cv2.resize(decode_masks([mask])[..., 0] * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        if (covered > 127).any():
            yield rle_codec.encode(covered > 127).to_coco()


def _images_root(file: Path) -> Path:
    try:
        where = json.loads(file.read_text(encoding="utf-8")).get("images_in")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: not a COCO file: {' '.join(str(error).split())}") from error
    if where is None:
        return file.parent
    spec = importlib.util.find_spec(where["package"])
    if spec is None or spec.origin is None:
        raise InputError(f"{file}: its pictures are in the package {where['package']}, which is not installed")
    return Path(spec.origin).parent / where["folder"]
