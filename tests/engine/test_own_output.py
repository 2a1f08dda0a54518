import json
from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.analysis.overlays import save_png
from engine.ingest import ingest
from engine.masks.records import sa1b_record
from engine.own_output import OVERLAY_MARK, check_overwrites, is_own_overlay, is_own_record
from engine.sources import gather
from engine.store import Store
from schemas.content_ids import content_id
from schemas.errors import InputError
from tests.pictures import encoded, shapes


def generated(folder: Path) -> tuple[Path, Path, Path]:
    """A picture with the record and the overlay that generate writes beside it."""
    folder.mkdir(exist_ok=True)
    image, masks = shapes(0)
    picture, record, overlay = (folder / name for name in ("a.png", "a.json", "a_masks.png"))
    picture.write_bytes(encoded(image))
    measured = [rle_codec.measured(rle_codec.encode(mask)) for mask in masks]
    sizes = {"height": image.shape[0], "width": image.shape[1]}
    content = sa1b_record(measured, image_id=content_id(picture.read_bytes()), file_name="a.png", **sizes)
    record.write_bytes(content.to_json())
    save_png(image, overlay, text=dict([OVERLAY_MARK]))
    return picture, record, overlay


def test_own_files_are_told_from_those_of_others(tmp_path: Path) -> None:
    picture, record, overlay = generated(tmp_path)
    assert is_own_record(record)
    assert is_own_overlay(overlay)
    assert not is_own_overlay(picture)
    others = {
        "labelme.json": '{"shapes": [], "imagePath": "a.png"}',
        "sa_1.json": json.dumps(
            {"image": {"image_id": 1, "width": 9, "height": 9, "file_name": "a"}, "annotations": []}
        ),
        "cut.json": record.read_text()[:-9],
        "edited.json": record.read_text().replace('"id": ', '"id": 1', 1),
        "empty.json": "",
    }
    for name, text in others.items():
        (tmp_path / name).write_text(text)
        assert not is_own_record(tmp_path / name), name
    (tmp_path / "b_masks.png").write_bytes(picture.read_bytes())
    (tmp_path / "c_masks.png").write_text("no picture")
    assert not is_own_overlay(tmp_path / "b_masks.png")
    assert not is_own_overlay(tmp_path / "c_masks.png")


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    picture, record, overlay = generated(tmp_path)
    check_overwrites([record, tmp_path / "new.json"], [overlay, tmp_path / "new_masks.png"])
    with pytest.raises(InputError, match=r"a\.png: there already.*--force"):
        check_overwrites([record], [picture])
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match=r"b\.json and 1 more: there already"):
        check_overwrites([tmp_path / "b.json"], [picture])


def test_own_files_are_not_read_again(empty_store: Store, tmp_path: Path) -> None:
    picture, record, overlay = generated(tmp_path / "in")
    gathered = gather([tmp_path / "in"], labels=False)
    assert [candidate.path for candidate in gathered.candidates] == [picture]
    assert gathered.notes == [f"{tmp_path / 'in'}: 2 files that sam-engine generate wrote are left out"]
    assert "drawn by sam-engine generate" in gather([overlay]).problems[0].reason
    report = ingest(empty_store, [tmp_path / "in"])
    assert (report.added, report.masks, report.rejected) == (1, 0, [])
    named = ingest(empty_store, [record])  # a record that the user names himself is meant
    assert (named.duplicates, named.masks) == (1, len(shapes(0)[1]))


def test_text_of_a_png_leaves_its_pixels(tmp_path: Path) -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    save_png(image, tmp_path / "a.png", text={"Software": "x"})
    save_png(image, tmp_path / "b.png")
    assert b"Software\0x" in (tmp_path / "a.png").read_bytes()
    assert (tmp_path / "b.png").read_bytes() == encoded(image)
