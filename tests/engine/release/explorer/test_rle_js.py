"""The page's decoder of masks is pycocotools', bit for bit; it runs in the Node that Playwright's package brings."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import engine.release.explorer

pytest.importorskip("playwright", reason="the extra [test] brings it")
PAGE = Path(str(engine.release.explorer.__file__)).parent / "page"
SIZES = [(1, 1), (1, 9), (9, 1), (7, 5), (40, 60), (61, 33), (200, 150)]


def node(script: str, given: Any) -> Any:
    """What `script` prints as JSON; in it `given` is what was given, `rle` and `paint` are the modules."""
    from playwright._impl._driver import compute_driver_executable

    program, *_ = compute_driver_executable()
    head = "".join(f'import * as {name} from "{(PAGE / name).as_uri()}.js";\n' for name in ("rle", "paint"))
    head += 'import { readFileSync } from "node:fs";\nconst given = JSON.parse(readFileSync(0, "utf-8"));\n'
    done = subprocess.run(
        [program, "--input-type=module", "-e", head + script],
        input=json.dumps(given), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drawn(height: int, width: int, seed: int) -> list[np.ndarray]:
    """Masks of every kind: noise, blocks, stripes across columns, all and nothing."""
    rng = np.random.default_rng(seed)
    masks = [rng.random((height, width)) < share for share in (0.02, 0.5, 0.98)]
    blocks = np.zeros((height, width), dtype=bool)
    for _ in range(4):
        y, x = rng.integers(0, height), rng.integers(0, width)
        blocks[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] ^= True
    columns = np.zeros((height, width), dtype=bool)
    columns[:, :: max(1, width // 3)] = True
    return [*masks, blocks, columns, np.ones((height, width), dtype=bool), np.zeros((height, width), dtype=bool)]


def encoded(masks: list[np.ndarray]) -> list[str]:
    return [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode() for mask in masks]


@pytest.fixture(scope="module")
def cases() -> list[tuple[np.ndarray, dict[str, Any]]]:
    masks = [mask for seed, (height, width) in enumerate(SIZES) for mask in drawn(height, width, seed)]
    return [
        (mask, {"counts": counts, "height": mask.shape[0], "width": mask.shape[1]})
        for mask, counts in zip(masks, encoded(masks), strict=True)
    ]


def test_pixels_are_those_of_pycocotools(cases: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    script = """
const found = given.map(({ counts, height, width }) =>
  Array.from(rle.toPixels(rle.decodeCounts(counts, height * width), height, width)).join(""));
console.log(JSON.stringify(found));"""
    for (mask, case), pixels in zip(cases, node(script, [case for _, case in cases]), strict=True):
        theirs = coco_mask.decode({"size": [case["height"], case["width"]], "counts": case["counts"].encode()})
        np.testing.assert_array_equal(theirs, mask)
        assert pixels == "".join(map(str, theirs.ravel()))


def test_the_pixel_under_the_cursor(cases: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    script = """
const found = given.map(({ counts, height, width }) => {
  const ends = rle.decodeCounts(counts, height * width), rows = [];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) rows.push(+rle.contains(ends, height, x, y));
  return rows.join("");
});
console.log(JSON.stringify(found));"""
    for (mask, _), pixels in zip(cases, node(script, [case for _, case in cases]), strict=True):
        assert pixels == "".join(map(str, mask.astype(int).ravel()))


def test_outlines_go_around_the_mask(cases: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    """Their area is that of the mask (holes count against it), their length that of all edges between in and out."""
    script = """
console.log(JSON.stringify(given.map(({ counts, height, width }) =>
  rle.outline(rle.decodeCounts(counts, height * width), height))));"""
    for (mask, _), rings in zip(cases, node(script, [case for _, case in cases]), strict=True):
        area = length = 0.0
        for ring in rings:
            x, y = np.array(ring).reshape(-1, 2).T
            area += (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
            length += (np.abs(np.roll(x, -1) - x) + np.abs(np.roll(y, -1) - y)).sum()
        padded = np.pad(mask, 1).astype(int)
        edges = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
        assert (area, length) == (mask.sum(), edges)


def test_the_smallest_is_painted_last(cases: list[tuple[np.ndarray, dict[str, Any]]]) -> None:
    masks = drawn(61, 33, 9)
    script = """
const masks = given.counts.map(counts => rle.decodeCounts(counts, 61 * 33));
const ids = paint.paintIds([...masks, null], 61, 33, 61, 33);
const fills = Uint32Array.from(given.fills), borders = Uint32Array.from(given.borders);
const colours = paint.colourIds(ids, 61, 33, fills, borders);
console.log(JSON.stringify({ ids: Array.from(ids), colours: Array.from(colours) }));"""
    numbers = list(range(len(masks) + 2))
    given = {"counts": encoded(masks), "fills": numbers, "borders": [100 + number for number in numbers]}
    painted = node(script, given)
    expected = np.zeros((61, 33), dtype=int)
    for number, mask in enumerate(masks, start=1):
        expected[mask] = number
    np.testing.assert_array_equal(np.array(painted["ids"]).reshape(33, 61).T, expected)
    colours = np.array(painted["colours"]).reshape(61, 33)
    np.testing.assert_array_equal(colours % 100, expected)
    around = np.pad(expected, 1, mode="edge")
    inside = (
        (around[:-2, 1:-1] == expected) & (around[2:, 1:-1] == expected)
        & (around[1:-1, :-2] == expected) & (around[1:-1, 2:] == expected)
    )  # fmt: skip
    np.testing.assert_array_equal(colours >= 100, ~inside & (expected > 0))


def test_painting_at_another_size_takes_the_pixels_in_the_middle() -> None:
    (mask, *_) = drawn(60, 90, 3)[3:]
    script = """
console.log(JSON.stringify(Array.from(
  paint.paintIds([rle.decodeCounts(given, 60 * 90)], 60, 90, 20, 30))));"""
    painted = np.array(node(script, encoded([mask])[0])).reshape(30, 20).T
    np.testing.assert_array_equal(painted, mask[1::3, 1::3])


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ("", "fill 0 of"),
        ("0", "fill 0 of"),
        ("d2", "fill 84 of"),
        ("d4", "does not fit"),
        ("N", "does not fit"),
        ("PPP1", "does not fit"),
        ("`", "broken counts"),
        ("~", "broken counts"),
        (" ", "broken counts"),
        ("oooooooo", "broken counts"),
        ("`````````0", "broken counts"),
    ],
)
def test_broken_counts_are_told(counts: str, line: str) -> None:
    script = """
let told = "nothing";
try { rle.decodeCounts(given, 100); } catch (error) { told = error.message; }
console.log(JSON.stringify(told));"""
    assert line in node(script, counts)
