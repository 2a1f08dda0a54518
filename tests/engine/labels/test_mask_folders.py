"""Masks that lie as PNG files beside the pictures: each kind of folder, and photographs that are none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.ingest import IngestReport, ingest
from engine.store import Store

H, W = 48, 64


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def put(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode=mode).save(path)


def photo(folder: Path, name: str, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, (H, W, 3), dtype=np.uint8)
    put(folder / name, noise)


def square(value: int = 255, *, left: int = 8) -> np.ndarray:
    pixels = np.zeros((H, W), dtype=np.uint8)
    pixels[10:30, left : left + 20] = value
    return pixels


def areas(store: Store) -> list[int]:
    return sorted(store.read_table("ground_truth")["area"].to_pylist())


def taken(store: Store, folder: Path) -> IngestReport:
    report = ingest(store, [folder])
    assert store.images().num_rows == report.added
    return report


@pytest.mark.parametrize("value", [1, 128, 255])
@pytest.mark.parametrize("name", ["masks/a.png", "gt/a_mask.png", "SegmentationClass/a.png", "train/masks/a_seg.png"])
def test_one_value_beside_nothing_is_a_mask(empty_store: Store, data: Path, name: str, value: int) -> None:
    photo(data, "images/a.jpg")
    put(data / name, square(value))
    report = taken(empty_store, data)
    assert (report.added, areas(empty_store), report.rejected) == (1, [400], [])
    assert any("1 file taken for masks" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["1 bit", "RGB", "RGBA"])
def test_masks_in_colours_and_single_bits(empty_store: Store, data: Path, kind: str) -> None:
    photo(data, "images/a.jpg")
    (data / "masks").mkdir(parents=True)
    picture = Image.fromarray(square())
    picture.convert("1" if kind == "1 bit" else kind).save(data / "masks" / "a.png")
    taken(empty_store, data)
    assert areas(empty_store) == [400]


@pytest.mark.parametrize("folder", ["instances", "SegmentationObject", "instance"])
def test_numbers_of_objects(empty_store: Store, data: Path, folder: str) -> None:
    photo(data, "images/a.jpg")
    numbers = square(1)
    numbers[35:40, 40:50], numbers[47] = 2, 255  # the last row is void
    put(data / folder / "a.png", numbers)
    taken(empty_store, data)
    assert areas(empty_store) == [50, 400]


def test_numbers_of_16_bits_count_objects_of_classes(empty_store: Store, data: Path) -> None:
    photo(data, "leftImg8bit/train/bonn/x_leftImg8bit.png")
    numbers = np.full((H, W), 7, dtype=np.uint16)  # a region without objects
    numbers[10:30, 8:28], numbers[35:40, 40:50] = 26_000, 26_001
    put(data / "gtFine/train/bonn/x_gtFine_instanceIds.png", numbers)
    put(data / "gtFine/train/bonn/x_gtFine_labelIds.png", square(7))
    report = taken(empty_store, data)
    assert (report.added, areas(empty_store)) == (1, [50, 400])


def test_a_file_for_each_object_beside_a_picture_alone(empty_store: Store, data: Path) -> None:
    """As in the Data Science Bowl 2018."""
    for number in range(2):
        photo(data, f"id{number}/images/id{number}.png", number)
        for left in (8, 36):
            put(data / f"id{number}/masks/{left}{number}.png", square(left=left))
    report = taken(empty_store, data)
    assert (report.added, areas(empty_store)) == (2, [400] * 4)


def test_the_same_name_in_two_subsets_goes_with_its_own(empty_store: Store, data: Path) -> None:
    for number, subset in enumerate(("train", "val")):
        photo(data, f"{subset}/images/a.jpg", number)
        put(data / subset / "masks" / "a.png", square(left=8 + 20 * number))
    taken(empty_store, data)
    rows = {row["image_id"]: row["path"] for row in empty_store.images().to_pylist()}
    sources = {row["image_id"]: row["source"] for row in empty_store.images().to_pylist()}
    assert len(rows) == 2
    for row in empty_store.read_table("ground_truth").to_pylist():
        assert row["bbox"][0] == (8 if "/train/" in sources[row["image_id"]] else 28)


def test_what_cannot_be_told_or_read_is_named_and_never_a_picture(empty_store: Store, data: Path) -> None:
    for number, name in enumerate("abcd"):
        photo(data, f"images/{name}.jpg", number)
    several = square(1)
    several[40:] = 2
    put(data / "masks/a.png", several)
    put(data / "masks/b.png", square()[:, :40])
    put(data / "masks/c.png", np.zeros((H, W), dtype=np.uint8))
    (data / "masks/d.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    report = taken(empty_store, data)
    assert (report.added, report.masks) == (4, 0)
    reasons = [problem.reason for problem in report.rejected if problem.kind == "mask"]
    assert len(reasons) == 4
    says = ("classes or objects", "the mask is 40x48 px", "is empty", "be read")
    assert all(part in reason for part, reason in zip(says, reasons, strict=True)), reasons


def test_photographs_in_a_folder_of_that_name_stay_pictures(empty_store: Store, data: Path) -> None:
    photo(data, "masks/carnival.png", 1)
    photo(data, "images/other.png", 2)
    report = taken(empty_store, data)
    assert (report.added, report.masks, report.rejected) == (2, 0, [])


@pytest.mark.parametrize("ending", ["tif", "bmp", "gif", "jpg"])
def test_masks_of_other_kinds_than_png(empty_store: Store, data: Path, ending: str) -> None:
    photo(data, "images/a.jpg")
    put(data / f"masks/a.{ending}", square())
    assert (taken(empty_store, data).added, areas(empty_store)) == (1, [400])


@pytest.mark.parametrize("name", ["a_mask.png", "a_seg.tif", "a-mask.gif", "a_mask.jpg", "a_masks.bmp"])
@pytest.mark.parametrize("picture", ["a.jpg", "a_img.jpg", "a_sat.jpg"])
def test_masks_beside_their_picture(empty_store: Store, data: Path, name: str, picture: str) -> None:
    photo(data, picture)
    photo(data, "b.jpg", 1)
    put(data / name, square())
    report = taken(empty_store, data)
    assert (report.added, areas(empty_store), report.rejected) == (2, [400], [])


def test_numbers_of_cellpose_are_objects(empty_store: Store, data: Path) -> None:
    photo(data, "a.png")
    put(data / "a_cp_masks.png", square(1).astype(np.uint16) + square(300 // 2, left=40))
    assert taken(empty_store, data).added == 1
    assert areas(empty_store) == [400, 400]


def test_photographs_with_such_names_are_pictures(empty_store: Store, data: Path) -> None:
    photo(data, "a.jpg")
    photo(data, "a_mask.jpg", 1)  # of a person with a mask
    photo(data, "labels/a.jpg", 2)
    grey = np.random.default_rng(3).integers(0, 255, (H, W), dtype=np.uint8)
    put(data / "a_gt.png", grey)
    put(data / "c_mask.png", square()[:40, :40])  # of no picture
    report = taken(empty_store, data)
    assert (report.added, report.masks, report.rejected) == (5, 0, [])


def test_a_jpeg_of_several_values_is_named(empty_store: Store, data: Path) -> None:
    photo(data, "images/a.jpg")
    put(data / "masks/a.jpg", square(120))
    report = taken(empty_store, data)
    assert (report.added, [problem.kind for problem in report.rejected]) == (1, ["mask"])


@pytest.mark.parametrize(
    "name",
    [
        "train_masks/a_mask.gif",
        "Ground-Truth/a.png",
        "ISIC_Training_GroundTruth/a_segmentation.png",
        "with_mask/a.png",
    ],
)
def test_folders_with_more_in_their_name(empty_store: Store, data: Path, name: str) -> None:
    photo(data, "train/a.jpg")
    photo(data, "with_mask/b.png", 1)  # of a person with one
    put(data / name, square())
    report = taken(empty_store, data)
    assert (report.added, areas(empty_store), report.rejected) == (2, [400], [])


@pytest.mark.parametrize("grey", [False, True])
def test_drawings_in_colours_beside_their_picture(empty_store: Store, data: Path, grey: bool) -> None:
    photo(data, "ADE_1.jpg")
    put(data / "ADE_1_seg.png", np.stack([square(), square() // (1 if grey else 2), square()], axis=2))
    assert (taken(empty_store, data).added, areas(empty_store)) == (1, [400])


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ((7, 26_000, 26_001), [50, 400]),  # a region without objects, and two of a class
        ((24_001, 24_002, 26_001), [16, 50, 400]),
        ((26_000, 26_003, 26_004), []),
        ((7, 300, 301), []),
        ((1, 2, 1163), []),  # classes, of which there may be so many
        ((26 * 256, 26 * 256 + 1, 7 * 256), []),
    ],
)
def test_numbers_of_16_bits_are_objects_where_they_can_be_nothing_else(
    empty_store: Store, data: Path, values: tuple[int, ...], read: list[int]
) -> None:
    photo(data, "images/a.jpg")
    numbers = np.zeros((H, W), dtype=np.uint16)
    for value, part in zip(values, (numbers[40:44, 2:6], numbers[10:30, 8:28], numbers[35:40, 40:50]), strict=True):
        part[:] = value
    put(data / "labels/a.png", numbers)
    report = taken(empty_store, data)
    assert areas(empty_store) == read
    assert any("of 16 bits, are taken for objects" in note for note in report.notes) == bool(read)
    assert [problem.kind for problem in report.rejected] == ([] if read else ["mask"])


@pytest.mark.parametrize("folder", ["masks", "instances"])
def test_more_objects_than_there_are_classes(empty_store: Store, data: Path, folder: str) -> None:
    """Counted from 1 to 300; the other file of the folder has the same form, and number 256 is an object too."""
    numbers = np.zeros((H, W), dtype=np.uint16)
    numbers[:15, :40:2] = np.arange(1, 301).reshape(15, 20)
    for number, name in enumerate("ab"):
        photo(data, f"images/{name}.png", number)
    put(data / folder / "a.png", numbers)
    put(data / folder / "b.png", np.where(numbers <= 3, numbers, 0).astype(np.uint16))
    report = taken(empty_store, data)
    assert (report.masks, areas(empty_store)) == (303, [1] * 303)
    assert report.rejected == []


@pytest.mark.parametrize(
    "name", ["seg/a.jpg.png", "SegmentationObject/a_instance.png", "SegmentationClass/a_class.png"]
)
def test_masks_with_the_whole_name_of_their_picture_or_a_word_behind_it(
    empty_store: Store, data: Path, name: str
) -> None:
    photo(data, "img/a.jpg")
    put(data / name, square(1))
    assert (taken(empty_store, data).added, areas(empty_store)) == (1, [400])


def test_a_palette_whose_first_colour_is_not_the_background(empty_store: Store, data: Path) -> None:
    """Numbers of colours in any order, as programs make them that look for the colours of a drawing."""
    photo(data, "images/a.jpg")
    drawn = Image.fromarray(np.where(square() > 0, 0, 1).astype(np.uint8), mode="P")
    drawn.putpalette([128, 0, 0, 0, 0, 0, 224, 224, 192])
    (data / "SegmentationObject").mkdir(parents=True)
    drawn.save(data / "SegmentationObject" / "a.png")
    assert (taken(empty_store, data).added, areas(empty_store)) == (1, [400])
