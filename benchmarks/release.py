"""What the blur of a release finds, what it takes for faces and plates, and what it costs.

    python -m benchmarks.release DATA

`results/release_faces.json` has, by eye: faces on people drawn at random (`faces`), plates (`plates`), and what was
found on pictures drawn at random (`looked_at`, `found_there`), each a face or not. A face counts as found if at least
three quarters of its box are blurred. Cost: pictures of 2250 x 1500 px are encoded with the blur and without it, in
turn, with a thread a core as a build does; what it adds is the difference.
"""

import io
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from engine.quality.gate_summary import wilson_share
from engine.release.privacy import Anonymizer, PrivateRegion
from engine.release.rendering import one_opencv_thread

Pixels = npt.NDArray[np.uint8]
Box = Sequence[int]
LABELS = Path(__file__).parent / "results" / "release_faces.json"
FOUND_FRAC = 0.75
SMALL_PX = 24.0  # of the square root of a face's box
LARGE_WH = (2250, 1500)
FACES, PLATES = Anonymizer(("faces",)), Anonymizer(("plates",))


@cache
def picture(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def size(box: Box) -> float:
    return math.sqrt((box[2] - box[0]) * (box[3] - box[1]))


def blurred_share(box: Box, regions: Sequence[PrivateRegion]) -> float:
    """Share of a box that is blurred."""
    x0, y0, x1, y1 = box
    inside = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for region in regions:
        left, top, right, bottom = region.box
        inside[max(0, top - y0) : max(0, bottom - y0), max(0, left - x0) : max(0, right - x0)] = True
    return float(inside.mean())


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    return common / (size(one) ** 2 + size(other) ** 2 - common)


def told(what: str, found: Sequence[bool]) -> str:
    share = wilson_share(sum(found), len(found))
    return f"| {what} | {share.count} of {share.total} | {share.frac:.2f} | {share.low:.2f} to {share.high:.2f} |"


def recall(data: Path, labels: dict[str, Any]) -> Iterator[str]:
    yield "| what | found | share | 95 % |\n| --- | --- | --- | --- |"
    faces = labels["faces"]
    for kind in ("frontal", "profile", "covered"):
        of_kind = [face for face in faces if face["kind"] == kind]
        found = [is_found(data, face, FACES) for face in of_kind]
        large = [size(face["box_xyxy"]) > SMALL_PX for face in of_kind]
        yield told(f"{kind}, over 24 px", [hit for hit, is_large in zip(found, large, strict=True) if is_large])
        if not all(large):
            yield told(f"{kind}, smaller", [hit for hit, is_large in zip(found, large, strict=True) if not is_large])
    frontal = [face for face in faces if face["kind"] == "frontal"]
    for target in (24, 16):
        yield told(f"frontal, {target} px in 2250 x 1500", list(found_small(data, frontal, target)))
    yield told("plates", [is_found(data, plate, PLATES) for plate in labels["plates"]])


def is_found(data: Path, label: dict[str, Any], anonymizer: Anonymizer) -> bool:
    regions = anonymizer.regions(picture(data / label["file"]))
    return blurred_share(label["box_xyxy"], regions) >= FOUND_FRAC


def found_small(data: Path, faces: Sequence[dict[str, Any]], target_px: float) -> Iterator[bool]:
    """Whether faces are found that are so small, in pictures laid side by side on large ones."""
    large = [face for face in faces if size(face["box_xyxy"]) > target_px]
    sheet, placed = np.zeros((LARGE_WH[1], LARGE_WH[0], 3), np.uint8), list[Box]()
    left = top = row = 0
    for face in large:
        scale = target_px / size(face["box_xyxy"])
        small = cv2.resize(picture(data / face["file"]), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width, _ = small.shape
        if left + width > LARGE_WH[0]:
            left, top, row = 0, top + row, 0
        if top + height > LARGE_WH[1]:
            yield from judged(sheet, placed)
            sheet, placed, left, top, row = np.zeros_like(sheet), [], 0, 0, 0
        sheet[top : top + height, left : left + width] = small
        x0, y0, x1, y1 = (round(value * scale) for value in face["box_xyxy"])
        placed.append((left + x0, top + y0, left + x1, top + y1))
        left, row = left + width, max(row, height)
    yield from judged(sheet, placed)


def judged(sheet: Pixels, boxes: Sequence[Box]) -> Iterator[bool]:
    regions = FACES.regions(sheet)
    return (blurred_share(box, regions) >= FOUND_FRAC for box in boxes)


def false_boxes(data: Path, labels: dict[str, Any]) -> Iterator[str]:
    """Boxes that show no face, by the judgement on the nearest box of the list; plates are none on these pictures."""
    pictures = labels["looked_at"]
    counts = dict.fromkeys(("face", "unclear", "no face", "not judged"), 0)
    plates = 0
    for name in pictures:
        of_picture = [each for each in labels["found_there"] if each["file"] == name]
        for region in FACES.regions(picture(data / name)):
            near = max(of_picture, key=lambda each: overlap(each["box_xyxy"], region.box), default=None)
            known = near is not None and overlap(near["box_xyxy"], region.box) >= 0.5
            counts[near["is"] if near and known else "not judged"] += 1
        plates += len(PLATES.regions(picture(data / name)))
    wrong = sum(counts[what] for what in counts if what != "face")
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield f"Boxes for faces on {len(pictures)} photographs drawn at random, by eye: {said}."
    yield f"That is at most {wrong / len(pictures):.2f} false boxes a picture; for plates {plates / len(pictures):.2f}."


def cost(data: Path, rounds: int) -> Iterator[str]:
    """Seconds that the blur adds to a picture."""
    names = sorted({face["file"] for face in json.loads(LABELS.read_text())["faces"]})[:16]
    large = [cv2.resize(picture(data / name), LARGE_WH, interpolation=cv2.INTER_CUBIC) for name in names]
    both = Anonymizer(("faces", "plates"))

    def plain(pixels: Pixels) -> None:
        Image.fromarray(pixels).save(io.BytesIO(), format="JPEG", quality=95)

    def hidden(pixels: Pixels) -> None:
        plain(both(pixels)[0])

    workers = os.cpu_count() or 1
    walls: dict[str, list[float]] = {"plain": [], "blurred": []}
    cpus: dict[str, list[float]] = {"plain": [], "blurred": []}
    with one_opencv_thread(), ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(hidden, large[:workers]))
        for _ in range(rounds):
            for name, work in (("plain", plain), ("blurred", hidden)):
                wall, cpu = timed(lambda work=work: list(pool.map(work, large)))
                walls[name].append(wall / len(large))
                cpus[name].append(cpu / len(large))
    for what, times in (("wall", walls), ("processor", cpus)):
        added = [hid - bare for hid, bare in zip(times["blurred"], times["plain"], strict=True)]
        yield (
            f"| {what}, {workers} threads | {median(times['plain']):.3f} | {median(times['blurred']):.3f} | "
            f"{median(added):.3f} | {min(added):.3f} to {max(added):.3f} |"
        )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.")],
    rounds: Annotated[int, typer.Option(min=1, help="Of the measurement of time.")] = 5,
) -> None:
    """Print recall, false boxes and cost of the blur."""
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, OpenCV {cv2.__version__}")
    print(f"{FACES.versions}, {PLATES.versions}\n", flush=True)
    for line in recall(data, labels):
        print(line, flush=True)
    print()
    for line in false_boxes(data, labels):
        print(line, flush=True)
    print("\n| s a picture of 2250 x 1500 px | encoded | blurred and encoded | added | of the rounds |")
    print("| --- | --- | --- | --- | --- |")
    for line in cost(data, rounds):
        print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
