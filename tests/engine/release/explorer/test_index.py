"""What DuckDB says of the index is what a walk through its rows says."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.places import place
from engine.release.explorer.filters import Filters, parse_filters
from engine.release.explorer.opened import OpenedRelease
from engine.release.reader import read_index, read_manifest
from schemas.errors import InputError
from schemas.release import IMAGE_INDEX, MASK_INDEX

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[tuple[Row, Row]]:
    """(mask, its picture) of all masks."""
    manifest, found = read_manifest(folder), []
    for tar in manifest.tars:
        pictures = {row["image_id"]: row for row in read_index(place(folder / tar.image_index.name), IMAGE_INDEX)}
        masks = read_index(place(folder / tar.mask_index.name), MASK_INDEX)
        found += [(mask, pictures[mask["image_id"]]) for mask in masks]
    return found


def size(mask: Row, picture: Row) -> float:
    return math.sqrt(mask["area"] / (picture["width"] * picture["height"]))


FILTERS: list[tuple[dict[str, list[str]], Callable[[Row, Row], bool]]] = [
    ({}, lambda mask, picture: True),
    ({"stage": ["assisted_manual"]}, lambda mask, picture: mask["stage"] == "assisted_manual"),
    ({"origin": ["automatic", "manual"]}, lambda mask, picture: True),
    ({"origin": ["nobody's"]}, lambda mask, picture: False),
    ({"split": ["train"]}, lambda mask, picture: picture["split"] == "train"),
    ({"split": ["holdout"]}, lambda mask, picture: picture["split"] == "holdout"),
    # Of masks by people nobody knows the score: they are in no range, whatever its ends.
    ({"iou": ["-1"]}, lambda mask, picture: mask["predicted_iou"] <= 1),
    ({"iou": ["0-"]}, lambda mask, picture: mask["predicted_iou"] >= 0),
    ({"iou": ["0.85-0.95"]}, lambda mask, picture: 0.85 <= mask["predicted_iou"] <= 0.95),
    ({"stability": ["0.96-"]}, lambda mask, picture: mask["stability_score"] >= 0.96),
    ({"size": ["0.1-0.16"]}, lambda mask, picture: 0.1 <= size(mask, picture) <= 0.16),
    (
        {"stage": ["fully_automatic"], "iou": ["-0.9"], "size": ["0.1-"]},
        lambda mask, picture: mask["predicted_iou"] <= 0.9 and size(mask, picture) >= 0.1,
    ),
]


@pytest.mark.parametrize(("asked", "passes"), FILTERS, ids=[str(asked) for asked, _ in FILTERS])
def test_filters(
    release: OpenedRelease, rows: list[tuple[Row, Row]], asked: dict[str, list[str]], passes: Callable[[Row, Row], bool]
) -> None:
    expected: dict[int, set[int]] = {}
    for mask, picture in rows:
        if passes(mask, picture):
            expected.setdefault(picture["image_id"], set()).add(mask["id"])
    filters = parse_filters(asked)
    listing = release.index.listing(filters, "number")
    page = release.index.page(listing, 0, 100)
    assert (listing.pictures, listing.masks) == (len(expected), sum(map(len, expected.values())))
    assert [(row["place"], row["image_id"], row["matching"]) for row in page] == [
        (at, image_id, len(expected[image_id])) for at, image_id in enumerate(sorted(expected))
    ]
    for picture in {picture["image_id"]: picture for _, picture in rows}.values():
        shown = {row["id"] for row in release.index.masks_of(picture, filters) if row["shown"]}
        assert shown == expected.get(picture["image_id"], set())


@pytest.mark.parametrize(
    ("sort", "score", "best"),
    [
        ("iou", lambda mask, picture: mask["predicted_iou"], min),
        ("stability", lambda mask, picture: mask["stability_score"], min),
        ("small", size, min),
        ("large", size, max),
    ],
)
def test_orders_by_the_score_of_a_mask(
    release: OpenedRelease, rows: list[tuple[Row, Row]], sort: str, score: Callable[[Row, Row], float], best: Any
) -> None:
    scores: dict[int, list[tuple[float, int]]] = {}
    for mask, picture in rows:
        if not math.isnan(score(mask, picture)):
            scores.setdefault(picture["image_id"], []).append((score(mask, picture), mask["id"]))
    expected = [(best(of_picture)[0], image_id) for image_id, of_picture in scores.items()]
    expected.sort(key=lambda one: (one[0] if best is min else -one[0], one[1]))
    page = release.index.page(release.index.listing(Filters(), sort), 0, 100)
    assert [row["image_id"] for row in page] == [image_id for _, image_id in expected]
    assert [row["score"] for row in page] == pytest.approx([value for value, _ in expected])
    for row in page:
        assert any(
            mask == row["mask"] and value == pytest.approx(row["score"]) for value, mask in scores[row["image_id"]]
        )


def test_pictures_without_scores_come_last(release: OpenedRelease) -> None:
    manual = parse_filters({"stage": ["assisted_manual"]})
    page = release.index.page(release.index.listing(manual, "iou"), 0, 100)
    assert [row["image_id"] for row in page] == sorted(row["image_id"] for row in page)
    assert {row["score"] for row in page} == {None}


@pytest.mark.parametrize(("sort", "sign"), [("most", -1), ("fewest", 1)])
def test_orders_by_the_number_of_masks(release: OpenedRelease, sort: str, sign: int) -> None:
    automatic = parse_filters({"iou": ["0.85-0.95"]})
    page = release.index.page(release.index.listing(automatic, sort), 0, 100)
    assert page == sorted(page, key=lambda row: (sign * row["matching"], row["image_id"]))
    assert len({row["matching"] for row in page}) > 1


def test_pages_and_places(release: OpenedRelease) -> None:
    listing = release.index.listing(Filters(), "iou")
    everything = release.index.page(listing, 0, 100)
    assert release.index.page(listing, 2, 3) == everything[2:5]
    assert release.index.page(listing, 100, 3) == []
    assert [release.index.place_of(listing, row["image_id"]) for row in everything] == list(range(len(everything)))
    assert release.index.place_of(listing, 999) is None


def test_what_was_asked_long_ago_is_asked_anew(release: OpenedRelease) -> None:
    first = release.index.listing(parse_filters({"iou": ["0.9-"]}), "iou")
    assert release.index.listing(parse_filters({"iou": ["0.9-"]}), "iou") is first
    for least in range(5):
        release.index.listing(parse_filters({"iou": [f"0.{least}-"]}), "iou")
    again = release.index.listing(parse_filters({"iou": ["0.9-"]}), "iou")
    assert again.table != first.table
    assert (again.pictures, again.masks) == (first.pictures, first.masks)


def test_facets(release: OpenedRelease, rows: list[tuple[Row, Row]]) -> None:
    facets = release.index.facets()
    manual = sum(mask["stage"] == "assisted_manual" for mask, _ in rows)
    assert facets["choices"]["stage"] == {"fully_automatic": len(rows) - manual, "assisted_manual": manual}
    assert facets["choices"]["origin"] == {"automatic": len(rows) - manual, "manual": manual}
    assert sum(facets["choices"]["split"].values()) == len(rows)
    assert {name: found["unknown"] for name, found in facets["ranges"].items()} == {
        "iou": manual,
        "stability": manual,
        "size": 0,
    }
    assert {sum(found["bins"]) + found["unknown"] for found in facets["ranges"].values()} == {len(rows)}
    assert sum(facets["ranges"]["iou"]["bins"][:32]) == 0  # scores are 0.8 and more


def test_numbers_are_found(release: OpenedRelease, rows: list[tuple[Row, Row]]) -> None:
    mask, picture = rows[7]
    assert release.index.picture_of_mask(mask["id"]) == picture["image_id"]
    assert release.index.picture_of_content(picture["content_id"]) == picture["image_id"]
    assert (
        release.index.picture_of_mask(10**6) is release.index.picture_of_content(3) is release.index.picture(99) is None
    )
    made = release.index.made([picture["image_id"], 999])
    assert made.keys() == {picture["image_id"]}
    assert made[picture["image_id"]].content_id == picture["content_id"]
    assert sorted(made[picture["image_id"]].places) == [("assisted_manual", 1), ("fully_automatic", 1)]


@pytest.mark.parametrize("name", ["it's [old] *1? {a,b}", "ünï"])
def test_names_of_folders_mean_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    opened = OpenedRelease(shutil.copytree(folder, tmp_path / name), tmp_path / "scratch")
    assert opened.index.listing(Filters(), "number").pictures == opened.manifest.images
    assert opened.picture(1, Filters()) is not None


def test_a_damaged_index_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    index = copy / read_manifest(copy).tars[1].mask_index.name
    index.write_bytes(index.read_bytes()[:-40])
    opened = OpenedRelease(copy, tmp_path / "scratch")
    with pytest.raises(InputError, match=r"index cannot be read.*sam-engine release verify") as raised:
        opened.index.facets()
    assert "\n" not in str(raised.value)
