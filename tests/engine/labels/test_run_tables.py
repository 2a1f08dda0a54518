from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.store import Store
from schemas.rle import Rle
from tests.pictures import encoded, shapes

MASKS = shapes(0)[1]


def runs(mask: np.ndarray, order: str) -> str:
    """As competitions write them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F" if order == "columns" else "C"), [0]])))
    return " ".join(f"{first + 1} {end - first}" for first, end in zip(edges[0::2], edges[1::2], strict=True))


def put(folder: Path, text: str) -> Path:
    folder.mkdir()
    for number, name in enumerate(("a", "b")):
        (folder / f"{name}.png").write_bytes(encoded(shapes(number)[0]))
    (folder / "train.csv").write_text(text)
    return folder


@pytest.mark.parametrize("order", ["columns", "rows"])
@pytest.mark.parametrize(
    ("head", "line", "label"),
    [
        ("ImageId,EncodedPixels", "a.png,{}", ""),
        ("id,annotation,width,height,cell_type", "a,{},96,64,cort", "cort"),
        ("img_id;class;rle", "a.jpg;cat;{}", "cat"),
    ],
)
def test_each_line_is_a_mask(empty_store: Store, tmp_path: Path, order: str, head: str, line: str, label: str) -> None:
    lines = [line.format(runs(mask, order)) for mask in MASKS]
    report = ingest(empty_store, [put(tmp_path / "in", "\n".join([head, *lines]))])
    assert (report.added, report.masks, report.rejected) == (2, len(MASKS), [])
    rows = empty_store.read_table("ground_truth").to_pylist()
    decoded = sorted((rle_codec.decode(Rle.of_row(row)) for row in rows), key=lambda mask: mask.tobytes())
    np.testing.assert_array_equal(decoded, sorted(MASKS, key=lambda mask: mask.tobytes()))
    assert {row["label"] for row in rows} == {label}
    assert ("runs of pixels that go row by row" in report.mended) == (order == "rows")


def test_lines_without_runs_are_pictures_without_masks_and_bad_ones_are_named(
    empty_store: Store, tmp_path: Path
) -> None:
    text = "ImageId,EncodedPixels\nb.png,\nb.png,-1\na.png,1 7000\na.png,0 4\na.png,99999999999999999999 3\n"
    report = ingest(empty_store, [put(tmp_path / "in", text)])
    assert (report.added, report.masks) == (2, 0)
    assert [problem.reason for problem in report.rejected] == [
        "runs of pixels that are not in a picture of 96x64 px"
    ] * 3


@pytest.mark.parametrize("text", ["ImageId,EncodedPixels\na.png,1 2 3\n", "id,label\n1,2\n", "ImageId,rle\na.png,\n"])
def test_other_tables_are_none(empty_store: Store, tmp_path: Path, text: str) -> None:
    report = ingest(empty_store, [put(tmp_path / "in", text)])
    assert [problem.reason for problem in report.rejected] == [
        "no label file of a form that is read; see docs/ingest.md"
    ]
