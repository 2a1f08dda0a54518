"""Random samples of a round, for the gates of quality and for the audit.

Every mask and every image has a random number of its own, made of the seed, the gate, the round and its id. So a sample
is the same in every run, does not depend on the order of rows, and hardly changes when a few masks come late.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.keys import content_key
from schemas.labeling import Gate
from schemas.stages import Stage

# Bins of relative size, sqrt(mask area / image area) (SAM paper, section 5); each edge is about twice the one before,
# because most masks are small: bins of equal width would put nearly all of them into the first.
RELATIVE_SIZE_EDGES = (0.03, 0.06, 0.12, 0.25, 0.5)


def sample_size(total: int, frac: float) -> int:
    """How many of `total` a share comes to, rounded to the nearest; at least 1, unless there are none or frac is 0.

    Raises ValueError if frac is not in [0, 1].
    """
    if not 0 <= frac <= 1:
        raise ValueError(f"a share lies in [0, 1], not {frac}")
    return max(1, int(total * frac + 0.5)) if total and frac else 0


def sample_masks(masks: pa.Table, *, frac: float, seed: int, stage: Stage, round: int) -> list[int]:
    """Ids of the masks of a round that the verification gate looks at, stratified by relative size.

    masks: rows of a masks table (columns mask_id, area, height, width). frac: `labeling.verify_frac`, as in
    `sample_size`. Each bin of relative size is drawn from in proportion to its masks, but at least once where the
    sample is large enough. The ids come in the order of the draw: if people do not get to the end, the first of them
    are a random sample too. Raises ValueError if frac is not in [0, 1].
    """
    ids, first = np.unique(masks["mask_id"].to_numpy(), return_index=True)
    bins = _size_bins(masks)[first]
    drawn = np.array(_ranks(ids.tolist(), "verification", seed, stage, round)).argsort(kind="stable")
    counts = np.bincount(bins, minlength=len(RELATIVE_SIZE_EDGES) + 1)
    quota = allocate(counts, sample_size(len(ids), frac))
    taken = np.zeros(len(ids), dtype=bool)
    for number, size in enumerate(quota):
        taken[drawn[bins[drawn] == number][:size]] = True
    return [int(ids[place]) for place in drawn if taken[place]]


def sample_images(
    image_ids: Iterable[int], *, count: int, gate: Gate, seed: int, stage: Stage, round: int
) -> list[int]:
    """`count` of a round's images, or all where there are fewer, in the order of the draw.

    count: `labeling.audit_images` for the audit, a `sample_size` for exhaustivity. Each gate draws by itself.
    Raises ValueError if count is below 0.
    """
    if count < 0:
        raise ValueError(f"cannot draw {count} images")
    ids = list(set(image_ids))
    ranks = _ranks(ids, gate, seed, stage, round)
    return [image_id for _, image_id in sorted(zip(ranks, ids, strict=True))[:count]]


def allocate(counts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Share out draws over strata in proportion to their counts, by largest remainders.

    counts: (N,). Returns (N,), nowhere above counts, with the sum min(size, counts.sum()). Where `size` reaches the
    number of strata that are not empty, each of them gets at least one.
    """
    total = int(counts.sum())
    size = min(size, total)
    if size == 0:
        return np.zeros_like(counts)
    quota, remainders = np.divmod(counts * size, total)
    quota[np.argsort(-remainders, kind="stable")[: size - int(quota.sum())]] += 1
    if size >= np.count_nonzero(counts):
        for forgotten in np.flatnonzero((counts > 0) & (quota == 0)):
            quota[quota.argmax()] -= 1
            quota[forgotten] = 1
    return quota


def _size_bins(masks: pa.Table) -> npt.NDArray[np.int64]:
    area, height, width = (masks[name].to_numpy().astype(np.float64) for name in ("area", "height", "width"))
    return np.searchsorted(RELATIVE_SIZE_EDGES, np.sqrt(area / (height * width)), side="right")


def _ranks(ids: Iterable[int], gate: Gate, seed: int, stage: Stage, round: int) -> list[int]:
    return [int(content_key("sample", gate, seed, stage, round, one), 16) for one in ids]
