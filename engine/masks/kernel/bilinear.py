"""Bilinear upscaling of a few pixels as torch does it, in float32 and bit for bit."""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from engine.compiled import compiled
from engine.masks.kernel.tables import Neighbours, U

# How torch sums four neighbours: one axis after the other, or four products; each with or without fused multiply-add.
SEPARABLE_FUSED, FOUR_FUSED, SEPARABLE, FOUR = range(4)


@intrinsic
def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@compiled(with_folder=True, forceinline=True)
def blend(out, left, right, base, across, down, order):  # type: ignore[no-untyped-def]
    """Bilinear interpolation of r rows of n pixels.

    out (r * n,), left and right (any number of rows * n,): flat. left, right: the neighbours of each column, weighted
    by those of `across` (n,). down (r,): the neighbours among the rows of left and right, counted from `base`.
    """
    w0, w1 = across.first_weight, across.second_weight
    tops, feet, h0, h1 = down
    n = U(len(w0))
    for row in range(len(tops)):
        top, foot, to = U(tops[row] - base) * n, U(feet[row] - base) * n, U(row) * n
        y0, y1 = h0[row], h1[row]
        if order == SEPARABLE_FUSED:
            for i in range(n):
                upper = _fma(left[top + i], w0[i], right[top + i] * w1[i])
                lower = _fma(left[foot + i], w0[i], right[foot + i] * w1[i])
                out[to + i] = _fma(upper, y0, lower * y1)
        elif order == FOUR_FUSED:
            for i in range(n):
                total = _fma(y0 * w0[i], left[top + i], (y0 * w1[i]) * right[top + i])
                total = _fma(y1 * w0[i], left[foot + i], total)
                out[to + i] = _fma(y1 * w1[i], right[foot + i], total)
        elif order == SEPARABLE:
            for i in range(n):
                upper = left[top + i] * w0[i] + right[top + i] * w1[i]
                lower = left[foot + i] * w0[i] + right[foot + i] * w1[i]
                out[to + i] = upper * y0 + lower * y1
        else:
            for i in range(n):
                total = (y0 * w0[i]) * left[top + i] + (y0 * w1[i]) * right[top + i]
                out[to + i] = (total + (y1 * w0[i]) * left[foot + i]) + (y1 * w1[i]) * right[foot + i]


@compiled(with_folder=True, forceinline=True)
def _across_low(low, first, last, base, across, order, out):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w) blended to n columns, whose neighbours count from `base`: out, rows of n."""
    first_columns, second_columns, w0, w1 = across
    n = U(len(w0))
    for row in range(first, last + 1):
        to = U(row - first) * n
        for i in range(n):
            left, right = low[row, U(first_columns[i] - base)], low[row, U(second_columns[i] - base)]
            if order == SEPARABLE_FUSED:
                out[to + i] = _fma(left, w0[i], right * w1[i])
            else:
                out[to + i] = left * w0[i] + right * w1[i]


@compiled(with_folder=True, forceinline=True)
def _across_input(source, stride, n_rows, across, order, out):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    first_columns, second_columns, w0, w1 = across
    n, base = U(len(w0)), first_columns[0]
    for row in range(n_rows):
        start, to = U(row * stride), U(row) * n
        for i in range(n):
            left, right = source[start + U(first_columns[i] - base)], source[start + U(second_columns[i] - base)]
            if order == SEPARABLE_FUSED:
                out[to + i] = _fma(left, w0[i], right * w1[i])
            else:
                out[to + i] = left * w0[i] + right * w1[i]


@compiled(with_folder=True, forceinline=True)
def _down(rows, n, base, down, order, out):  # type: ignore[no-untyped-def]
    """out, flat rows of n: the neighbours `down` (r,) among `rows`, counted from `base`."""
    tops, feet, h0, h1 = down
    n = U(n)
    for row in range(len(tops)):
        top, foot, to = U(tops[row] - base) * n, U(feet[row] - base) * n, U(row) * n
        y0, y1 = h0[row], h1[row]
        if order == SEPARABLE_FUSED:
            for i in range(n):
                out[to + i] = _fma(rows[top + i], y0, rows[foot + i] * y1)
        else:
            for i in range(n):
                out[to + i] = rows[top + i] * y0 + rows[foot + i] * y1


@compiled(with_folder=True, forceinline=True)
def _spread_low(low, first, last, base, across, left, right):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w), spread to both neighbours of n columns, whose numbers count from `base`."""
    first_columns, second_columns = across.first, across.second
    n = U(len(first_columns))
    for row in range(first, last + 1):
        to = U(row - first) * n
        for i in range(n):
            left[to + i] = low[row, U(first_columns[i] - base)]
            right[to + i] = low[row, U(second_columns[i] - base)]


@compiled(with_folder=True, forceinline=True)
def _spread_input(source, stride, n_rows, across, left, right):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    first_columns, second_columns = across.first, across.second
    n, base = U(len(first_columns)), first_columns[0]
    for row in range(n_rows):
        start, to = U(row * stride), U(row) * n
        for i in range(n):
            left[to + i] = source[start + U(first_columns[i] - base)]
            right[to + i] = source[start + U(second_columns[i] - base)]


@compiled(with_folder=True, forceinline=True)
def upscale(low, origin, span, plan, same):  # type: ignore[no-untyped-def]
    """Upscaled logits of a span of the picture, flat: left in work.pixels, or in work.input if `same`.

    low: logits from `origin` on. The rows lie in one band. same: plan.same; a constant makes the loops tighter.
    """
    rows, columns, work = plan.rows, plan.columns, plan.work
    y0, y1, x0, x1 = span
    first_y, end_y = rows.input0[y0], rows.input1[y1 - 1] + 1
    first_x, end_x = columns.input0[x0], columns.input1[x1 - 1] + 1
    base, last = rows.low0[first_y], rows.low1[end_y - 1]
    of_y, of_x = slice(first_y, end_y), slice(first_x, end_x)
    down = Neighbours(rows.low0[of_y], rows.low1[of_y], rows.low_w0[of_y], rows.low_w1[of_y])
    across = Neighbours(columns.low0[of_x], columns.low1[of_x], columns.low_w0[of_x], columns.low_w1[of_x])
    first, end, n, order = base - origin[0], last - origin[0], end_x - first_x, plan.orders[0]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_low(low, first, end, origin[1], across, order, work.left)
        _down(work.left, n, base, down, order, work.input)
    else:
        _spread_low(low, first, end, origin[1], across, work.left, work.right)
        blend(work.input, work.left, work.right, base, across, down, order)
    if same:
        return
    of_y, of_x = slice(y0, y1), slice(x0, x1)
    down = Neighbours(rows.input0[of_y], rows.input1[of_y], rows.input_w0[of_y], rows.input_w1[of_y])
    across = Neighbours(columns.input0[of_x], columns.input1[of_x], columns.input_w0[of_x], columns.input_w1[of_x])
    order = plan.orders[1]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_input(work.input, n, end_y - first_y, across, order, work.left2)
        _down(work.left2, x1 - x0, first_y, down, order, work.pixels)
    else:
        _spread_input(work.input, n, end_y - first_y, across, work.left2, work.right2)
        blend(work.pixels, work.left2, work.right2, first_y, across, down, order)
