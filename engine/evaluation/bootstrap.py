"""Confidence intervals by the percentile bootstrap."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_NUMBERS_AT_ONCE = 1_000_000  # that are drawn together, whatever their number


def bootstrap_mean(values: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Interval (low, high) of the mean of values (N,), by drawing N of them with replacement `draws` times.

    Raises ValueError where there are no values.
    """
    if not len(values):
        raise ValueError("no values to take the mean of")
    if len(values) == 1:
        return float(values[0]), float(values[0])
    from scipy import stats  # takes longer to import than most commands to run

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=draws,
        batch=max(1, _NUMBERS_AT_ONCE // len(values)),
        vectorized=True,
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def bootstrap_mean_of_means(
    groups: Sequence[np.ndarray], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval (low, high) of the mean over groups of the mean of each; values are drawn within each group.

    groups: (N,) each, of any lengths. They stay the groups that they are: the interval tells how the mean varies with
    the values in them, not with other groups.
    Raises ValueError where there are no groups, or one has no values.
    """
    if not groups or not all(len(values) for values in groups):
        raise ValueError("no values to take the mean of")
    rng = np.random.default_rng(seed)
    means = np.mean([_drawn_means(values, draws, rng) for values in groups], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _drawn_means(values: np.ndarray, draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(draws,) means, each of as many values as there are, drawn with replacement."""
    at_once = max(1, _NUMBERS_AT_ONCE // len(values))
    sizes = [(min(at_once, draws - start), len(values)) for start in range(0, draws, at_once)]
    return np.concatenate([values[rng.integers(len(values), size=size)].mean(1) for size in sizes])


def bootstrap_runs(
    after: Sequence[np.ndarray],
    before: Sequence[np.ndarray] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of the mean over groups of what several runs gave, such as trainings of other seeds.

    after: of each group (R, N), N values of each of R runs. before: (Q, N) of the same N things, which is subtracted.
    Runs are drawn, for all groups together and for `before` by themselves, and things within each group, for all runs
    together. Of very few runs such an interval is too narrow still.
    Raises ValueError where there are no groups, or one has no values.
    """
    if not after or not all(group.size for group in after):
        raise ValueError("no values to take the mean of")
    rng = np.random.default_rng(seed)
    sides = [after] if before is None else [after, before]
    shares = [rng.multinomial(len(side[0]), [1 / len(side[0])] * len(side[0]), draws) / len(side[0]) for side in sides]
    means = np.zeros(draws)
    for group, values in enumerate(after):
        count = values.shape[1]
        at_once = max(1, _NUMBERS_AT_ONCE // count)
        for start in range(0, draws, at_once):
            here = slice(start, min(start + at_once, draws))
            chosen = rng.integers(count, size=(here.stop - start, count))
            for side, share, sign in zip(sides, shares, (1, -1), strict=False):
                drawn = np.stack([run[chosen].mean(1) for run in side[group]], axis=1)
                means[here] += sign * (drawn * share[here]).sum(1) / len(after)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_difference(
    before: np.ndarray, after: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval (low, high) of the mean of after - before, both (N,) of the same N things: a paired comparison.

    Raises ValueError where there are no values, or the two are not of one length.
    """
    if before.shape != after.shape:
        raise ValueError(f"not pairs: {before.shape} values before, {after.shape} after")
    return bootstrap_mean(after - before, level=level, draws=draws, seed=seed)
