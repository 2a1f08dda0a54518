"""Label files and pictures as strangers bring them: each either comes in as its maker means it or is named."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import rle as rle_codec
from engine.ingest import IngestReport, ingest
from engine.store import Store
from schemas.rle import Rle
from tests.pictures import encoded, shapes

W, H = 96, 64
BOX = (20, 10, 60, 50)
CORNERS = [20, 10, 60, 10, 60, 50, 20, 50]
PAIRS = [[20, 10], [60, 10], [60, 50], [20, 50]]
Coco = dict[str, Any]


def square() -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[10:50, 20:60] = True
    return mask


RLE = rle_codec.encode(square()).to_coco()
RUNS = rle_codec.runs(rle_codec.encode(square())).tolist()


def coco(**changed: Any) -> Coco:
    """One picture and its mask. changed: fields of the annotation."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [CORNERS], "bbox": [20, 10, 40, 40]}
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": W, "height": H}],
        "annotations": [annotation | changed],
        "categories": [{"id": 1, "name": "cat"}],
    }


def named(name: str, **others: Any) -> Coco:
    """A picture that the file names so."""
    content = coco()
    content["images"][0] |= {"file_name": name} | others
    return content


def image(record: dict[str, Any], **changed: Any) -> Coco:
    return coco(**changed) | {"images": [record]}


def without(content: Coco, *keys: str) -> Coco:
    for key in keys:
        del content["annotations"][0][key]
    return content


def came(store: Store, folder: Path, content: str | Coco | list[Any]) -> IngestReport:
    folder.mkdir(exist_ok=True)
    if not (folder / "a.png").exists():
        (folder / "a.png").write_bytes(encoded(shapes(0)[0]))
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "labels.json").write_text(text, encoding="utf-8")
    return ingest(store, [folder])


def masks(store: Store) -> list[np.ndarray]:
    return [rle_codec.decode(Rle.of_row(row)) for row in store.read_table("ground_truth").to_pylist()]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


CONTENTS: dict[str, str | Coco | list[Any]] = {
    "lists in other letters": {key.title(): value for key, value in coco().items()},
    "fields in camel case": image({"Id": 1, "fileName": "a.png", "Width": W, "Height": H})
    | {"annotations": [{"Id": 1, "imageId": 1, "categoryId": 1, "Segmentation": [CORNERS]}]},
    "a file within an object": {"dataset": coco()},
    "a file within a list": [coco()],
    "the id of the image under image_id": image({"image_id": 1, "file_name": "a.png"}),
    "an image by its name": coco(image_id="a.png"),
    "an image by its stem": coco(image_id="a"),
    "ids with zeros before them": image({"id": "0000000000139", "file_name": "a.png"}, image_id=139),
    "ids with zeros before them in annotations": image({"id": 139, "file_name": "a.png"}, image_id="0000000000139"),
    "ids as float": image({"id": 1.0, "file_name": "a.png"}, image_id="1"),
    "the picture under filename": image({"id": 1, "filename": "a.png"}),
    "the picture under path": image({"id": 1, "path": "C:\\data\\a.png"}),
    "the picture under name": image({"id": 1, "name": "a.png"}),
    "the picture under image": image({"id": 1, "image": "images/a.png"}),
    "a query behind the name": named("a.png?width=200&v=1.2/3"),
    "an address with a query": named("https://x.org/pictures/a.png?X-Sig=a/b.c"),
    "the name in the query of an address": named("https://x.org/api/image?path=/srv/a.png&v=2"),
    "an address of a file": named("file:///C:/Users/me/My%20pictures/a.png"),
    "a bucket": named("gs://bucket/deep/a.png"),
    "a network share": named("\\\\server\\share\\a.png"),
    "a dot before the name": named("./a.png"),
    "spaces around the name": named(" a.png "),
    "another ending": named("a.JPEG"),
    "no ending": named("a"),
    "polygons under polygon": without(coco(polygon=CORNERS), "segmentation"),
    "an RLE under rle": without(coco(rle=RLE), "segmentation"),
    "counts alone": coco(segmentation=RLE["counts"]),
    "counts as texts": coco(segmentation={"size": [H, W], "counts": [str(run) for run in RUNS]}),
    "corners with a third number": coco(segmentation=[[*pair, 1] for pair in PAIRS]),
    "corners with a third number in parts": coco(segmentation=[[[*pair, 0.0] for pair in PAIRS]]),
    "a closed polygon": coco(segmentation=[CORNERS + CORNERS[:2]]),
    "each corner twice": coco(segmentation=[[number for pair in PAIRS for number in pair * 2]]),
    "shares of the sides": coco(segmentation=[[x / W if at % 2 == 0 else x / H for at, x in enumerate(CORNERS)]]),
    "corners as text": coco(segmentation="20,10 60,10 60,50 20,50"),
    "corners as text of CVAT": coco(segmentation="20.0,10.0;60.0,10.0;60.0,50.0;20.0,50.0"),
    "WKT": coco(segmentation="POLYGON ((20 10, 60 10, 60 50, 20 50, 20 10))"),
    "numbers as text": coco(segmentation=[[str(number) for number in CORNERS]]),
    "no number of its own": without(coco(), "id"),
    "not a number where it does not matter": json.dumps(coco(area=float("nan"), score=float("inf"))),
    "commas too many": json.dumps(coco(), indent=1).replace("\n ]", ",\n ]").replace("\n}", ",\n}"),
    "comments": "// exported\n" + json.dumps(coco()).replace('"images"', '/* pictures */ "images"'),
    "as Python writes it": repr(coco() | {"info": None, "licenses": [True]}),
    "a byte order mark": "\ufeff" + json.dumps(coco()),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_has_one_meaning_comes_in(empty_store: Store, tmp_path: Path, content: Any) -> None:
    report = came(empty_store, tmp_path / "in", content)
    assert (report.added, report.masks, report.rejected) == (1, 1, [])
    (mask,) = masks(empty_store)
    assert iou(mask, square()) > 0.97


REFUSED: dict[str, tuple[str | Coco | list[Any], str]] = {
    "a box alone": (without(coco(), "segmentation"), "has no segmentation"),
    "a corner that is no number": (coco(segmentation=[[float("nan"), *CORNERS[1:]]]), "polygon"),
    "an endless corner": (json.dumps(coco(segmentation=[[*CORNERS[:7], float("inf")]])), "polygon"),
    "counts of another picture": (coco(segmentation={"counts": [5, 7]}), "runs sum to 12"),
    "pairs of numbers that may be runs": (coco(segmentation="20 10 60 10 60 50"), "expected an RLE"),
    "a name of two pictures": (coco(image_id="b"), "not among the images"),
    "corners with a third number that changes": (coco(segmentation=[[*p, n] for n, p in enumerate(PAIRS)]), "polygon"),
    "no such picture": (named("z.png"), "no such file"),
    "an image of another size": (named("a.png", width=10, height=10), ""),
    "cut off": (json.dumps(coco())[:-9], "not valid JSON"),
    "nothing": ("", "not valid JSON"),
    "an endless depth": ("[" * 100_000, "not valid JSON"),
    "two files in one": ([coco(), coco()], "no label file of a form"),
    "a picture outside": (named("../secret.png"), "no such file"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_or_several_meanings_is_named(empty_store: Store, tmp_path: Path, content: Any, said: str) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(shapes(5)[0]))
    report = came(empty_store, tmp_path / "in", content)
    assert (report.masks, empty_store.images().num_rows) == (0, 1)
    assert report.rejected
    assert any(said in problem.reason for problem in report.rejected), report.rejected


def test_an_id_that_a_name_and_a_number_mean_is_neither(empty_store: Store, tmp_path: Path) -> None:
    content = image({"id": 7, "file_name": "0012.png"}, image_id="0012")
    content["images"].append({"id": 12, "file_name": "a.png"})
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0012.png").write_bytes(encoded(shapes(1)[0]))
    report = came(empty_store, folder, content)
    assert (report.added, report.masks) == (2, 0)
    assert "'0012' is not among the images" in report.rejected[0].reason


@pytest.mark.parametrize("name", ["images\\a.png", "in/images/a.png", "bilder/häuser/a.png"])
@pytest.mark.parametrize("says_utf_8", [True, False])
def test_names_in_archives(empty_store: Store, tmp_path: Path, name: str, says_utf_8: bool) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as into:
        for member, data in ((name, encoded(shapes(0)[0])), ("labels.json", json.dumps(named(name)).encode())):
            info = zipfile.ZipInfo("x")
            info.filename = member
            into.writestr(info, data)
    if not says_utf_8:
        clear_flag(archive)
    report = ingest(empty_store, [archive])
    assert (report.added, report.masks, report.rejected) == (1, 1, [])


def clear_flag(archive: Path) -> None:
    """Take off what says that names are UTF-8, and write them in UTF-8 all the same."""
    data = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + at + 1] &= ~0x08
            place = data.find(mark, place + 4)
    archive.write_bytes(bytes(data))


def rgba() -> Image.Image:
    return Image.fromarray(shapes(0)[0]).convert("RGBA")


PICTURES: dict[str, Callable[[Path], None]] = {
    "progressive": lambda path: Image.fromarray(shapes(0)[0]).save(path, "JPEG", progressive=True),
    "CMYK": lambda path: Image.fromarray(shapes(0)[0]).convert("CMYK").save(path, "JPEG"),
    "palette": lambda path: Image.fromarray(shapes(0)[0]).convert("P").save(path, "PNG"),
    "transparent": lambda path: rgba().save(path, "PNG"),
    "grey with alpha": lambda path: rgba().convert("LA").save(path, "PNG"),
    "one bit": lambda path: Image.fromarray(shapes(0)[0]).convert("1").save(path, "PNG"),
    "16 bits": lambda path: Image.fromarray(shapes(0)[0][..., 0].astype(np.uint16) * 257).save(path, "PNG"),
    "float": lambda path: Image.fromarray(shapes(0)[0][..., 0].astype(np.float32)).save(path, "TIFF"),
    "WebP": lambda path: Image.fromarray(shapes(0)[0]).save(path, "WEBP", lossless=True),
    "AVIF": lambda path: Image.fromarray(shapes(0)[0]).save(path, "AVIF"),
    "bytes behind its end": lambda path: path.write_bytes(encoded(shapes(0)[0]) + b"\0" * 999),
}


@pytest.mark.parametrize("write", PICTURES.values(), ids=PICTURES)
def test_pictures_of_every_kind_under_a_wrong_ending(
    empty_store: Store, tmp_path: Path, write: Callable[[Path], None]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.png")
    report = came(empty_store, folder, coco())
    assert (report.added, report.masks, report.rejected) == (1, 1, [])
    (mask,) = masks(empty_store)
    assert iou(mask, square()) > 0.97


def test_several_frames_are_named(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [Image.fromarray(shapes(number)[0]) for number in range(3)]
    frames[0].save(folder / "a.png", "PNG", save_all=True, append_images=frames[1:])
    report = came(empty_store, folder, coco())
    assert (report.added, report.masks) == (1, 1)
    assert [problem.source.partition("a.png")[2] for problem in report.rejected] == [": pages 2 to 3"]


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "a page": (b"<!DOCTYPE html><html>404</html>", "not a picture"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not a picture"),
    "cut off": (encoded(shapes(0)[0])[:200], "damaged or cut off"),
    "tiny": (encoded(shapes(0)[0][:9]), "at least 16 px"),
    "text": (b"picture", "not a picture"),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_pictures_that_are_none_are_named(empty_store: Store, tmp_path: Path, data: bytes, said: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(data)
    report = came(empty_store, folder, coco())
    assert (report.added, report.masks) == (0, 0)
    assert any(said in problem.reason for problem in report.rejected), report.rejected


def test_what_systems_leave_behind_is_no_picture(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in (
        "__MACOSX/._a.png",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        ".ipynb_checkpoints/a.png",
        "@eaDir/x.db",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\1\2")
    (folder / "loop").symlink_to(folder)
    report = came(empty_store, folder, coco())
    assert (report.added, report.masks) == (1, 1)
    assert [Path(problem.source).name for problem in report.rejected] == ["loop"]
    assert report.ignored_endings == {".db": 2, ".ini": 1}


def test_equal_names_in_two_folders_are_told_apart(empty_store: Store, tmp_path: Path) -> None:
    folder, content = tmp_path / "in", coco()
    content["images"] = [
        {"id": number, "file_name": f"/mnt/x/{name}/a.png", "width": W, "height": H} for number, name in enumerate("de")
    ]
    content["annotations"] = [
        {"image_id": number, "segmentation": [[x + 5 * number if at % 2 == 0 else x for at, x in enumerate(CORNERS)]]}
        for number in range(2)
    ]
    for number, name in enumerate("de"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_bytes(encoded(shapes(number + 3)[0]))
    (folder / "labels.json").write_text(json.dumps(content))
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks, report.rejected) == (2, 2, [])
    sources = {row["image_id"]: row["source"] for row in empty_store.images().to_pylist()}
    for row in empty_store.read_table("ground_truth").to_pylist():
        assert row["bbox"][0] == (20 if "/d/" in sources[row["image_id"]] else 25)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_lists_in_every_encoding(empty_store: Store, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "häuser.png").write_bytes(encoded(shapes(0)[0]))
    (tmp_path / "list.txt").write_text('# pictures\r\n"häuser.png"\r\n', encoding=encoding)
    report = ingest(empty_store, [tmp_path / "list.txt"])
    assert (report.added, report.rejected) == (1, [])


def test_a_picture_called_a_list_is_one_line(empty_store: Store, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(encoded(shapes(0)[0]))
    (problem,) = ingest(empty_store, [tmp_path / "list.txt"]).rejected
    assert "it is no text" in problem.reason


def test_yolo_with_decimal_commas(empty_store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(shapes(0)[0]))
    shares = [f"{x / (W if at % 2 == 0 else H):.6f}".replace(".", ",") for at, x in enumerate(CORNERS)]
    (tmp_path / "a.txt").write_text(f"0 {' '.join(shares)}\n")
    report = ingest(empty_store, [tmp_path])
    assert (report.added, report.masks) == (1, 1)
    assert iou(masks(empty_store)[0], square()) > 0.97


def test_two_label_files_of_one_picture_are_told(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "other.json").write_text(json.dumps(coco(segmentation=[[n + 1 for n in CORNERS]])))
    report = came(empty_store, folder, coco())
    assert (report.added, report.masks) == (1, 2)
    assert "1 picture has masks in several label files (labels.json, other.json)" in "".join(report.notes)


@pytest.mark.parametrize("name", ["annotations/panoptic_train/a.png", "x/masks/a.png", "gt/a.png"])
def test_a_name_means_the_picture_and_not_its_mask(empty_store: Store, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    for path, data in (("images/train/a.png", encoded(shapes(0)[0])), (name, encoded(square().astype(np.uint8)))):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(data)
    (folder / "labels.json").write_text(json.dumps(named("a.png")))
    report = ingest(empty_store, [folder])
    assert report.masks == 1
    assert [Path(row["source"]).parent.name for row in empty_store.images().to_pylist() if row["has_ground_truth"]] == [
        "train"
    ]


def test_a_size_that_is_no_number_is_no_warning(empty_store: Store, tmp_path: Path, recwarn: Any) -> None:
    folder = tmp_path / "ds0"
    (folder / "ann").mkdir(parents=True)
    points = {"exterior": PAIRS, "interior": [PAIRS]}
    text = {"size": {"height": float("nan"), "width": W}, "objects": [{"classTitle": "cat", "points": points}]}
    (folder / "ann" / "a.png.json").write_text(json.dumps(text))
    (folder / "a.png").write_bytes(encoded(shapes(0)[0]))
    report = ingest(empty_store, [folder])
    assert report.masks == 0
    assert report.rejected
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]
