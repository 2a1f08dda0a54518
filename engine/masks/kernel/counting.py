"""How many pixels of a mask are above each threshold: whole cells, and the pixels of those that are open."""

from engine.compiled import compiled
from engine.masks.kernel.bilinear import upscale
from engine.masks.kernel.certainty import ABOVE, BELOW, MARGIN, OPEN, TINY, classify, decide, end_of_run, stride_of
from engine.masks.kernel.packing import unpack
from engine.masks.kernel.tables import U


@compiled(with_folder=True, forceinline=True)
def _count(pixels, size, thresholds, counts):  # type: ignore[no-untyped-def]
    lowest, middle, highest = thresholds
    in_lowest = in_middle = in_highest = 0
    for i in range(U(size)):
        in_lowest += pixels[i] > lowest
        in_middle += pixels[i] > middle
        in_highest += pixels[i] > highest
    counts[0] += in_lowest
    counts[1] += in_middle
    counts[2] += in_highest


@compiled(with_folder=True)
def count(kept, thresholds, plan, counts):  # type: ignore[no-untyped-def]
    """Add to counts (3,) the pixels of a mask that are above each of the thresholds, lowest first.

    kept: a `windows.Kept`.
    """
    rows, columns, work, part = plan.rows, plan.columns, plan.work, kept.part
    low, origin = work.low, (part[0], part[2])
    unpack(kept, low)
    classify(low, origin, part, thresholds, kept.peak * MARGIN + TINY, plan)
    decide(part, ABOVE | BELOW, plan)
    stride, left, n = stride_of(part, columns), U(part[2]), U(part[3] - part[2])
    pixels = work.input if plan.same else work.pixels
    for band in range(part[0], part[1]):
        if rows.sizes[band] == 0:
            continue
        start, end = rows.starts[band], rows.starts[band + 1]
        begin = U(band - part[0] + rows.span) * stride + U(columns.span)
        cell = begin
        while cell < begin + n:
            state, x0 = work.states[cell], columns.starts[left + cell - begin]
            cell = end_of_run(work.states, work.state_words, cell, begin + n)
            x1 = columns.starts[left + cell - begin]
            if state == BELOW or x0 == x1:
                continue
            size = (end - start) * (x1 - x0)
            if state == OPEN:
                upscale(low, origin, (start, end, x0, x1), plan, plan.same)
                _count(pixels, size, thresholds, counts)
            else:
                for level in range(3):
                    counts[level] += size
