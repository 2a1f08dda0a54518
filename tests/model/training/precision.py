"""Trainings in double precision, for comparing two that are equal but for rounding."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def double_precision() -> Iterator[None]:
    """Everything that is float32 in a training is float64.

    Rounding grows from step to step: Adam makes a full step of a gradient that is nothing but rounding, and a logit
    that changes its sign moves the next click. In float32 a loss of 1.54 was off by 6e-4 after seven steps, on one
    processor with one thread; in float64 weights stay equal to 1e-11, losses to 1e-15.
    """
    single, to_single = torch.float32, torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.Tensor.float = single, to_single
        torch.set_default_dtype(single)
