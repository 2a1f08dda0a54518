"""Where masks lie, and what is kept of each to count or to rasterise it later."""

from engine.compiled import compiled
from engine.masks.kernel.boxes import find_box
from engine.masks.kernel.certainty import EITHER, classify, decide, find_part, find_peak, margin_of
from engine.masks.kernel.packing import pack_part

_INFINITY_BITS = 0x7F800000


@compiled(with_folder=True, forceinline=True)
def _begin(ends, index):  # type: ignore[no-untyped-def]
    """ends (n, 2): a mask ends where the one before it ends, until something is appended."""
    for which in range(2):
        ends[index, which] = ends[index - 1, which] if index else 0


@compiled(with_folder=True)
def survey(logits, bits, thresholds, plan, out, boxes, parts):  # type: ignore[no-untyped-def]
    """Where n masks lie, and what must be kept of each to count or to rasterise it later.

    logits (n, h, w), and the same memory as int32. boxes (n, 4): above the middle threshold, zeros for none. parts
    (n, 4): first row, the one after the last, first column, the one after the last of what is kept. out:
    `windows.Packed`. Returns the index of the first mask that is not finite, or n.
    """
    lowest, middle, _ = thresholds
    work = plan.work
    everything = (0, logits.shape[1], 0, logits.shape[2])
    for index in range(len(logits)):
        low, box, part = logits[index], boxes[index], parts[index]
        peak = find_peak(bits[index], everything, work)
        if peak >= _INFINITY_BITS:
            return index
        out.peaks[index] = peak
        margin = margin_of(work)
        box[:] = 0
        _begin(out.ends, index)
        if not find_part(lowest - margin, plan, part):
            continue
        classify(low, (0, 0), part, thresholds, margin, plan)
        joined = decide(part, EITHER, plan)
        find_box(low, part, middle, plan, box)
        if box[2] < 0:
            box[:] = 0
            part[:] = 0
            continue
        pack_part(low, part, joined, 0, index, plan, out)
    return len(logits)


@compiled(with_folder=True)
def pack(logits, bits, threshold, plan, out, parts):  # type: ignore[no-untyped-def]
    """What must be kept of parts (n, 4) of n masks to rasterise them: see `survey`."""
    work = plan.work
    for index in range(len(logits)):
        low, part = logits[index], parts[index]
        out.peaks[index] = find_peak(bits[index], part, work)
        margin = margin_of(work)
        _begin(out.ends, index)
        classify(low, (0, 0), part, (threshold, threshold, threshold), margin, plan)
        joined = decide(part, EITHER, plan)
        pack_part(low, part, joined, 1, index, plan, out)
