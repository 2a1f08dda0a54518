import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import image_index
from engine import rle as rle_codec
from engine.images import decode_image
from engine.ingest import ingest, split_of
from engine.keys import content_key
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.content_ids import content_id
from schemas.errors import WaitError
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH, table_of
from tests.engine.ingested import contents, write_pictures
from tests.pictures import encoded, shapes, write_coco
from tests.rows import mask_row


def test_files_folders_and_lists(empty_store: Store, tmp_path: Path) -> None:
    single, folder = tmp_path / "single.png", tmp_path / "folder"
    write_pictures(folder / "deeper", 2)
    (folder / "notes.md").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"never looked at")
    single.write_bytes(encoded(shapes(10)[0]))
    listed = write_pictures(tmp_path / "listed", 2, first_seed=20)
    (tmp_path / "list.txt").write_text(f"# pictures\n\n{listed[1]}\nlisted/000.png\n")
    report = ingest(empty_store, [single, folder, tmp_path / "list.txt"])
    assert (report.added, report.duplicates, report.ignored, report.rejected) == (5, 0, 1, [])
    rows = empty_store.images().to_pylist()
    first_shard = {row["source"] for row in rows if row["shard"] == "000000"}
    assert first_shard == {str(single), str(folder / "deeper" / "000.png"), str(folder / "deeper" / "001.png")}
    for row in rows:
        data = Path(row["source"]).read_bytes()
        assert empty_store.picture(row).read() == data
        assert row["path"] == f"images/{row['shard']}/{content_id(data)}.png"
        assert (row["width"], row["height"], row["split"], row["has_ground_truth"]) == (96, 64, "train", False)


def test_the_second_time_writes_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    sources = [tmp_path / "incoming" / "shapes.json", tmp_path / "bad.jpg"]
    ingest(store, sources)
    versions, seen = store.versions(), contents(store)
    files = {path: path.stat().st_mtime_ns for path in (store.workspace / "images").rglob("*")}
    report = ingest(Store(store.workspace), sources)
    assert (report.added, report.duplicates, report.masks, report.shards) == (0, 8, 0, [])
    assert store.versions() == versions
    assert contents(store) == seen
    assert {path: path.stat().st_mtime_ns for path in (store.workspace / "images").rglob("*")} == files


def test_equal_files_are_one_image_wherever_they_lie(empty_store: Store, tmp_path: Path) -> None:
    first = write_pictures(tmp_path / "a", 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    report = ingest(empty_store, [tmp_path / "a", tmp_path / "b", first[0]])
    assert (report.added, report.duplicates) == (2, 3)
    assert empty_store.counts()["images"] == 2


def test_shards_fill_in_order_over_several_runs(empty_store: Store, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 8)
    first = ingest(empty_store, paths[:4])
    second = ingest(empty_store, paths[4:])
    assert (first.shards, second.shards) == (["000000", "000001"], ["000001", "000002"])
    rows = empty_store.images().to_pylist()
    shard_of = {row["source"]: row["shard"] for row in rows}
    assert [shard_of[str(path)] for path in paths] == [f"{number // 3:06d}" for number in range(8)]
    at_once = Store.create(tmp_path / "at_once")
    ingest(at_once, paths, config=ImagesConfig(shard_size=3))
    assert contents(at_once) == contents(empty_store)


def test_the_index_is_there_when_it_is_done(
    empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_index, "_FEWEST_TO_KEEP", 1)
    paths = write_pictures(tmp_path / "in", 8)
    for some in (paths[:4], paths):
        ingest(empty_store, some)
        kept = image_index.read_index(empty_store.files.cache / "images.arrow")
        assert sorted(kept.ids.tolist()) == sorted(empty_store.read_table("images")["image_id"].to_pylist())
        assert kept.shards == tuple(empty_store.shards())


def test_ground_truth_is_the_masks_of_the_file(store: Store) -> None:
    assert store.counts()[GROUND_TRUTH] == sum(len(shapes(number)[1]) for number in range(8))
    for row in store.images().to_pylist():
        number = int(Path(row["source"]).stem)
        rows = store.read_image(GROUND_TRUTH, row["image_id"]).to_pylist()
        wanted = {mask.tobytes() for mask in shapes(number)[1]}
        assert {rle_codec.decode(Rle.of_row(mask)).tobytes() for mask in rows} == wanted
        assert {(m["origin"], m["annotator"], m["label"]) for m in rows} == {("manual", "imported", "ellipse")}
        assert row["split"] == ("holdout" if number in (2, 5) else "train")
        assert row["has_ground_truth"]


def test_pictures_that_are_no_rgb_are_taken(empty_store: Store, tmp_path: Path) -> None:
    picture = Image.fromarray(shapes(0)[0])
    folder = tmp_path / "kinds"
    folder.mkdir()
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.quantize(8).save(folder / "palette.png")
    picture.convert("L").save(folder / "grey.jpg")
    picture.convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(np.full((40, 50), 3000, dtype=np.uint16)).save(folder / "sixteen.png")
    Image.new("RGB", (20_000, 200)).save(folder / "panorama.jpg")
    report = ingest(empty_store, [folder])
    assert (report.added, report.rejected) == (6, [])
    for row in empty_store.images().to_pylist():
        image = empty_store.load_image(row["image_id"])
        assert (image.shape, image.dtype) == ((row["height"], row["width"], 3), np.uint8)


def test_what_cannot_be_taken_is_listed_and_the_rest_goes_on(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    good = write_pictures(folder, 3)
    noise = np.random.default_rng(0).integers(0, 255, size=(90, 90, 3), dtype=np.uint8)
    (folder / "cut.jpg").write_bytes(encoded(noise, "JPEG")[:3000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("I am a text\n")
    (folder / "dot.png").write_bytes(encoded(noise[:1, :1]))
    bare = tmp_path / "bare"
    bare.mkdir()
    (tmp_path / "list.txt").write_text("nowhere.jpg\n")
    (tmp_path / "broken.json").write_text("{")
    sources = [bare, folder, tmp_path / "misspelt", tmp_path / "list.txt", tmp_path / "broken.json"]
    report = ingest(empty_store, sources)
    assert report.added == len(good)
    reasons = {problem.source: (problem.kind, problem.reason) for problem in report.rejected}
    said = {
        folder / "cut.jpg": ("image", "damaged or cut off"),
        folder / "empty.jpg": ("image", "the file is empty"),
        folder / "text.jpg": ("image", "not a picture"),
        folder / "dot.png": ("image", "1x1 px; a picture needs at least 16 px"),
        bare: ("file", "no pictures in this folder"),
        tmp_path / "misspelt": ("file", "no such file or folder"),
        tmp_path / "nowhere.jpg": ("image", "no such file, but"),
        tmp_path / "broken.json": ("file", "not valid JSON"),
    }
    assert reasons.keys() == {str(path) for path in said}
    for path, (kind, reason) in said.items():
        assert reasons[str(path)][0] == kind
        assert reason in reasons[str(path)][1]
    listed = empty_store.read_table("rejected").to_pylist()
    assert {(row["source"], row["kind"], row["reason"]) for row in listed} == {tuple(p) for p in report.rejected}


def test_what_was_mended_leaves_the_list(empty_store: Store, tmp_path: Path) -> None:
    bad, other = tmp_path / "bad.png", tmp_path / "other.png"
    bad.write_bytes(b"")
    other.write_bytes(b"")
    coco = write_coco(tmp_path, count=1)
    text = coco.read_text()
    coco.write_text(text.replace('"size": [64, 96]', '"size": [9, 9]', 1))
    ingest(empty_store, [bad, other, coco])
    assert empty_store.counts()["rejected"] == 3
    bad.write_bytes(encoded(shapes(5)[0]))
    ingest(empty_store, [bad])
    assert empty_store.counts()["rejected"] == 2
    coco.write_text(text)
    ingest(empty_store, [coco])
    assert empty_store.read_table("rejected")["source"].to_pylist() == [str(other)]
    assert empty_store.counts()[GROUND_TRUTH] == len(shapes(0)[1])


def turned(tmp_path: Path, *, height: int, width: int) -> Path:
    """A JPEG stored 96x64 and shown 64x96 (EXIF 6), with a COCO file that claims this size."""
    image, _ = shapes(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(encoded(image, "JPEG", exif=exif.tobytes()))
    mask = np.zeros((height, width), dtype=bool)
    mask[3:20, 5:30] = True
    record = {"id": 1, "file_name": "turned.jpg", "height": height, "width": width}
    annotation = {"id": 9, "image_id": 1, "segmentation": rle_codec.encode(mask).to_coco()}
    path = tmp_path / "turned.json"
    path.write_text(json.dumps({"images": [record], "annotations": [annotation]}))
    return path


def test_masks_refer_to_the_upright_picture(empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [turned(tmp_path, height=96, width=64)])
    assert (report.added, report.masks, report.rejected) == (1, 1, [])
    row = empty_store.images().to_pylist()[0]
    assert (row["width"], row["height"]) == (64, 96)
    assert empty_store.load_image(row["image_id"]).shape == (96, 64, 3)


def test_masks_of_another_size_are_rejected_one_by_one(empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [turned(tmp_path, height=64, width=100)])
    assert (report.added, report.masks) == (1, 0)
    assert report.rejected[0].source.endswith("turned.json: annotation 9")
    assert "the mask is 100x64 px, the upright picture 64x96 px" in report.rejected[0].reason
    assert not empty_store.images()["has_ground_truth"][0].as_py()


def test_masks_on_the_stored_pixels_are_turned_with_their_photo(empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [turned(tmp_path, height=64, width=96)])
    assert (report.masks, report.rejected) == (1, [])
    assert report.mended == {"mask in the stored frame of a turned photo": 1}
    (row,) = empty_store.read_table(GROUND_TRUTH).to_pylist()
    # EXIF 6: row y, column x of the stored 64 rows is shown in row x, column 63 - y.
    assert rle_codec.box(Rle.of_row(row)) == (44, 5, 61, 30)
    again = ingest(empty_store, [turned(tmp_path, height=64, width=96)])
    assert (again.masks, again.rejected, empty_store.counts()[GROUND_TRUTH]) == (0, [], 1)


def test_crowds_are_left_out_and_counted(empty_store: Store, tmp_path: Path) -> None:
    coco = write_coco(tmp_path, count=2)
    content = json.loads(coco.read_text())
    content["annotations"][0]["iscrowd"] = 1
    coco.write_text(json.dumps(content))
    report = ingest(empty_store, [coco])
    assert (report.crowds, report.masks) == (1, len(content["annotations"]) - 1)


def test_masks_may_come_after_the_pictures(empty_store: Store, tmp_path: Path) -> None:
    coco = write_coco(tmp_path, count=8)
    ingest(empty_store, [tmp_path / "shapes"])
    assert not any(empty_store.images()["has_ground_truth"].to_pylist())
    report = ingest(empty_store, [coco])
    assert (report.added, report.duplicates) == (0, 8)
    at_once = Store.create(tmp_path / "at_once")
    ingest(at_once, [coco], config=ImagesConfig(shard_size=3))
    assert contents(at_once) == contents(empty_store)


def test_holdout_is_a_share_that_stays(empty_store: Store, tmp_path: Path) -> None:
    ids = [content_id(str(number).encode()) for number in range(4000)]
    held = [split_of(image_id, holdout_frac=0.1) == "holdout" for image_id in ids]
    assert abs(sum(held) / len(held) - 0.1) < 0.02
    assert all(split_of(image_id, holdout_frac=0) == "train" for image_id in ids)
    more = [split_of(image_id, holdout_frac=0.2) == "holdout" for image_id in ids]
    assert all(later for earlier, later in zip(held, more, strict=True) if earlier)
    config = ImagesConfig(shard_size=3, holdout_frac=0.5)
    ingest(empty_store, [write_coco(tmp_path / "a", count=6)], config=config)
    before = {row["image_id"]: row["split"] for row in empty_store.images().to_pylist()}
    assert set(before.values()) == {"train", "holdout"}
    ingest(empty_store, [write_coco(tmp_path / "b", count=6, first_seed=50)], config=config)
    after = {row["image_id"]: row["split"] for row in empty_store.images().to_pylist()}
    assert before.items() <= after.items()


def test_an_image_that_was_annotated_is_not_held_out_later(empty_store: Store, tmp_path: Path) -> None:
    """Models may have learned from it already."""
    coco = write_coco(tmp_path, count=2)
    ingest(empty_store, [tmp_path / "shapes"])
    seen, fresh = empty_store.images()["image_id"].to_pylist()
    rle = rle_codec.encode(np.ones((64, 96), dtype=bool))
    where: dict[str, Any] = {"image_id": seen, "shard": "000000", "stage": "assisted_manual", "round": 1}
    row = mask_row(rle, **where, origin="manual", annotator="simulated")
    empty_store.replace_shard("assisted_manual", "000000", table_of(GROUND_TRUTH, [row]), round=1, key=content_key(1))
    ingest(empty_store, [coco], config=ImagesConfig(shard_size=3, holdout_frac=0.999999))
    split = {row["image_id"]: row["split"] for row in empty_store.images().to_pylist()}
    assert split == {seen: "train", fresh: "holdout"}


def test_pictures_may_stay_where_they_are(empty_store: Store, tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "in", 1)[0]
    ingest(empty_store, [path], config=ImagesConfig(copy_images=False))
    row = empty_store.images().to_pylist()[0]
    assert row["path"] == str(path)
    assert list((empty_store.workspace / "images").iterdir()) == []
    np.testing.assert_array_equal(empty_store.load_image(row["image_id"]), decode_image(path))


def test_a_picture_above_the_limit_is_rejected(empty_store: Store, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 1)
    report = ingest(empty_store, paths, config=ImagesConfig(max_megapixels=0.001))
    assert "more than images.max_megapixels = 0.001" in report.rejected[0].reason


def test_progress_ends_at_the_total(empty_store: Store, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    ingest(empty_store, write_pictures(tmp_path / "in", 5), progress=lambda *told: heard.append(told))
    assert heard == [("ingest", number, 5) for number in range(1, 6)]


def test_one_ingest_at_a_time(empty_store: Store, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 1)
    with (empty_store.workspace / ".ingest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WaitError, match="another ingest is running"):
            ingest(empty_store, paths)
    assert ingest(empty_store, paths).added == 1
