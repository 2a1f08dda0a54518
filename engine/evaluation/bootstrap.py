"""Confidence intervals by the percentile bootstrap."""

import numpy as np

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


def bootstrap_difference(
    before: np.ndarray, after: np.ndarray, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval (low, high) of the mean of after - before, both (N,) of the same N things: a paired comparison.

    Raises ValueError where there are no values, or the two are not of one length.
    """
    if before.shape != after.shape:
        raise ValueError(f"not pairs: {before.shape} values before, {after.shape} after")
    return bootstrap_mean(after - before, level=level, draws=draws, seed=seed)
