"""The example of an exporter: what Ultralytics would read is what was released."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine import rle
from engine.evaluation.scores import mask_iou
from engine.release.build import build_release
from engine.release.reader import Release
from engine.store import Store
from tests.distributions import install_example
from tests.engine.release.conftest import make_store as make_store
from tests.engine.release.conftest import store as store
from tests.engine.release.conftest import templates as templates
from tests.flows.cli_runner import sam_engine


def as_ultralytics(line: str, *, height: int, width: int) -> tuple[int, np.ndarray]:
    """Class and mask (H, W) bool of a line of a label file: scaled, cut to whole pixels, filled by OpenCV."""
    number, *values = line.split()
    path = np.array(values, dtype=np.float32).reshape(-1, 2) * (width, height)
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, path.astype(np.int32).reshape(1, -1, 2), color=1)
    return int(number), mask.astype(bool)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example("yolo_exporter", tmp_path / "site", monkeypatch)


def test_a_release_is_read_back(store: Store, tmp_path: Path) -> None:
    release = build_release(store).path
    done = sam_engine("release", "export", release, "--output", tmp_path / "yolo", "--format", "yolo", "--json")
    assert done.status == 0, done.err
    data: dict[str, Any] = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    overlaps = []
    for picture in Release(release):
        split = "val" if picture.row["split"] == "holdout" else "train"
        image = tmp_path / "yolo" / data[split] / f"{picture.name}.jpg"
        assert image.read_bytes() == picture.jpeg
        labels = Path(str(image.with_suffix(".txt")).replace("/images/", "/labels/"))  # as Ultralytics finds them
        for line, mask in zip(labels.read_text().splitlines(), picture.masks(), strict=True):
            number, found = as_ultralytics(line, height=picture.height, width=picture.width)
            assert data["names"][number] == (mask.label or "object")
            overlaps.append(mask_iou(found, rle.decode(mask.rle)))
    assert len(overlaps) == done.result["masks"] > 20
    assert min(overlaps) == 1.0, "parts with holes, and one part each, are exact"


@given(st.integers(0, 10_000))
def test_parts_and_holes_are_kept_but_for_the_bridges(seed: int) -> None:
    from yolo_exporter import coordinates

    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.random((6, 8)), (160, 120), interpolation=cv2.INTER_CUBIC) > 0.6
    encoded = rle.encode(mask)
    if not mask.any():
        return
    _, found = as_ultralytics(f"0 {coordinates(encoded)}", height=120, width=160)
    assert not (mask & ~found).any(), "nothing is lost"
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert (found & ~mask).sum() <= 200 * (parts - 1), "a bridge is a line of one pixel's width"
    assert parts > 1 or np.array_equal(found, mask)
