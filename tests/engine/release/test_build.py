"""Releases: what is in them, that they are the same twice, and what cannot be released."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from pycocotools import mask as coco_mask

from engine.ingest import ingest
from engine.places import Place
from engine.processes import Processes
from engine.release import build as build_module
from engine.release.build import build_release
from engine.release.reader import Release, read_manifest
from engine.release.records import ReleasedImage
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ImagesConfig, ReleaseConfig
from schemas.errors import InputError, WaitError
from schemas.mask import Mask
from schemas.release import IMAGE_INDEX, MASK_INDEX, ReleasedTar
from schemas.sa1b import Sa1bAnnotation
from schemas.tables import table_of
from tests.engine.release.conftest import SIZES, add_masks, draw
from tests.engine.release.released import SMALL_TARS, contents, index_rows, numbers, records
from tests.templates import new_store


def test_release_holds_every_automatic_mask_as_sa1b(store: Store) -> None:
    info = build_release(store, config=SMALL_TARS)
    assert info.created
    assert verify_release(info.path) == []
    rows = store.read_table("fully_automatic").to_pylist()
    found = records(info.path)
    assert info.manifest.images == len(found) == len(SIZES)
    assert info.manifest.masks == len(rows)
    by_id = {annotation["id"]: annotation for record in found.values() for annotation in record["annotations"]}
    number = numbers(store)
    for row in rows:
        annotation = by_id[number[row["mask_id"]]]
        assert set(annotation) == {
            *("id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords")
        }
        assert annotation["segmentation"] == {
            "size": [row["height"], row["width"]],
            "counts": row["rle"].decode(),
        }
        assert annotation["area"] == row["area"]
        assert annotation["predicted_iou"] == row["predicted_iou"]
        assert annotation["crop_box"] == [0, 0, row["width"], row["height"]]
        assert annotation["point_coords"] == [[row["points"][0]["x"], row["points"][0]["y"]]]


def test_image_record_names_the_picture(store: Store) -> None:
    found = records(build_release(store).path)
    number = numbers(store, "image")
    for image in store.images().to_pylist():
        assert found[number[image["image_id"]]]["image"] == {
            "image_id": number[image["image_id"]],
            "width": image["width"],
            "height": image["height"],
            "file_name": f"sa_{number[image['image_id']]}.jpg",
        }


def test_numbers_count_from_1_in_the_order_of_the_tars(store: Store) -> None:
    folder = build_release(store, config=SMALL_TARS).path
    images, masks = (pq.read_table(folder / "index" / kind) for kind in ("images", "masks"))
    assert images["image_id"].to_pylist() == list(range(1, len(SIZES) + 1))
    assert masks["id"].to_pylist() == list(range(1, 5 * len(SIZES) + 1))
    assert set(images["content_id"].to_pylist()) == set(store.images()["image_id"].to_pylist())
    assert set(masks["content_id"].to_pylist()) == set(store.read_table("fully_automatic")["mask_id"].to_pylist())
    assert masks["image_id"].to_pylist() == [number for number in images["image_id"].to_pylist() for _ in range(5)]


def test_numbers_stay_from_one_release_to_the_next(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    first = build_release(store)
    add_masks(store, "assisted_manual", seed=1)
    second = build_release(store, stages=["assisted_manual", "fully_automatic"])
    before, after = ({row["content_id"]: row for row in index_rows(info.path, "masks")} for info in (first, second))
    assert len(before) == 20
    assert {each: after[each]["id"] for each in before} == {each: row["id"] for each, row in before.items()}
    assert {each: after[each]["image_id"] for each in before} == {each: row["image_id"] for each, row in before.items()}
    assert sorted(row["id"] for row in after.values()) == list(range(1, 20 + 35 + 1))
    assert sorted(row["image_id"] for row in index_rows(second.path, "images")) == list(range(1, len(SIZES) + 1))
    assert verify_release(second.path) == []


def test_webdataset_reads_pictures_with_their_masks(store: Store) -> None:
    folder = build_release(store, config=SMALL_TARS).path
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    assert len(tars) == 3
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8").to_tuple("jpg", "json"))
    assert len(samples) == len(SIZES)
    ids = {number: image_id for image_id, number in numbers(store, "image").items()}
    by_id = {image["image_id"]: image for image in store.images().to_pylist()}
    for picture, record in samples:
        image_id = ids[record["image"]["image_id"]]
        source = store.load_image(image_id)
        assert np.abs(picture.astype(int) - source).mean() < 4
        assert by_id[image_id]["height"] == picture.shape[0]
        masks = coco_mask.decode([annotation["segmentation"] for annotation in record["annotations"]])
        assert masks.shape[:2] == picture.shape[:2]


def test_index_has_a_row_for_each_mask_and_image(store: Store) -> None:
    info = build_release(store, config=SMALL_TARS)
    masks = pq.read_table(info.path / "index" / "masks")
    images = pq.read_table(info.path / "index" / "images")
    assert masks.schema.equals(MASK_INDEX)
    assert images.schema.equals(IMAGE_INDEX)
    rows = {row["mask_id"]: row for row in store.read_table("fully_automatic").to_pylist()}
    assert set(masks["content_id"].to_pylist()) == set(rows)
    for row in masks.to_pylist():
        source = rows[row["content_id"]]
        for name in ("stage", "round", "model_id", "generator_config", "area", "annotator", "origin"):
            assert row[name] == source[name]
        assert row["bbox_xyxy"] == source["bbox"]
        with tarfile.open(info.path / row["tar"]) as tar:
            assert f"sa_{row['image_id']}.jpg" in tar.getnames()
    assert images["masks"].to_pylist() == [5] * len(SIZES)


def test_tar_members_stand_in_pairs_without_owner_or_time(store: Store) -> None:
    path = next(build_release(store).path.glob("*.tar"))
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names[1::2] == [name.replace(".jpg", ".json") for name in names[0::2]]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_equal_workspaces_give_equal_bytes(make_store: Callable[..., Store]) -> None:
    folders = []
    for name in ("first", "second"):
        made = make_store(name)
        folders.append(build_release(made, config=SMALL_TARS, name="release").path)
    assert contents(folders[0]) == contents(folders[1])


def test_bytes_are_the_same_by_how_many_processes_ever(make_store: Callable[..., Store]) -> None:
    made, heard = [], []
    for number in (1, 2):
        store, told = make_store(f"by-{number}"), list[tuple[str, int, int]]()
        info = build_release(
            store,
            config=SMALL_TARS,
            name="release",
            verify=True,
            map_tars=Processes(number),
            progress=lambda *step, told=told: told.append(step),
        )
        made.append(contents(info.path))
        heard.append(told)
    assert made[0] == made[1]
    assert heard[0] == heard[1]


def test_second_build_writes_nothing_and_says_so(store: Store) -> None:
    first = build_release(store, config=SMALL_TARS)
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    second = build_release(store, config=SMALL_TARS)
    assert not second.created
    assert (second.path, second.manifest) == (first.path, first.manifest)
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == before


def test_new_masks_make_a_new_release_beside_the_old(store: Store) -> None:
    old_versions = store.versions()
    old = build_release(store)
    kept = contents(old.path)
    add_masks(store, "fully_automatic", round=2, seed=9, per_image=3)
    new = build_release(store)
    assert new.created
    assert new.path != old.path
    assert set(pq.read_table(new.path / "index" / "masks")["round"].to_pylist()) == {2}
    assert contents(old.path) == kept
    assert not build_release(store, versions=old_versions).created


def test_changes_name_what_is_new_gone_and_other(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    first = build_release(store)
    assert (first.manifest.previous, first.manifest.changes) == ("", None)
    old = index_rows(first.path, "masks")
    add_masks(store, "fully_automatic", round=2, seed=9, per_image=2)  # in place of round 1, and on 3 pictures more
    second = build_release(store)
    assert second.manifest.previous == first.manifest.name
    told = json.loads((second.path / "changes.json").read_text())
    assert told["previous_key"] == first.manifest.key
    assert told["images"] == {"added": [5, 6, 7], "removed": [], "changed": [1, 2, 3, 4]}
    assert told["masks"]["removed"] == sorted(row["id"] for row in old)
    assert told["masks"]["added"] == sorted(row["id"] for row in index_rows(second.path, "masks"))
    assert told["masks"]["changed"] == []
    assert verify_release(second.path) == []
    (second.path / "changes.json").write_text("{}")
    assert verify_release(second.path) == [
        f"{second.path}/changes.json: 2 bytes, the manifest says {len(json.dumps(told)) + 1}"
    ]


def test_masks_at_another_size_are_changed(store: Store) -> None:
    build_release(store)
    add_masks(store, "assisted_manual", round=2, seed=1)  # a later version of a table that is not released
    small = ReleaseConfig(shortest_side_px=35)
    assert build_release(store, config=small).manifest.previous == "", (
        "of the same versions: neither is before the other"
    )
    add_masks(store, "fully_automatic", round=2, seed=0)  # the same shapes, as other masks
    told = json.loads((build_release(store, config=small).path / "changes.json").read_text())
    assert told["images"]["changed"] == list(range(1, len(SIZES) + 1))


def test_a_release_with_a_problem_never_appears(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = contents(build_release(store, config=SMALL_TARS, name="whole", verify=True).path)
    writing = build_module.write_release_tar

    def damaging(folder: Place, name: str, images: Iterator[ReleasedImage]) -> ReleasedTar:
        record = writing(folder, name, images)
        if name == "sa_000001.tar":
            content = bytearray((folder / name).read())
            content[700] ^= 1
            (folder / name).write(bytes(content))
        return record

    shutil.rmtree(store.workspace / "releases")
    monkeypatch.setattr(build_module, "write_release_tar", damaging)
    told = r"/whole: not published, 1 problem in .*sa_000001\.tar: its sha256 is"
    with pytest.raises(InputError, match=told) as error:
        build_release(store, config=SMALL_TARS, name="whole", verify=True)
    assert "\n" not in str(error.value)
    assert not (store.workspace / "releases" / "whole").exists()
    monkeypatch.undo()
    assert contents(build_release(store, config=SMALL_TARS, name="whole", verify=True).path) == expected


def test_releases_from_before_the_whole_prompt_was_written_are_right(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Mask.to_sa1b

    def as_before(mask: Mask, annotation_id: int) -> Sa1bAnnotation:
        return Sa1bAnnotation(**whole(mask, annotation_id).model_dump(exclude={"prompt", "parent"}))

    monkeypatch.setattr(Mask, "to_sa1b", as_before)
    info = build_release(store, stages=("assisted_manual", "fully_automatic"))
    assert not any("prompt" in a for record in records(info.path).values() for a in record["annotations"])
    assert verify_release(info.path) == []
    manual = [mask for picture in Release(info.path) for mask in picture.masks() if mask.origin == "manual"]
    assert len(manual) == store.counts()["assisted_manual"]
    assert {tuple(label for _, _, label in mask.prompt.points) for mask in manual} == {(1, 0)}, "the index knows"


def test_large_pictures_are_scaled_down_with_their_masks(store: Store) -> None:
    info = build_release(store, config=ReleaseConfig(shortest_side_px=35))
    assert verify_release(info.path) == []
    number, of_mask = numbers(store, "image"), numbers(store)
    sizes = {number[image["image_id"]]: (image["height"], image["width"]) for image in store.images().to_pylist()}
    rows = {of_mask[row["mask_id"]]: row for row in store.read_table("fully_automatic").to_pylist()}
    for image_id, record in records(info.path).items():
        height, width = sizes[image_id]
        image = record["image"]
        assert min(image["height"], image["width"]) == min(35, height, width)
        assert image["height"] / image["width"] == pytest.approx(height / width, rel=0.03)
        for annotation in record["annotations"]:
            source = rows[annotation["id"]]
            scale = image["width"] / width
            assert annotation["area"] == pytest.approx(source["area"] * scale**2, rel=0.35)
            assert annotation["point_coords"][0][0] == pytest.approx(source["points"][0]["x"] * scale)


def test_what_a_file_says_beside_its_pixels_is_not_released(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera that nobody should know of"
    exif[0x0112] = 6  # to be turned by 90 degrees
    source = tmp_path / "turned.jpg"
    Image.fromarray(draw(40, 60, 0)).save(source, exif=exif)
    store = new_store(tmp_path / "workspace")
    ingest(store, [source])
    add_masks(store, "fully_automatic")
    info = build_release(store)
    assert verify_release(info.path) == []
    assert all(b"nobody should know" not in data for data in contents(info.path).values())
    assert next(iter(records(info.path).values()))["image"]["height"] == 60


def test_progress_counts_images_to_the_end(store: Store) -> None:
    heard: list[tuple[str, int, int]] = []
    build_release(store, config=SMALL_TARS, progress=lambda *step: heard.append(step))
    assert heard == [("release", done, len(SIZES)) for done in range(1, len(SIZES) + 1)]


def test_workspace_without_masks_says_what_to_do(make_store: Callable[..., Store]) -> None:
    empty = make_store("workspace", template="bare")
    with pytest.raises(WaitError, match=r"no masks of fully_automatic to release.*sam-engine run fully_automatic"):
        build_release(empty)


def test_changed_or_missing_picture_is_named(tmp_path: Path) -> None:
    picture = tmp_path / "3.png"
    Image.fromarray(draw(40, 60, 3)).save(picture)
    linked = new_store(tmp_path / "workspace")
    ingest(linked, [picture], config=ImagesConfig(copy_images=False))
    add_masks(linked, "fully_automatic")
    Image.fromarray(draw(40, 60, 99)).save(picture)
    with pytest.raises(InputError, match=r"3\.png: not the file that was ingested"):
        build_release(linked)
    picture.unlink()
    with pytest.raises(InputError, match=r"3\.png: cannot read the file"):
        build_release(linked)
    Image.fromarray(draw(40, 60, 3)).save(picture)
    assert build_release(linked).created


def test_masks_without_their_picture_are_named(store: Store) -> None:
    shard = store.shards()[0]
    rows = store.read_shard("images", shard).to_pylist()
    for count in (1, len(rows)):
        store.replace_shard("images", shard, table_of("images", rows[count:]), key=f"{count:016x}")
        with pytest.raises(
            InputError, match=rf"masks of {count} pictures that the table images has not, such as \d+; "
        ):
            build_release(store)
    assert not list((store.workspace / "releases").glob("[!.]*"))
    store.replace_shard("images", shard, table_of("images", rows), key="0" * 16)
    assert build_release(store).created


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden", "a b", "a/b"])
def test_name_that_is_no_plain_folder_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="release name"):
        build_release(store, name=name)


def test_name_that_another_release_has_is_refused(store: Store) -> None:
    build_release(store, name="first")
    with pytest.raises(InputError, match="choose another name"):
        build_release(store, name="first", config=SMALL_TARS)
    assert build_release(store, name="second").created


def test_manifest_tells_what_the_release_was_made_of(store: Store) -> None:
    info = build_release(store, config=SMALL_TARS)
    manifest = read_manifest(info.path)
    assert manifest == info.manifest
    versions = store.versions()
    assert manifest.table_versions == {name: versions[name] for name in ("images", "fully_automatic")}
    assert manifest.config == SMALL_TARS
    assert [tar.images for tar in manifest.tars] == [3, 3, 1]
