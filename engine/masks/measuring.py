"""Areas, stability counts and boxes of masks straight from low-resolution logits, and the pixels of single masks.

The result is that of bringing every mask to the size of the picture, as torch would for three masks a prompt
(`model.upscaling.Upscaling`), pixel for pixel; on a CPU no such mask is ever made. Torch's rounding depends on the
processor, on the size and on the number of threads; it is found out by trying, once for each case.

Shapes: n masks, (h, w) low-resolution logits, (H, W) the picture.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.masks.kernel.tables import Axis, Neighbours, Plan, linear_weights, make_workspace, upscaling_axes
from engine.masks.kernel.windows import Packed, Window, make_packed
from model.geometry import mask_boxes
from model.lanes import lane_count, side_by_side
from model.upscaling import Upscaling
from schemas.errors import InputError

# Full-size logits in hand at a time where there is no kernel, in pixels: 64 MiB of float32. Each mask also passes
# through the model's padded input size.
CHUNK_PIXELS = 2**24
MASKS_A_PART = 8  # few, because some masks take many times as long as others
_MASKS_A_PROMPT = 3  # on a CPU torch rounds otherwise with another number of channels
_SMALL_SIDES = 128  # up to this height + width of the result torch takes another way
_NOT_FINITE = "the model gave mask logits that are not finite; its weights are broken, or too large for its type"
_logger = logging.getLogger(__name__)


class Survey(NamedTuple):
    """Where n masks lie, and what is needed to count their pixels and to rasterise them later; on the CPU.

    boxes: (n, 4) int64 XYXY, inclusive, zeros for an empty mask. empty: (n,) bool. counts: as `count` gives them, where
    every mask was brought to full size anyway, else None.
    """

    boxes: Tensor
    empty: Tensor
    windows: list[Window]
    counts: Tensor | None


def survey(logits: Tensor, upscaling: Upscaling, *, threshold: float, offset: float) -> Survey:
    """Survey n masks (n, h, w) float32 at the size of the picture.

    Raises InputError if a logit is not finite, ValueError if offset < 0.
    """
    if offset < 0:
        raise ValueError(f"offset must not be negative, found {offset}")
    plans = _plans(upscaling, (logits.shape[1], logits.shape[2]), logits.device)
    if plans is None:
        return survey_at_full_size(logits, upscaling, threshold=threshold, offset=offset)
    return _survey_by_kernel(logits, plans, (threshold - offset, threshold, threshold + offset))


def survey_at_full_size(logits: Tensor, upscaling: Upscaling, *, threshold: float, offset: float) -> Survey:
    """The same by torch alone, on any device, a few masks at full size at a time."""
    if not torch.isfinite(logits).all():
        raise InputError(_NOT_FINITE)
    pixels = max(height * width for height, width in (upscaling.padded_hw, upscaling.image_hw))
    together = _masks_together(logits)
    counts, boxes = [torch.zeros((0, 3), dtype=torch.int64)], [torch.zeros((0, 4), dtype=torch.int64)]
    for chunk in logits.split(together * max(1, CHUNK_PIXELS // pixels // together)) if len(logits) else ():
        full = _upscale(chunk, upscaling)
        masks = full > threshold
        intersection, union = ((full > threshold + sign * offset).sum(dim=(1, 2)) for sign in (1, -1))
        counts.append(torch.stack([intersection, union, masks.sum(dim=(1, 2))], dim=1).cpu())
        boxes.append(mask_boxes(masks).cpu())
    every_count, every_box = torch.cat(counts), torch.cat(boxes)
    windows = _cut(logits, every_box, upscaling, threshold=threshold)
    return Survey(every_box, every_count[:, 2] == 0, windows, every_count)


def count(windows: Sequence[Window], upscaling: Upscaling, *, offset: float) -> Tensor:
    """(n, 3) int64: pixels of each mask above threshold + offset, above threshold - offset, and above the threshold.

    windows: of a survey with this offset that did not count.
    """
    counts = np.zeros((len(windows), 3), dtype=np.int64)
    if len(windows):
        plans = _plans(upscaling, windows[0].low_hw, windows[0].device)
        if plans is None:
            raise ValueError("the survey has counted the pixels of these masks")
        _count_by_kernel(windows, plans, offset, counts)
    return torch.from_numpy(counts[:, [2, 0, 1]])


def rasterise(window: Window, upscaling: Upscaling) -> npt.NDArray[np.bool_]:
    """The mask inside its box, (box height, box width)."""
    x0, y0, x1, y1 = window.box
    logits, threshold = window.logits(), window.threshold
    plans = _plans(upscaling, window.low_hw, window.device)
    if plans is None:
        low = torch.zeros(window.low_hw, device=window.device)
        height, width = logits.shape
        low[window.y0 : window.y0 + height, window.x0 : window.x0 + width] = torch.from_numpy(logits)
        full = _upscale(low[None], upscaling)[0, y0 : y1 + 1, x0 : x1 + 1]
        return (full > threshold).cpu().numpy()
    from engine.masks.kernel import rasterising

    out: npt.NDArray[np.bool_] = np.empty((y1 + 1 - y0, x1 + 1 - x0), dtype=bool)
    with plans.one() as (plan, _):
        rasterising.rasterise(logits, (window.y0, window.x0), window.box, np.float32(threshold), plan, out)
    return out


class _Plans:
    """Plans of the kernel for masks of one size, one for each thread that asks at a time; their room is used again.

    With each comes room for the windows of MASKS_A_PART masks.
    """

    def __init__(
        self, rows: Axis, columns: Axis, low_hw: tuple[int, int], orders: tuple[int, int], *, same: bool
    ) -> None:
        self._rows, self._columns, self._low_hw, self._orders, self._same = rows, columns, low_hw, orders, same
        self._free: SimpleQueue[tuple[Plan, Packed]] = SimpleQueue()

    @contextmanager
    def one(self) -> Iterator[tuple[Plan, Packed]]:
        try:
            plan, packed = self._free.get_nowait()
        except Empty:
            work = make_workspace(self._rows, self._columns, low_hw=self._low_hw)
            plan = Plan(self._rows, self._columns, self._orders, self._same, work)
            packed = make_packed(MASKS_A_PART, low_hw=self._low_hw)
        try:
            yield plan, packed
        finally:
            self._free.put((plan, packed))


def _plans(upscaling: Upscaling, low_hw: tuple[int, int], device: torch.device) -> _Plans | None:
    """How the kernel gets torch's numbers; None if it cannot: not on a CPU, or torch rounds in a way we do not know."""
    return _plans_on_cpu(upscaling, low_hw, lane_count()) if device.type == "cpu" else None


@lru_cache(maxsize=2)
def _plans_on_cpu(upscaling: Upscaling, low_hw: tuple[int, int], threads: int) -> _Plans | None:
    padded_hw, input_hw = upscaling.steps(low_hw)
    steps = (padded_hw, upscaling.image_hw)
    orders = [_order_of_operations(threads, sum(hw) <= _SMALL_SIDES) for hw in steps]
    if orders[0] is None or orders[1] is None:
        return None
    from engine.masks.kernel import bilinear

    fused = orders[0] in (bilinear.SEPARABLE_FUSED, bilinear.FOUR_FUSED)
    rows, columns = upscaling_axes(upscaling, low_hw, fused=fused)
    return _Plans(rows, columns, low_hw, (orders[0], orders[1]), same=input_hw == upscaling.image_hw)


@lru_cache(maxsize=64)
def _order_of_operations(threads: int, small: bool) -> int | None:
    """The order of operations of torch's bilinear upscaling, found by comparing each with what torch gives."""
    from engine.masks.kernel import bilinear

    rng = np.random.default_rng(0)
    low = rng.standard_normal((3, 31, 37)).astype(np.float32)
    height, width = (47, 61) if small else (97, 113)
    full = F.interpolate(torch.from_numpy(low)[None], (height, width), mode="bilinear", align_corners=False)[0].numpy()
    for order in (bilinear.SEPARABLE_FUSED, bilinear.FOUR_FUSED, bilinear.SEPARABLE, bilinear.FOUR):
        fused = order in (bilinear.SEPARABLE_FUSED, bilinear.FOUR_FUSED)
        if np.array_equal(full, np.stack([_interpolate(one, height, width, order, fused=fused) for one in low])):
            return order
    _logger.warning("this build of torch rounds in an unknown way: masks are measured at full size, which is slow")
    return None


def _interpolate(
    low: npt.NDArray[np.float32], height: int, width: int, order: int, *, fused: bool
) -> npt.NDArray[np.float32]:
    from engine.masks.kernel import bilinear

    down = Neighbours(*linear_weights(low.shape[0], height, fused=fused))
    across = Neighbours(*linear_weights(low.shape[1], width, fused=fused))
    left, right = low[:, across.first].reshape(-1), low[:, across.second].reshape(-1)
    out = np.empty(height * width, dtype=np.float32)
    bilinear.blend(out, left, right, 0, across, down, order)
    return out.reshape(height, width)


def _survey_by_kernel(logits: Tensor, plans: _Plans, bounds: tuple[float, float, float]) -> Survey:
    from engine.masks.kernel import surveying

    low = logits.contiguous().numpy()
    low_hw, bits = (low.shape[1], low.shape[2]), low.view(np.int32)
    boxes = np.zeros((len(low), 4), dtype=np.int64)
    parts = np.zeros((len(low), 4), dtype=np.int32)
    thresholds = _as_float32(bounds)

    def some(rows: slice) -> list[Window]:
        with plans.one() as (plan, packed):
            n_good = surveying.survey(low[rows], bits[rows], thresholds, plan, packed, boxes[rows], parts[rows])
            if n_good < len(low[rows]):
                raise InputError(_NOT_FINITE)
            where = (parts[rows], boxes[rows])
            return packed.windows(*where, low_hw=low_hw, threshold=bounds[1], device=logits.device)

    starts = range(0, len(low), MASKS_A_PART)
    windows = side_by_side(some, [slice(start, start + MASKS_A_PART) for start in starts])
    empty = torch.from_numpy(parts[:, 1] == 0)
    return Survey(torch.from_numpy(boxes), empty, [window for part in windows for window in part], None)


def _count_by_kernel(windows: Sequence[Window], plans: _Plans, offset: float, counts: npt.NDArray[np.int64]) -> None:
    from engine.masks.kernel import counting

    threshold = windows[0].threshold
    thresholds = _as_float32((threshold - offset, threshold, threshold + offset))

    def one(place: int) -> None:
        with plans.one() as (plan, _):
            counting.count(windows[place].kept, thresholds, plan, counts[place])

    side_by_side(one, range(len(windows)))


def _as_float32(bounds: tuple[float, float, float]) -> tuple[np.float32, np.float32, np.float32]:
    lowest, middle, highest = map(np.float32, bounds)
    return lowest, middle, highest


def _cut(logits: Tensor, boxes: Tensor, upscaling: Upscaling, *, threshold: float) -> list[Window]:
    """Of masks (n, h, w) that are measured, what the pixels in their boxes (n, 4) depend on."""
    from engine.masks.kernel import surveying

    low = logits.contiguous().cpu().numpy()
    low_hw, bits = (low.shape[1], low.shape[2]), low.view(np.int32)
    rows, columns = upscaling_axes(upscaling, low_hw, fused=True)
    x0, y0, x1, y1 = boxes.numpy().T
    parts = np.stack([*rows.low_res_range(y0, y1), *columns.low_res_range(x0, x1)], axis=1)
    plan = Plan(rows, columns, (0, 0), False, make_workspace(rows, columns, low_hw=low_hw))  # nothing is upscaled
    packed = make_packed(MASKS_A_PART, low_hw=low_hw)
    windows: list[Window] = []
    for start in range(0, len(low), MASKS_A_PART):
        some = slice(start, start + MASKS_A_PART)
        surveying.pack(low[some], bits[some], np.float32(threshold), plan, packed, parts[some])
        where = (parts[some], boxes.numpy()[some])
        windows += packed.windows(*where, low_hw=low_hw, threshold=threshold, device=logits.device)
    return windows


def _upscale(logits: Tensor, upscaling: Upscaling) -> Tensor:
    """(n, h, w) to (n, H, W), as the masks of prompts."""
    together = _masks_together(logits)
    padded = F.pad(logits, (0, 0, 0, 0, 0, -len(logits) % together)).unflatten(0, (-1, together))
    return upscaling.apply(padded).flatten(0, 1)[: len(logits)]


def _masks_together(logits: Tensor) -> int:
    return _MASKS_A_PROMPT if logits.device.type == "cpu" else 1
