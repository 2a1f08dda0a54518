"""The box of a mask: of the cells that are certain, and of the pixels of those that are open."""

import numpy as np

from engine.compiled import compiled
from engine.masks.kernel.bilinear import upscale
from engine.masks.kernel.certainty import INSIDE, OPEN, end_of_run, stride_of
from engine.masks.kernel.tables import U

_NO_BOX = 2**31 - 1


@compiled(with_folder=True, forceinline=True)
def _extend(pixels, span, threshold, box):  # type: ignore[no-untyped-def]
    """Make the box hold the pixels above the threshold of the flat patch `span`; only what lies outside is read."""
    y0, y1, x0, x1 = span
    n = x1 - x0
    for y in range(y0, y1):
        if y >= box[1] and y <= box[3] and x0 >= box[0] and x1 - 1 <= box[2]:
            continue
        for x in range(x0, x1):
            if pixels[(y - y0) * n + x - x0] > threshold:
                box[0], box[1] = min(box[0], x), min(box[1], y)
                box[2], box[3] = max(box[2], x), max(box[3], y)


@compiled(with_folder=True, forceinline=True)
def _box_of_decided(part, plan, box):  # type: ignore[no-untyped-def]
    """Box of the cells that are above the middle threshold; work.any_open: bands with cells of which that is open."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    stride, left, n = stride_of(part, columns), U(part[2]), U(part[3] - part[2])
    for i in range(n):
        work.columns_inside[i] = 0
    for band in range(part[0], part[1]):
        begin = U(band - part[0] + rows.span) * stride + U(columns.span)
        work.any_open[band] = 0
        if rows.sizes[band] == 0:
            continue
        found, any_open = np.uint8(0), np.uint8(0)
        for i in range(n):
            state = work.states[begin + i]
            inside = state & INSIDE & columns.filled[left + i]
            found |= inside
            any_open |= np.uint8(state == OPEN)
            work.columns_inside[i] |= inside
        work.any_open[band] = any_open
        if found:
            box[1], box[3] = min(box[1], rows.starts[band]), rows.starts[band + 1] - 1
    for i in range(n):
        if work.columns_inside[i]:
            box[0], box[2] = min(box[0], columns.starts[left + i]), columns.starts[left + i + U(1)] - 1


@compiled(with_folder=True, forceinline=True)
def _extend_by_open(low, part, band, cells, threshold, plan, box):  # type: ignore[no-untyped-def]
    """Make the box hold the pixels above the threshold of the open ones of some cells of a band."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    if cells[0] >= cells[1]:
        return
    begin = U(band - part[0] + rows.span) * stride_of(part, columns) + U(columns.span - part[2] + cells[0])
    cell, stop = begin, begin + U(cells[1] - cells[0])
    while cell < stop:
        state, x0 = work.states[cell], columns.starts[U(cells[0]) + cell - begin]
        cell = end_of_run(work.states, work.state_words, cell, stop)
        x1 = columns.starts[U(cells[0]) + cell - begin]
        if state == OPEN and x0 < x1:
            span = (rows.starts[band], rows.starts[band + 1], x0, x1)
            upscale(low, (0, 0), span, plan, plan.same)
            _extend(work.input if plan.same else work.pixels, span, threshold, box)


@compiled(with_folder=True, forceinline=True)
def find_box(low, part, threshold, plan, box):  # type: ignore[no-untyped-def]
    """The box of the pixels above the threshold, XYXY inclusive; box[2] < 0 where there is none."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    box[0], box[1], box[2], box[3] = _NO_BOX, _NO_BOX, -1, -1
    _box_of_decided(part, plan, box)
    for band in range(part[0], part[1]):
        if not work.any_open[band]:
            continue
        if rows.starts[band] < box[1] or rows.starts[band + 1] - 1 > box[3]:
            cells = (part[2], part[3])
            _extend_by_open(low, part, band, cells, threshold, plan, box)
            continue
        # In a band that the box holds, only what lies beside it can be new.
        before = (part[2], min(part[3], columns.low0[columns.input0[box[0]]] + 1))
        behind = (max(part[2], columns.low0[columns.input0[box[2]]]), part[3])
        _extend_by_open(low, part, band, before, threshold, plan, box)
        _extend_by_open(low, part, band, behind, threshold, plan, box)
