import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import rle as rle_codec
from engine.images import decode_image
from engine.ingest import ingest
from engine.labels.frames import MaskFrame, upright_masks
from engine.orientation import upright
from engine.samples import CocoSamples
from engine.store import Store
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from tests.pictures import encoded, shapes


def encode(masks: list[np.ndarray]) -> list[Rle]:
    return [rle_codec.encode(mask) for mask in masks]


def shown(stored: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(upright(stored, orientation))


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("seed", range(4))
def test_masks_of_either_frame_come_out_upright(seed: int, orientation: int, side: int) -> None:
    image, masks = shapes(seed, width=side)
    picture, right = shown(image, orientation), encode([shown(mask, orientation) for mask in masks])
    assert upright_masks(encode(masks), picture, orientation=orientation) == right
    assert upright_masks(right, picture, orientation=orientation) == right


@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_the_user_has_the_last_word(frame: MaskFrame) -> None:
    image, masks = shapes(0)
    drawn = encode(masks)
    found = upright_masks(drawn, np.zeros_like(image), orientation=3, frame=frame)
    assert found == (drawn if frame == "upright" else encode([shown(mask, 3) for mask in masks]))


def test_what_the_picture_does_not_tell_is_asked() -> None:
    image, masks = shapes(0)
    with pytest.raises(InputError, match="--mask-frame stored or --mask-frame upright"):
        upright_masks(encode(masks), np.zeros_like(image), orientation=3)


def test_masks_that_look_alike_both_ways_are_not_asked_about() -> None:
    image, _ = shapes(0)
    whole = encode([np.ones((64, 96), dtype=bool)])
    assert upright_masks(whole, np.zeros_like(image), orientation=3) == whole


def test_sizes_that_fit_neither_frame_stay() -> None:
    image, _ = shapes(0)
    other = encode([np.ones((64, 100), dtype=bool)])
    assert upright_masks(other, image, orientation=6) == other


def test_a_told_frame_that_does_not_fit_is_refused() -> None:
    image, masks = shapes(0)
    picture, right = shown(image, 6), encode([shown(mask, 6) for mask in masks])
    with pytest.raises(InputError, match="--mask-frame upright"):
        upright_masks(right, picture, orientation=6, frame="stored")


def test_photos_of_the_cases(shared_cases: Path, empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [shared_cases / "ingest_exif180" / "raw_frame.json"])
    assert (report.added, report.masks, report.rejected) == (3, 3, [])
    for row in empty_store.read_table(GROUND_TRUTH).to_pylist():
        bright = empty_store.load_image(row["image_id"])[:, :, 0] > 128
        mask = rle_codec.decode(Rle.of_row(row))
        assert (mask & bright).sum() / (mask | bright).sum() > 0.9


def written(folder: Path, orientation: int, *, blank: bool = False) -> tuple[Path, list[np.ndarray]]:
    """A COCO file of a turned photo, with masks on its stored pixels; and the masks as they are shown."""
    image, masks = shapes(0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros_like(image) if blank else image
    (folder / "a.jpg").write_bytes(encoded(pixels, "JPEG", exif=exif.tobytes(), quality=95))
    records: list[dict[str, Any]] = [
        {"id": number, "image_id": 1, "segmentation": rle.to_coco()} for number, rle in enumerate(encode(masks))
    ]
    path = folder / "labels.json"
    picture = {"id": 1, "file_name": "a.jpg", "height": 64, "width": 96}
    path.write_text(json.dumps({"images": [picture], "annotations": records}))
    return path, [shown(mask, orientation) for mask in masks]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_training_sees_masks_upright(orientation: int, tmp_path: Path) -> None:
    path, masks = written(tmp_path, orientation)
    (sample,) = CocoSamples([path]).some(1)
    np.testing.assert_array_equal(sample.image, decode_image(tmp_path / "a.jpg"))
    np.testing.assert_array_equal([rle_codec.decode(Rle.of_coco(mask)) for mask in sample.masks], masks)


def test_training_leaves_out_what_cannot_be_told(tmp_path: Path) -> None:
    path, _ = written(tmp_path, 3, blank=True)
    with pytest.raises(InputError, match=r"no image with a mask in it.*--mask-frame stored"):
        CocoSamples([path])
    assert len(CocoSamples([path], mask_frame="stored")) == 1


def test_ingest_leaves_out_what_cannot_be_told(empty_store: Store, tmp_path: Path) -> None:
    path, masks = written(tmp_path, 3, blank=True)
    report = ingest(empty_store, [path])
    assert (report.added, report.masks) == (1, 0)
    assert [problem.kind for problem in report.rejected] == ["mask"] * len(masks)
    told = Store.create(tmp_path / "told")
    assert ingest(told, [path], mask_frame="stored").masks == len(masks)
