"""Which masks were hard to make: those that took people long, and those that came in place of what a gate rejected."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.quality.returned import masks_shown_again, returned_images
from engine.store import Store
from schemas.stages import STAGES

HARD_COLUMNS = ("seconds", "origin")  # that a masks table needs here beside those of its samples
_LONG = 1.4  # times the mean of the round: of times that scatter as people's do, a quarter


def hard_masks(store: Store, masks: pa.Table) -> npt.NDArray[np.bool_]:
    """(N,) of N rows of masks tables, columns stage_index, image_id, round, rle and HARD_COLUMNS.

    Hard is a mask that people made or mended in _LONG times the mean seconds of such masks of its round, or more; and
    one of an image that a gate sent back, made since then: not those that the image came back with, which were good.
    """
    return took_long(masks) | _made_after_a_return(store, masks)


def took_long(masks: pa.Table) -> npt.NDArray[np.bool_]:
    """(N,) whether people spent far longer on a mask than on others of its round: clicks, edits and drawing are time.

    The mean is the geometric one, which an annotator who went for a coffee hardly moves. Where nearly all masks took as
    long as each other, none is hard.
    """
    seconds = masks["seconds"].to_numpy().astype(np.float64)
    by_people = (masks["origin"].to_numpy(zero_copy_only=False) != "automatic") & (seconds > 0)
    long = np.zeros(len(masks), dtype=bool)
    rounds = np.stack([masks["stage_index"].to_numpy(), masks["round"].to_numpy()], axis=1)
    for one in np.unique(rounds[by_people], axis=0):
        here = by_people & (rounds == one).all(1)
        long |= here & (seconds >= _LONG * np.exp(np.log(seconds[here]).mean()))
    return long


def _made_after_a_return(store: Store, masks: pa.Table) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(masks), dtype=bool)
    returned = returned_images(store)
    if not returned:
        return found
    image_ids, stages, rounds = (masks[name].to_numpy() for name in ("image_id", "stage_index", "round"))
    for image in returned:
        stage = STAGES.index(image.stage)
        later = (stages > stage) | ((stages == stage) & (rounds > image.round))
        places = np.flatnonzero((image_ids == image.image_id) & later)
        good = {row["rle"] for row in masks_shown_again(store, image)}
        for place, rle in zip(places, masks["rle"].take(places).to_pylist(), strict=True):
            found[place] |= rle not in good
    return found
