"""What pictures that a model knows look like: a file beside it, or beside the nearest one that it was trained from.

`known_pictures.safetensors` holds `descriptions` (K, C) in half precision, a row for each of K pictures
(`model.recogniser.describe`), and in its metadata a fingerprint of the image encoder that described them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from engine.files import write_atomic
from model.published import ResizeLongestSide
from model.recogniser import describe, innermost
from model.registry import ModelInfo, beside
from model.sam import Sam
from model.training.samples import SampleSource
from schemas.errors import InputError

KNOWN_PICTURES_FILE = "known_pictures.safetensors"
KNOWN_PICTURES = 512  # of those that a model was trained on, for its file
_DESCRIPTIONS, _ENCODER = "descriptions", "encoder"


def known_pictures_file(model: ModelInfo, roots: Sequence[Path]) -> Path | None:
    """The file beside a model, or beside the nearest one that it was trained from; None where there is none."""
    return beside(model, roots, KNOWN_PICTURES_FILE)


def describe_pictures(
    sam: Sam, images: Iterable[npt.NDArray[np.uint8]], on_picture: Callable[[int], None] | None = None
) -> Tensor:
    """(N, C) float32 on the CPU, a row for each of N images (H, W, 3) uint8 RGB, rounded as the file rounds it.

    on_picture: told how many are done.
    """
    described = []
    for done, pixels in enumerate(pixels_of(sam, images), start=1):
        described.append(describe(sam, pixels).cpu().half().float())
        if on_picture is not None:
            on_picture(done)
    return torch.cat(described) if described else torch.zeros(0, sam.prompt_encoder.embed_dim)


def pixels_of(sam: Sam, images: Iterable[npt.NDArray[np.uint8]]) -> Iterator[Tensor]:
    """Each image (H, W, 3) uint8 RGB as the model takes it: (1, 3, S, S), normalised, zeros on padding."""
    transform = ResizeLongestSide(sam.image_size, stretched=sam.stretched)
    return (sam.preprocess(transform.to_tensor(image).to(sam.device)) for image in images)


def describe_samples(sam: Sam, samples: SampleSource, *, seed: int = 0) -> Tensor:
    """(N, C) for a random KNOWN_PICTURES of the samples, or all where there are fewer; unreadable ones are left out."""
    chosen = np.random.default_rng(seed).permutation(len(samples))[:KNOWN_PICTURES]

    def images() -> Iterable[npt.NDArray[np.uint8]]:
        for index in sorted(chosen.tolist()):
            try:
                yield samples[index].image
            except InputError:
                continue

    return describe_pictures(sam, images())


def write_known_pictures(descriptions: Tensor, sam: Sam, file: Path) -> None:
    """Keep descriptions (K, C) that `sam` made."""
    content = save({_DESCRIPTIONS: descriptions.half().contiguous()}, metadata={_ENCODER: _encoder_of(sam)})
    write_atomic(file, content)


def read_known_pictures(file: Path, sam: Sam) -> Tensor | None:
    """The descriptions (K, C); None where another image encoder made them than the one by which `sam` describes.

    Raises InputError naming the file where it cannot be read.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            if (stored.metadata() or {}).get(_ENCODER) != _encoder_of(sam):
                return None
            descriptions: Tensor = stored.get_tensor(_DESCRIPTIONS)
            return descriptions.float()
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error


def _encoder_of(sam: Sam) -> str:
    """Fingerprint of the weights by which a model describes pictures, whether they are stored in 32 bits or in 16."""
    digest = hashlib.sha256()
    for name, value in sorted(innermost(sam).image_encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.half().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
