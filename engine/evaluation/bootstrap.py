"""Confidence intervals by the percentile bootstrap."""

import numpy as np


def bootstrap_mean(values: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Interval (low, high) of the mean of values (N,), by drawing N of them with replacement `draws` times.

    Raises ValueError where there are no values.
    """
    if not len(values):
        raise ValueError("no values to take the mean of")
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(draws)])
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
