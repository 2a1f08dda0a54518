"""Compiled CPU loops over low-resolution logits: what bilinear upscaling would give, pixel by pixel, where it matters.

Import it only where it is used: numba takes a moment. Everything is float32, as in torch.

    logits (h, w)                 input (Y, X), padding cut off       picture (H, W)
    +---+---+---+---+             +-----------------------+           +-----------------------------+
    |   |   |   |   |  step 1     |                       |  step 2   |                             |
    +---+---+---+---+ ----------> |                       | --------> +- - - +------+- - - - - - - -+ starts[r]
    | r | c |   |   |  orders[0]  |                       | orders[1] | band | cell |               |
    +---+---+---+---+  low0..     |                       | input0..  +- - - +------+- - - - - - - -+ starts[r + 1]
    |   |   |   |   |  low_w1     |                       | input_w1  |                             |
    +---+---+---+---+             +-----------------------+           +-----------------------------+

A band r is the rows of the picture that begin at low-res row r, a cell the part of it whose columns begin at one
low-res column. All its pixels are made of the logits at rows r to r + span - 1, and likewise of columns. So:

    survey   of each mask:  find_peak -> find_part -> classify -> decide -> find_box -> pack_part
             the largest magnitude, the part of the logits that matters, what is certain of each of them, of each cell,
             the box (pixels only of cells that are open), and what must be kept of the part
    count    of a mask that was kept:  unpack -> classify -> decide -> whole cells, and pixels of those that are open
    rasterise  the pixels of a box, band by band

`plan` is a `tables.Plan`, `across` and `down` are `tables.Neighbours` of columns and of rows. `span` of pixels is
(y0, y1, x0, x1), ends excluded. `part` is (first row, end, first column, end) of the logits, `origin` the row and
column of the picture's logits that low[0, 0] is.
"""
