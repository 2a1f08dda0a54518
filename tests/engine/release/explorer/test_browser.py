"""The explorer as people use it, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine import rle
from engine.release.explorer.sending import Sent
from engine.release.reader import PictureOfRelease, Release
from tests.engine.release.explorer.crowded import write_crowded_release
from tests.engine.release.explorer.looking import Looking, served
from tests.labelstudio.browser.chromium import chromium_path, running_chromium
from tests.labelstudio.conftest import unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    path = chromium_path()
    if path is None:
        unavailable("needs chromium: tests/labelstudio/install_packages.sh")
    with running_chromium(path) as running:
        yield running


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with 80 masks each, many of them one in the other."""
    folder = tmp_path_factory.mktemp("crowded") / "crowded"
    write_crowded_release(folder, pictures=3, masks=80, height=300, width=450)
    return folder


@pytest.fixture(scope="module")
def address(crowded: Path) -> Iterator[str]:
    with served([crowded], command="sam-engine release explore crowded --workspace WORK") as at:
        yield at


@pytest.fixture
def looking(browser: "Browser", address: str) -> Iterator[Looking]:
    with Looking.opened(browser, address) as opened:
        yield opened
        assert opened.errors == []
        assert opened.foreign == set()


@pytest.fixture(scope="module")
def picture(crowded: Path) -> PictureOfRelease:
    return next(iter(Release(crowded)))


def masks_at(picture: PictureOfRelease, x: int, y: int) -> list[str]:
    """Numbers of the masks that have a pixel, the smallest first."""
    found = [
        (mask.area, row["id"])
        for mask, row in zip(picture.masks(), picture.mask_rows, strict=True)
        if rle.decode(mask.rle)[y, x]
    ]
    return [f"#{number}" for _, number in sorted(found)]


def chips(looking: Looking) -> list[str]:
    return looking.page.locator(".under-pointer .chip").all_inner_texts()


def nested_place(picture: PictureOfRelease, least: int) -> tuple[int, int]:
    rng = np.random.default_rng(1)
    for _ in range(10_000):
        x, y = int(rng.integers(picture.width)), int(rng.integers(picture.height))
        if least <= len(masks_at(picture, x, y)) <= 12:
            return x, y
    raise AssertionError("no such place")


def test_the_mask_under_the_cursor(looking: Looking, picture: PictureOfRelease) -> None:
    looking.go("?picture=1")
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(60):
        x, y = int(rng.integers(picture.width)), int(rng.integers(picture.height))
        expected = masks_at(picture, x, y)
        looking.page.mouse.move(*looking.at(x, y))
        looking.page.wait_for_timeout(250)
        assert chips(looking) == expected[:12], (x, y)
        if expected:
            seen += 1
            assert looking.page.locator(".record h2").inner_text().startswith(f"Mask {expected[0]}")
    assert seen > 10


def test_the_record_says_what_the_index_says(looking: Looking, picture: PictureOfRelease) -> None:
    row = picture.mask_rows[5]
    looking.go(f"?picture=1&mask={row['id']}")
    record = looking.page.locator(".record").inner_text()
    for told in (
        f"{row['predicted_iou']:.3f}",
        f"{row['stability_score']:.3f}",
        "fully automatic, round 1",
        "1 point on it",
    ):
        assert told in record
    assert f"{row['area']:,} px" in record
    assert str(row["content_id"]) in record
    assert f"sam-engine explain WORKSPACE {row['id']}" in record


def test_clicks_and_a_key_go_through_nested_masks(looking: Looking, picture: PictureOfRelease) -> None:
    x, y = nested_place(picture, 3)
    expected = [text.removeprefix("#") for text in masks_at(picture, x, y)]
    looking.go("?picture=1")
    place = looking.at(x, y)
    looking.page.mouse.move(*place)
    clicked = []
    for _ in range(len(expected) + 1):
        looking.page.mouse.click(*place)
        looking.page.wait_for_timeout(400)  # two clicks in a row would be a double click, which zooms
        clicked += looking.query["mask"]
    assert clicked == [*expected, expected[0]]
    pressed = []
    for key in ("n", "n", "Shift+N"):
        looking.page.keyboard.press(key)
        pressed += looking.query["mask"]
    assert pressed == [expected[1], expected[2], expected[1]]
    looking.page.keyboard.press("Escape")
    assert "mask" not in looking.query
    looking.page.keyboard.press("Escape")
    assert looking.tiles() == ["1", "2", "3"]


def test_a_link_shows_the_same_again(
    looking: Looking, browser: "Browser", address: str, picture: PictureOfRelease
) -> None:
    looking.page.locator("#sort").select_option("iou")
    looking.page.get_by_label("Predicted IoU, at most").fill("0.9")
    looking.page.wait_for_url("**iou=-0.9**")
    order = looking.tiles()
    looking.page.locator(".tile").nth(1).click()
    looking.wait_for(order[1])
    looking.page.mouse.move(2, 2)  # what lies under it would stand in the panel
    looking.page.wait_for_timeout(250)
    looking.page.locator("#colour").select_option("stability")
    looking.page.wait_for_timeout(250)  # rows of a list that was drawn anew are laid out after it
    link = looking.page.url.removeprefix(address)
    assert looking.query == {
        "iou": ["-0.9"], "sort": ["iou"], "picture": [order[1]], "mask": looking.query["mask"], "colour": ["stability"],
    }  # fmt: skip
    text = looking.page.locator("#viewer .bar").inner_text(), looking.page.locator(".panel").inner_text()
    with Looking.opened(browser, address, link) as other:
        other.page.wait_for_timeout(250)
        assert (other.page.locator("#viewer .bar").inner_text(), other.page.locator(".panel").inner_text()) == text
        other.page.locator("#back").click()
        assert other.tiles() == order
    looking.page.go_back()
    assert looking.tiles() == order
    assert looking.query == {"iou": ["-0.9"], "sort": ["iou"]}


def test_filters_leave_masks_out(looking: Looking, picture: PictureOfRelease) -> None:
    looking.go("?picture=1&iou=-0.8")
    passing = sum(row["predicted_iou"] <= np.float32(0.8) for row in picture.mask_rows)
    assert looking.page.locator(".masks li").count() == passing < len(picture.mask_rows)
    looking.go("?stage=assisted_manual")
    assert "No picture has masks that pass these filters" in looking.page.locator(".tiles").inner_text()
    looking.page.get_by_role("button", name="Clear").click()
    assert looking.tiles() == ["1", "2", "3"]
    looking.page.get_by_label("fully automatic").check()
    looking.page.wait_for_url("**stage=fully_automatic")
    assert looking.tiles() == ["1", "2", "3"]


def test_by_keyboard_alone(looking: Looking) -> None:
    keys = looking.page.keyboard
    looking.page.locator(".tile").first.focus()
    keys.press("ArrowRight")
    keys.press("x")
    keys.press("Enter")
    looking.wait_for("2")
    keys.press("ArrowRight")
    looking.wait_for("3")
    keys.press("ArrowRight")
    assert "last picture" in looking.page.locator("#message").inner_text()
    looking.page.locator(".masks").focus()
    keys.press("ArrowDown")
    first = looking.query["mask"]
    keys.press("ArrowDown")
    assert looking.query["mask"] != first
    keys.press("z")
    keys.press("m")
    assert looking.query["masks"] == ["off"]
    keys.press("?")
    assert looking.page.locator("#help").is_visible()
    keys.press("Escape")
    keys.press("Escape")
    keys.press("Escape")
    assert looking.tiles() == ["1", "2", "3"]
    assert looking.page.evaluate("document.activeElement.closest('li').dataset.id") == "3"
    assert looking.page.locator(".mark:checked").count() == 1
    keys.press("/")
    keys.type("165")  # no picture, so a mask
    keys.press("Enter")
    looking.wait_for("3")
    assert looking.query["mask"] == ["165"]


def test_pages(browser: "Browser", tmp_path: Path) -> None:
    write_crowded_release(tmp_path / "many", pictures=100, masks=2, height=60, width=90)
    with served([tmp_path / "many"]) as at, Looking.opened(browser, at) as looking:
        looking.page.keyboard.press("PageDown")
        looking.page.wait_for_url("**page=2")
        assert looking.tiles() == [str(number) for number in range(49, 97)]
        looking.page.locator(".tile").last.click()
        looking.wait_for("96")
        looking.page.keyboard.press("ArrowRight")
        looking.wait_for("97")
        assert looking.query == {"page": ["3"], "picture": ["97"]}
        looking.page.keyboard.press("Escape")
        assert looking.tiles() == ["97", "98", "99", "100"]
        assert looking.errors == []


def test_two_releases_side_by_side(browser: "Browser", releases: Any, workspace: Path) -> None:
    folders = [workspace / "releases" / name for name in ("all", "automatic")]
    with served(folders) as at, Looking.opened(browser, at, "?picture=2") as looking:
        captions = looking.page.locator(".pane-caption").all_inner_texts()
        assert re.fullmatch(r"all: #2, \d+ masks, \d+ only here", captions[0])
        assert re.fullmatch(r"automatic: #\d+, \d+ masks?, 0 only here", captions[1])
        before = looking.page.locator(".layer").nth(2).screenshot()
        looking.page.locator("#zoom-in").click()
        looking.page.locator("#zoom-in").click()
        looking.page.wait_for_timeout(800)
        assert looking.page.locator(".layer").nth(2).screenshot() != before
        told = set()
        for row in looking.page.locator(".masks li").all():
            row.click()
            told.add(looking.page.locator(".record p").first.inner_text())
        assert told == {"Also in automatic", "Not in automatic"}
        looking.page.get_by_role("button", name="automatic", exact=True).click()
        looking.page.wait_for_url("**side=1")
        assert looking.tiles()
        assert looking.errors == []


def test_sending_to_annotators(browser: "Browser", crowded: Path) -> None:
    sent: dict[int, Any] = {}

    def send(made: Any) -> Sent:
        sent.update(made)
        return Sent(1, 1)

    with served([crowded], send=send) as at, Looking.opened(browser, at) as looking:
        for box in looking.page.locator(".mark").all()[:2]:
            box.check(force=True)
        looking.page.reload()
        looking.page.locator("#send-button").click()
        assert "Send 2 pictures back to annotators?" in looking.page.locator("#send").inner_text()
        assert sent == {}
        looking.page.get_by_role("button", name="Send", exact=True).click()
        looking.page.get_by_text("1 picture sent, 1 picture waiting already").wait_for()
        assert sent == {2**62 + 1: (("fully_automatic", 1),), 2**62 + 2: (("fully_automatic", 1),)}
        assert not looking.page.locator("#marked").is_visible()
        assert looking.errors == []


def test_without_a_workspace_it_says_how(looking: Looking) -> None:
    looking.page.locator(".mark").first.check(force=True)
    looking.page.locator("#send-button").click()
    assert "sam-engine release explore crowded --workspace WORK" in looking.page.locator("#send").inner_text()


def test_what_is_not_there_is_said(browser: "Browser", address: str) -> None:
    with Looking.opened(browser, address) as looking:
        looking.page.goto(f"{address}?picture=999")
        looking.page.get_by_text("no picture 999").wait_for()
        looking.page.locator("#number").fill("77777")
        looking.page.keyboard.press("Enter")
        looking.page.get_by_text("crowded has no picture and no mask 77777").wait_for()


def test_500_masks_stay_smooth_under_the_cursor(browser: "Browser", tmp_path: Path) -> None:
    """By what the page works in a frame, which other work of the machine does not change; 16.7 ms are there for it.

    benchmarks/explorer.py measures the frames themselves.
    """
    write_crowded_release(tmp_path / "full", pictures=2, masks=500)
    with served([tmp_path / "full"]) as at, Looking.opened(browser, at, "?picture=1") as looking:
        looking.page.locator(".masks li").nth(499).wait_for(state="attached")
        looking.page.wait_for_timeout(1000)
        assert min(looking.work_of_frames_ms(seconds=1.0) for _ in range(5)) < 12.0
        assert looking.errors == []
