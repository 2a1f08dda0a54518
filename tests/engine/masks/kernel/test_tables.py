"""Which logits a pixel is made of."""

from engine.masks.kernel.tables import make_axis


def test_tables_by_hand() -> None:
    # Four low-res rows to eight padded rows, of which six are shown, to six: rows begin at 0, 0, 0, 1, 1, 2.
    axis = make_axis(4, 8, 6, 6, fused=True)
    assert axis.low0.tolist() == [0, 0, 0, 1, 1, 2]
    assert axis.low_w1.tolist() == [0, 0.25, 0.75, 0.25, 0.75, 0.25]
    assert axis.starts.tolist() == [0, 3, 5, 6, 6]
    assert axis.sizes.tolist() == [3, 2, 1, 0]
    assert axis.last.tolist() == [1, 2, 3, 3]
    assert axis.span == 2
