"""Whether the pictures of a workspace are of a kind that the model which the engine began with does not know."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.known_pictures import describe_pictures, pixels_of, read_known_pictures
from engine.quality.gate_summary import wilson_share
from engine.store import Store
from model.recogniser import Recogniser, count_recognised, fit_recogniser
from model.remembering import RememberingSam
from model.sam import Sam
from schemas.errors import InputError
from stages.progress import Progress

DESCRIBED = 100  # pictures of the workspace at most, annotated or not
# Share of them that surely, nine times in ten, has to be told from known ones, or they are of no kind of their own.
FEWEST_RECOGNISED = 0.5
LEVEL = 0.8  # of the interval whose lower bound must reach it


@dataclass(frozen=True)
class NewKind:
    """recogniser: of its pictures. descriptions: (K + N, C) of what the start model knows and of the new pictures."""

    recogniser: Recogniser
    descriptions: Tensor


def described_ids(store: Store, aside: frozenset[int], *, seed: int) -> list[int]:
    """Ids of the pictures that tell what is new here: DESCRIBED of those that nothing is measured on, at random."""
    index = store.image_index()
    ids = np.setdiff1d(index.ids[~index.held_out], np.array(sorted(aside), dtype=np.int64))
    return sorted(np.random.default_rng((seed, 3)).permutation(ids)[:DESCRIBED].tolist())


def find_new_kind(
    store: Store, start: Sam, known_pictures: Path, image_ids: list[int], title: str, progress: Progress
) -> NewKind | None:
    """None where the model knows such pictures, or where its file was made by another image encoder.

    Pictures that cannot be read are passed over.
    """
    known = read_known_pictures(known_pictures, start)
    if known is None:
        return None

    def images() -> Iterator[npt.NDArray[np.uint8]]:
        for image_id in image_ids:
            try:
                yield store.load_image(image_id)
            except InputError:
                continue

    what = f"{title}, describing pictures"
    new = describe_pictures(start, images(), lambda done: progress(what, done, len(image_ids)))
    if not len(new) or wilson_share(count_recognised(known, new), len(new), level=LEVEL).low < FEWEST_RECOGNISED:
        return None
    return NewKind(fit_recogniser(known, new), torch.cat([known, new]))


def answers_as_before(sam: RememberingSam, images: Iterable[npt.NDArray[np.uint8]]) -> bool:
    """Whether the model inside answers for all of these pictures, each (H, W, 3) uint8 RGB, whatever was learned."""
    return not any(bool(sam.takes_for_new(pixels).any()) for pixels in pixels_of(sam, images))
