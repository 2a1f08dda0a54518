"""The pixels of the box of a mask, band by band."""

from engine.compiled import compiled
from engine.masks.kernel.bilinear import upscale


@compiled(with_folder=True, forceinline=True)
def _rasterise(low, origin, box, threshold, plan, same, out):  # type: ignore[no-untyped-def]
    rows, work = plan.rows, plan.work
    pixels = work.input if same else work.pixels
    x0, y0, x1, y1 = box[0], box[1], box[2] + 1, box[3] + 1
    start, band = y0, rows.low0[rows.input0[y0]]
    while start < y1:
        end = min(y1, rows.starts[band + 1])
        band += 1
        if start == end:
            continue
        upscale(low, origin, (start, end, x0, x1), plan, same)
        for y in range(start, end):
            offset = (y - start) * (x1 - x0)
            for i in range(x1 - x0):
                out[y - y0, i] = pixels[offset + i] > threshold
        start = end


@compiled(with_folder=True)
def rasterise(low, origin, box, threshold, plan, out):  # type: ignore[no-untyped-def]
    """out (box height, box width) bool: pixels of the box (XYXY inclusive) above the threshold."""
    if plan.same:
        _rasterise(low, origin, box, threshold, plan, True, out)
    else:
        _rasterise(low, origin, box, threshold, plan, False, out)
