"""Merged releases: everything of each once, by small numbers that stay, and told where it is from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pycocotools.coco import COCO

from engine.ingest import ingest
from engine.places import place
from engine.release.build import build_release
from engine.release.exporters import export_release
from engine.release.later_masks import LaterMasks
from engine.release.merge import merge_releases
from engine.release.reader import PictureOfRelease, Release
from engine.release.repair import repair_release
from engine.release.subset import subset_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ImagesConfig, ReleaseConfig
from schemas.errors import InputError
from schemas.sa1b import Sa1bRecord
from tests.engine.release.conftest import add_masks, draw
from tests.engine.release.released import contents
from tests.flows.cli_runner import sam_engine
from tests.templates import new_store

Make = Callable[..., Path]
SETTINGS = {"images_per_tar": 3, "blur": False, "card": {"license": "cc-by-4.0", "pictures": "Drawn.", "holder": "We"}}


@pytest.fixture
def make(templates: Path, tmp_path: Path) -> Make:
    """Makes releases of workspaces with some of the pictures 0 to 9; those under 7 are `templates`' own."""

    def made(name: str, numbers: range, *, seed: int = 0, stage: str = "fully_automatic", **settings: Any) -> Path:
        pictures = tmp_path / "pictures"
        pictures.mkdir(exist_ok=True)
        for number in numbers:
            Image.fromarray(draw(40 + number, 50, number)).save(pictures / f"{number}.png")
        store = new_store(tmp_path / name)
        ingest(store, [pictures / f"{number}.png" for number in numbers], config=ImagesConfig(shard_size=3))
        add_masks(store, stage, seed=seed)
        return build_release(store, config=ReleaseConfig.model_validate(SETTINGS | settings), stages=[stage]).path

    return made


def said(picture: PictureOfRelease) -> tuple[bytes, list[tuple[Any, ...]]]:
    """What is of a picture and its masks besides their numbers."""
    rows = [
        (row["content_id"], row["stage"], row["annotator"], row["area"], mask.rle.counts)
        for row, mask in zip(picture.mask_rows, picture.masks(), strict=True)
    ]
    return picture.jpeg, rows


def by_content(folder: Path) -> dict[int, PictureOfRelease]:
    return {picture.row["content_id"]: picture for picture in Release(folder)}


def numbers(folder: Path) -> dict[int, tuple[int, list[int]]]:
    return {
        content: (picture.row["image_id"], [row["id"] for row in picture.mask_rows])
        for content, picture in by_content(folder).items()
    }


def test_everything_of_each_is_in_it_by_numbers_of_its_own(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(4)), make("b", range(4, 8), seed=1, stage="assisted_manual")]
    manifest = merge_releases(parts, tmp_path / "merged")
    assert verify_release(tmp_path / "merged") == []
    found = by_content(tmp_path / "merged")
    expected = by_content(parts[0]) | by_content(parts[1])
    assert {content: said(picture) for content, picture in found.items()} == {
        content: said(picture) for content, picture in expected.items()
    }
    assert sorted(picture.row["image_id"] for picture in found.values()) == list(range(1, 9))
    masks = sorted(row["id"] for picture in found.values() for row in picture.mask_rows)
    assert masks == list(range(1, manifest.masks + 1))
    assert manifest.stages == ("assisted_manual", "fully_automatic")
    assert [tar.images for tar in manifest.tars] == [3, 3, 2]
    sources = [Release(part).manifest for part in parts]
    assert manifest.parents == tuple(source.key for source in sources)
    for told, source in zip(manifest.merged, sources, strict=True):
        assert (told.key, told.table_versions, told.config) == (source.key, source.table_versions, source.config)
    assert (manifest.merged[1].image_offset, manifest.merged[1].mask_offset) == (4, sources[0].masks)


def test_numbers_stay_when_another_comes_behind(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(3)), make("b", range(2, 6), seed=1), make("c", range(1, 8), seed=2)]
    merge_releases(parts[:2], tmp_path / "two")
    merge_releases(parts, tmp_path / "three")
    assert verify_release(tmp_path / "three") == []
    two, three = numbers(tmp_path / "two"), numbers(tmp_path / "three")
    assert {content: three[content][0] for content in two} == {content: image for content, (image, _) in two.items()}
    assert all(set(two[content][1]) <= set(three[content][1]) for content in two)
    alone = numbers(parts[0])
    assert all(two[content][0] == alone[content][0] for content in alone)
    every = [mask for _, masks in three.values() for mask in masks]
    assert len(set(every)) == len(every) == Release(tmp_path / "three").manifest.masks


def test_a_picture_of_several_is_taken_once_with_the_masks_of_all(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(4)), make("b", range(2, 6), seed=1), make("c", range(2, 6), seed=1)]
    manifest = merge_releases(parts, tmp_path / "merged")
    assert verify_release(tmp_path / "merged") == []
    first, second = by_content(parts[0]), by_content(parts[1])
    found = by_content(tmp_path / "merged")
    assert len(found) == manifest.images == 6
    for content in first.keys() & second.keys():
        jpeg, masks = said(found[content])
        assert jpeg == first[content].jpeg
        wanted = said(first[content])[1]
        wanted += [mask for mask in said(second[content])[1] if mask[-1] not in {each[-1] for each in wanted}]
        assert masks == wanted, "and those of the third, which are equal, are not there again"
    assert [source.images_known for source in manifest.merged] == [0, 2, 4]
    assert manifest.masks == sum(len(picture.mask_rows) for picture in found.values())


def test_masks_of_another_size_are_left_out_and_counted(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(3)), make("b", range(2, 5), seed=1, shortest_side_px=30)]
    lost = len(by_content(parts[1])[(by_content(parts[0]).keys() & by_content(parts[1]).keys()).pop()].mask_rows)
    manifest = merge_releases(parts, tmp_path / "merged")
    assert verify_release(tmp_path / "merged") == []
    assert [source.masks_left_out for source in manifest.merged] == [0, lost]
    assert "was made with other settings: shortest_side_px 30." in (tmp_path / "merged" / "DATASHEET.md").read_text()


def test_equal_releases_give_equal_bytes_and_others_read_them(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(3)), make("b", range(1, 5), seed=1)]
    for folder in ("x", "y"):
        merge_releases(parts, tmp_path / folder / "merged")
    assert contents(tmp_path / "x" / "merged") == contents(tmp_path / "y" / "merged")
    merged = tmp_path / "x" / "merged"
    export_release(merged, tmp_path / "coco", form="coco")
    coco = COCO(tmp_path / "coco" / "annotations.json")
    assert len(coco.anns) == Release(merged).manifest.masks
    assert all(coco.annToMask(each).sum() == each["area"] for each in coco.anns.values())
    subset_release(merged, tmp_path / "part", images=2)
    assert verify_release(tmp_path / "part") == []
    again = merge_releases([merged, make("c", range(4, 7))], tmp_path / "again")
    assert verify_release(tmp_path / "again") == []
    assert again.merged[0].parents == Release(merged).manifest.parents
    with pytest.raises(InputError, match="was taken from other releases; take it from them again"):
        repair_release(place(merged), Store(tmp_path / "a"))


def test_a_mask_says_in_which_it_lies_by_the_number_that_is_there(make: Make, tmp_path: Path) -> None:
    """Nesting: `parent` of a mask that was moved, and of one whose parent the first release has too."""
    parts = [make("a", range(2)), make("b", range(2), seed=1)]
    first, second = (next(iter(Release(part))) for part in parts[:2])
    own = first.record.annotations[0]
    equal = second.record.annotations[0].model_copy(update={"segmentation": own.segmentation, "parent": None})
    within = second.record.annotations[1].model_copy(update={"parent": equal.id})
    record = Sa1bRecord.model_construct(image=second.record.image, annotations=[equal, within])
    nested = PictureOfRelease(second.name, second.jpeg, record, first.row, second.mask_rows[:2])

    class Nested(Release):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield nested

    with LaterMasks(tmp_path) as later:
        later.keep(Nested(parts[1]), {first.row["content_id"]}, mask_offset=100)
        ((found, row),) = later.of(first.row["content_id"], first, mask_offset=7)
    assert (found.id, row["id"], found.parent) == (within.id + 100, within.id + 100, own.id + 7)


def test_the_words_of_all_are_kept(make: Make, tmp_path: Path) -> None:
    card = {"license": "cc-by-4.0", "pictures": "Painted.", "holder": "They", "name": "Paintings"}
    parts = [make("a", range(2)), make("b", range(2, 4), card=card)]
    told = merge_releases(parts, tmp_path / "merged").config.card
    assert (told.license, told.pictures, told.holder, told.name) == ("cc-by-4.0", "Drawn.\n\nPainted.", "We; They", "")
    text = (tmp_path / "merged" / "README.md").read_text()
    assert "Merged of 2 releases: " in text
    assert json.loads((tmp_path / "merged" / "statistics.json").read_text())["pictures"] == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "of other licences": ({"card": {"license": "cc0-1.0"}}, "licences of these releases differ"),
    "blurred, and not": ({"blur": True}, "was blurred by faces, plates, .* by nothing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_releases_that_say_contrary_things_are_refused(make: Make, tmp_path: Path, what: str) -> None:
    settings, message = REFUSED[what]
    parts = [make("a", range(2)), make("b", range(2, 4), **settings)]
    with pytest.raises(InputError, match=message):
        merge_releases(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_command(make: Make, tmp_path: Path) -> None:
    parts = [make("a", range(3)), make("b", range(2, 4), card={"license": "cc0-1.0"}, seed=1)]
    done = sam_engine("release", "merge", *parts, "-o", tmp_path / "m", "--set", "license=cc-by-4.0", "--json")
    assert done.status == 0, done.err
    assert (done.result["images"], done.result["images_known"]) == (4, 1)
    assert "CC-BY-4.0" in (tmp_path / "m" / "LICENSE").read_text()
    done = sam_engine("release", "merge", parts[0], "-o", tmp_path / "n")
    assert done.status == 2
    assert "two releases or more, found 1" in done.err
    done = sam_engine("release", "merge", *parts, "-o", tmp_path / "m")
    assert "exists already" in done.err
