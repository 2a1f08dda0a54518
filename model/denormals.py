"""Denormal numbers, nearer to zero than float32's least normal one (1.2e-38): processors are many times slower on them.

The softmax over the pixels of a picture gives weights down to 1e-31 once a decoder is trained, and their products are
denormal by the thousands. They add nothing to sums of numbers of usual size, so they may as well be zero.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def are_flushed() -> bool:
    """Whether this thread takes denormal numbers as zeros."""
    least_normal = sys.float_info.min
    return least_normal / 2 == 0.0


@contextmanager
def flushed() -> Iterator[None]:
    """Takes denormal numbers as zeros, in this thread and those that it starts within; no others, no longer than this.

    Where a processor cannot, nothing changes. The threads that torch itself splits operations over are started by a
    thread's first large operation, and keep what was true then; with one thread, as in `model.lanes`, there are none.
    """
    if are_flushed():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:  # numpy warns of a processor that has no denormal numbers
        torch.set_flush_denormal(False)
