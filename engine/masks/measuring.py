"""Areas, stability counts and boxes of masks straight from low-resolution logits, and the pixels of single masks.

The result is that of bringing every mask to the size of the picture, as torch would for three masks a prompt
(`model.upscaling.Upscaling`), pixel for pixel; on a CPU no such mask is ever made. Torch's rounding depends on the
processor, on the size and on the number of threads; it is found out by trying, once for each case.

Shapes: n masks, (h, w) low-resolution logits, (H, W) the picture.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.geometry import mask_boxes
from engine.masks.tables import Axis, Workspace, linear_weights, make_workspace, upscaling_axes
from engine.masks.windows import Window
from model.lanes import lane_count, side_by_side
from model.upscaling import Upscaling
from schemas.errors import InputError

# Full-size logits in hand at a time where there is no kernel, in pixels: 64 MiB of float32. Each mask also passes
# through the model's padded input size.
CHUNK_PIXELS = 2**24
WINDOWS_AT_ONCE = 64  # of those that are measured; their logits are written out
MASKS_A_PART = 8  # few, because some masks take many times as long as others
_MASKS_A_PROMPT = 3  # on a CPU torch rounds otherwise with another number of channels
_SMALL_SIDES = 128  # up to this height + width of the result torch takes another way
_NOT_FINITE = "the model gave mask logits that are not finite; its weights are broken, or too large for its type"
_logger = logging.getLogger(__name__)


class Measures(NamedTuple):
    """On the CPU. intersection, union (n,) int64: pixels above threshold + offset, above threshold - offset.
    area (n,) int64: above threshold. boxes: (n, 4) int64 XYXY, inclusive, zeros for an empty mask."""

    intersection: Tensor
    union: Tensor
    area: Tensor
    boxes: Tensor


def measure(logits: Tensor, upscaling: Upscaling, *, threshold: float, offset: float) -> Measures:
    """What n masks (n, h, w) float32 count at the size of the picture; see `Measures`.

    Raises InputError if a logit is not finite, ValueError if offset < 0.
    """
    if offset < 0:
        raise ValueError(f"offset must not be negative, found {offset}")
    if len(logits) == 0:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Measures(nothing, nothing, nothing, nothing.reshape(0, 4))
    plan = _plan(logits, upscaling)
    if plan is None:
        return measure_at_full_size(logits, upscaling, threshold=threshold, offset=offset)
    return _measure_by_kernel(logits, plan, (threshold - offset, threshold, threshold + offset))


class Survey(NamedTuple):
    """Where n masks lie, found for a third of what `measure` costs; on the CPU.

    boxes: (n, 4) int64 XYXY, inclusive, zeros for an empty mask. empty: (n,) bool. parts: (n, 4) int32, rows and
    columns (first, end, first, end) of the logits that matter (`windows.cut_windows`). measures: where a mask is
    brought to full size anyway; else None.
    """

    boxes: Tensor
    empty: Tensor
    parts: npt.NDArray[np.int32]
    measures: Measures | None


def survey(logits: Tensor, upscaling: Upscaling, *, threshold: float, offset: float) -> Survey:
    """The boxes that `measure` gives for n masks (n, h, w) float32, and what is needed to measure them later.

    Raises what `measure` does.
    """
    plan = _plan(logits, upscaling)
    if plan is not None and len(logits):
        return _survey_by_kernel(logits, plan, (threshold - offset, threshold, threshold + offset))
    measures = measure(logits, upscaling, threshold=threshold, offset=offset)
    rows, columns = upscaling_axes(upscaling, (logits.shape[1], logits.shape[2]), fused=True)
    x0, y0, x1, y1 = measures.boxes.numpy().T
    parts = np.stack([*rows.low_res_range(y0, y1), *columns.low_res_range(x0, x1)], axis=1)
    return Survey(measures.boxes, measures.area == 0, parts, measures)


def measure_windows(windows: Sequence[Window], upscaling: Upscaling, *, offset: float) -> Measures:
    """What `measure` gives for the logits of which n windows were cut with this offset, at their thresholds."""
    parts = [measure(torch.empty((0, 1, 1)), upscaling, threshold=0.0, offset=offset)]
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        some = windows[start : start + WINDOWS_AT_ONCE]
        low = np.empty((len(some), *some[0].low_hw), dtype=np.float32)
        for one, window in zip(low, some, strict=True):
            window.write_logits(one)
        parts.append(measure(torch.from_numpy(low), upscaling, threshold=some[0].threshold, offset=offset))
    return Measures(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def measure_at_full_size(logits: Tensor, upscaling: Upscaling, *, threshold: float, offset: float) -> Measures:
    """The same by torch alone, on any device, a few masks at full size at a time."""
    if not torch.isfinite(logits).all():
        raise InputError(_NOT_FINITE)
    pixels = max(height * width for height, width in (upscaling.padded_hw, upscaling.image_hw))
    together = _masks_together(logits)
    parts = []
    for chunk in logits.split(together * max(1, CHUNK_PIXELS // pixels // together)):
        full = _upscale(chunk, upscaling)
        masks = full > threshold
        intersection, union = ((full > threshold + sign * offset).sum(dim=(1, 2)) for sign in (1, -1))
        parts.append(Measures(intersection, union, masks.sum(dim=(1, 2)), mask_boxes(masks)))
    return Measures(*(torch.cat(tensors).cpu() for tensors in zip(*parts, strict=True)))


def rasterise(window: Window, upscaling: Upscaling) -> npt.NDArray[np.bool_]:
    """The mask inside its box, (box height, box width)."""
    x0, y0, x1, y1 = window.box
    logits, threshold = window.logits(), window.threshold
    plan = _plan(torch.empty((0, *window.low_hw), device=window.device), upscaling)
    if plan is None:
        low = torch.zeros(window.low_hw, device=window.device)
        height, width = logits.shape
        low[window.y0 : window.y0 + height, window.x0 : window.x0 + width] = torch.from_numpy(logits)
        full = _upscale(low[None], upscaling)[0, y0 : y1 + 1, x0 : x1 + 1]
        return (full > threshold).cpu().numpy()
    from engine.masks import kernel

    out: npt.NDArray[np.bool_] = np.empty((y1 + 1 - y0, x1 + 1 - x0), dtype=bool)
    work = make_workspace(plan.rows, plan.columns, low_hw=window.low_hw)
    origin = (window.y0, window.x0)
    kernel.rasterise(
        logits, *origin, plan.rows, plan.columns, window.box, np.float32(threshold), plan.orders, work, out
    )
    return out


class _Plan(NamedTuple):
    """Tables of both axes and torch's order of operations in both steps. same: the second step changes nothing."""

    rows: Axis
    columns: Axis
    orders: tuple[int, int]
    same: bool


def _plan(logits: Tensor, upscaling: Upscaling) -> _Plan | None:
    """How the kernel gets torch's numbers; None if it cannot: not on a CPU, or torch rounds in a way we do not know."""
    if logits.device.type != "cpu":
        return None
    steps = (upscaling.padded_hw, upscaling.image_hw)
    orders = [_order_of_operations(lane_count(), sum(hw) <= _SMALL_SIDES) for hw in steps]
    if orders[0] is None or orders[1] is None:
        return None
    from engine.masks import kernel

    fused = orders[0] in (kernel.SEPARABLE_FUSED, kernel.FOUR_FUSED)
    rows, columns = upscaling_axes(upscaling, (logits.shape[1], logits.shape[2]), fused=fused)
    return _Plan(rows, columns, (orders[0], orders[1]), upscaling.input_hw == upscaling.image_hw)


@lru_cache(maxsize=64)
def _order_of_operations(threads: int, small: bool) -> int | None:
    """The order of operations of torch's bilinear upscaling, found by comparing each with what torch gives."""
    from engine.masks import kernel

    rng = np.random.default_rng(0)
    low = rng.standard_normal((3, 31, 37)).astype(np.float32)
    height, width = (47, 61) if small else (97, 113)
    full = F.interpolate(torch.from_numpy(low)[None], (height, width), mode="bilinear", align_corners=False)[0].numpy()
    for order in (kernel.SEPARABLE_FUSED, kernel.FOUR_FUSED, kernel.SEPARABLE, kernel.FOUR):
        fused = order in (kernel.SEPARABLE_FUSED, kernel.FOUR_FUSED)
        if np.array_equal(full, np.stack([_interpolate(one, height, width, order, fused=fused) for one in low])):
            return order
    _logger.warning("this build of torch rounds in an unknown way: masks are measured at full size, which is slow")
    return None


def _interpolate(
    low: npt.NDArray[np.float32], height: int, width: int, order: int, *, fused: bool
) -> npt.NDArray[np.float32]:
    from engine.masks import kernel

    y0, y1, h0, h1 = linear_weights(low.shape[0], height, fused=fused)
    x0, x1, w0, w1 = linear_weights(low.shape[1], width, fused=fused)
    left, right = low[:, x0].reshape(-1), low[:, x1].reshape(-1)
    out = np.empty(height * width, dtype=np.float32)
    kernel.blend(out, left, right, y0, y1, 0, w0, w1, h0, h1, order)
    return out.reshape(height, width)


# Rows, columns, thresholds, orders, same, and room for one thread, as the kernel takes them.
_Tables = tuple[Axis, Axis, tuple[np.float32, np.float32, np.float32], tuple[int, int], bool, Workspace]


def _measure_by_kernel(logits: Tensor, plan: _Plan, bounds: tuple[float, float, float]) -> Measures:
    from engine.masks import kernel

    low = logits.contiguous().numpy()
    bits = low.view(np.int32)
    counts = np.zeros((len(low), 3), dtype=np.int64)
    boxes = np.zeros((len(low), 4), dtype=np.int64)

    def part(rows: slice, tables: _Tables) -> int:
        n_good: int = kernel.measure(low[rows], bits[rows], *tables, counts[rows], boxes[rows])
        return n_good

    _in_lanes(part, low, plan, bounds)
    union, area, intersection = torch.from_numpy(counts).unbind(1)
    return Measures(intersection, union, area, torch.from_numpy(boxes))


def _survey_by_kernel(logits: Tensor, plan: _Plan, bounds: tuple[float, float, float]) -> Survey:
    from engine.masks import kernel

    low = logits.contiguous().numpy()
    bits = low.view(np.int32)
    boxes = np.zeros((len(low), 4), dtype=np.int64)
    parts = np.zeros((len(low), 4), dtype=np.int32)

    def part(rows: slice, tables: _Tables) -> int:
        n_good: int = kernel.survey(low[rows], bits[rows], *tables, boxes[rows], parts[rows])
        return n_good

    _in_lanes(part, low, plan, bounds)
    empty = torch.from_numpy(parts[:, 1] == 0)
    for axis, ends in ((plan.rows, parts[:, :2]), (plan.columns, parts[:, 2:])):
        # What a pixel is made of lies within the span; one more, as windows have it around what is near.
        ends[:, 0], ends[:, 1] = np.maximum(ends[:, 0] - axis.span, 0), np.minimum(ends[:, 1] + axis.span, axis.used)
    return Survey(torch.from_numpy(boxes), empty, parts, None)


def _in_lanes(
    part: Callable[[slice, _Tables], int], low: npt.NDArray[np.float32], plan: _Plan, bounds: tuple[float, float, float]
) -> None:
    """Give `part` the masks, some rows of `low` at a time, and the kernel's tables; it returns how many were finite."""
    lowest, middle, highest = map(np.float32, bounds)
    rooms: SimpleQueue[Workspace] = SimpleQueue()
    for _ in range(lane_count()):
        rooms.put(make_workspace(plan.rows, plan.columns, low_hw=(low.shape[1], low.shape[2])))

    def some(rows: slice) -> bool:
        work = rooms.get()
        n_good = part(rows, (plan.rows, plan.columns, (lowest, middle, highest), plan.orders, plan.same, work))
        rooms.put(work)
        return n_good == len(low[rows])

    starts = range(0, len(low), MASKS_A_PART)
    if not all(side_by_side(some, [slice(start, start + MASKS_A_PART) for start in starts])):
        raise InputError(_NOT_FINITE)


def _upscale(logits: Tensor, upscaling: Upscaling) -> Tensor:
    """(n, h, w) to (n, H, W), as the masks of prompts."""
    together = _masks_together(logits)
    padded = F.pad(logits, (0, 0, 0, 0, 0, -len(logits) % together)).unflatten(0, (-1, together))
    return upscaling.apply(padded).flatten(0, 1)[: len(logits)]


def _masks_together(logits: Tensor) -> int:
    return _MASKS_A_PROMPT if logits.device.type == "cpu" else 1
