"""The report of a release: concavity of 100,000 masks, and the whole report of a million.

    python benchmarks/release_report.py                     # about ten minutes, 1 GB of disk for a while
    python benchmarks/release_report.py --masks 100000

Masks are blobs of smooth noise in 1500x1000 px pictures. OpenCV's hull of the decoded pixels is timed beside ours on a
part of them, and both have to be equal. The pictures of the release are a few bytes that nobody decodes; its tars and
index are as `release build` writes them.

Exit code 0: hulls are equal, 100,000 masks took at most 40 s and a million masks less than 3 minutes; 1: they did not.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for benchmarks.peers and tests, which are no part of the package

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.peers.report import Report, machine  # noqa: E402
from engine import rle  # noqa: E402
from engine.places import Place, place  # noqa: E402
from engine.release.records import ReleasedImage  # noqa: E402
from engine.release.report.hulls import concavity  # noqa: E402
from engine.release.report.writing import write_release_report  # noqa: E402
from engine.release.tars import describe_file, write_index, write_tar  # noqa: E402
from schemas.config import ReleaseConfig  # noqa: E402
from schemas.mask import Mask  # noqa: E402
from schemas.release import FORMAT, IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest, ReleasedTar  # noqa: E402
from schemas.rle import Rle  # noqa: E402
from schemas.sa1b import Sa1bRecord, image_record  # noqa: E402
from tests.engine.release.index_rows import blank_row  # noqa: E402

HEIGHT, WIDTH = 1000, 1500
PER_PICTURE, PER_TAR = 100, 1000
CONCAVITY_S, REPORT_S = 40.0, 180.0
BESIDE_OPENCV = 200


def drawn_masks(count: int, seed: int = 0) -> list[Rle]:
    """Blobs of many sizes."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        side = int(rng.integers(16, 500))
        noise = cv2.GaussianBlur(rng.random((side, side)), (0, 0), side / rng.uniform(4, 15))
        blob = noise > np.quantile(noise, rng.uniform(0.3, 0.8))
        y, x = int(rng.integers(0, HEIGHT - side)), int(rng.integers(0, WIDTH - side))
        found.append(rle.encode_at(blob, x0=x, y0=y, height=HEIGHT, width=WIDTH))
    return found


def opencv_concavity(mask: Rle) -> float:
    """As the paper defines it, from all pixels of the decoded mask."""
    rows, columns = np.nonzero(rle.decode(mask))
    pixels = np.stack([columns, rows], axis=1).astype(np.int32)
    corners = np.concatenate([pixels + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return 1 - len(pixels) / cv2.contourArea(cv2.convexHull(corners.astype(np.int32)))


def write_release(folder: Place, masks: list[Mask], *, pictures: int) -> None:
    """A release of so many pictures with `PER_PICTURE` of these masks each."""
    for kind in ("masks", "images"):
        (folder / "index" / kind).make_folder()
    starts = range(0, pictures, PER_TAR)
    tars = tuple(_write_tar(folder, masks, number, start, pictures) for number, start in enumerate(starts))
    manifest = Manifest(
        format=FORMAT,
        name="synthetic",
        key="0" * 16,
        stages=("fully_automatic",),
        table_versions={},
        config=ReleaseConfig(),
        images=pictures,
        masks=pictures * PER_PICTURE,
        masks_lost=0,
        images_without_masks=0,
        tars=tars,
    )
    (folder / MANIFEST_FILE).write(manifest.model_dump_json().encode())


def _write_tar(folder: Place, masks: list[Mask], number: int, start: int, pictures: int) -> ReleasedTar:
    stem = f"sa_{number:06d}"
    rows: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []

    def released() -> Iterator[ReleasedImage]:
        for image_id in range(start, min(start + PER_TAR, pictures)):
            one = _picture(masks, image_id, f"{stem}.tar")
            rows.extend(one.masks)
            images.append(one.image)
            yield one

    names = [f"{stem}.tar", f"index/masks/{stem}.parquet", f"index/images/{stem}.parquet"]
    write_tar(folder / names[0], released())
    write_index(folder / names[1], rows, MASK_INDEX)
    write_index(folder / names[2], images, IMAGE_INDEX)
    tar, mask_index, image_index = (describe_file(folder, name) for name in names)
    return ReleasedTar(
        tar=tar, mask_index=mask_index, image_index=image_index, images=len(images), masks=len(rows), masks_lost=0
    )


def _picture(masks: list[Mask], image_id: int, tar: str) -> ReleasedImage:
    chosen = [masks[(image_id * 37 + place) % len(masks)] for place in range(PER_PICTURE)]
    ids = [image_id * PER_PICTURE + place for place in range(PER_PICTURE)]
    picture = image_record(image_id=image_id, width=WIDTH, height=HEIGHT, file_name=f"sa_{image_id}.jpg")
    annotations = [mask.to_sa1b(mask_id) for mask_id, mask in zip(ids, chosen, strict=True)]
    record = Sa1bRecord.model_construct(image=picture, annotations=annotations)
    row = blank_row(MASK_INDEX) | {"image_id": image_id, "tar": tar}
    row |= {"stage": "fully_automatic", "round": 1, "origin": "automatic"}
    rows = [
        row
        | {
            "id": mask_id,
            "content_id": mask_id,
            "area": mask.area,
            "bbox_xyxy": mask.box,
            "crop_box_xyxy": mask.crop_box,
        }
        | {"predicted_iou": 0.9, "stability_score": 0.96}
        for mask_id, mask in zip(ids, chosen, strict=True)
    ]
    image = blank_row(IMAGE_INDEX) | {"image_id": image_id, "tar": tar, "file_name": f"sa_{image_id}.jpg"}
    image |= {"width": WIDTH, "height": HEIGHT, "masks": PER_PICTURE}
    return ReleasedImage(f"sa_{image_id}", b"picture", record.to_json(), rows, image)


def measure_concavity(report: Report, masks: list[Rle], count: int) -> bool:
    concavity(masks[:1])  # compiles
    many = [masks[place % len(masks)] for place in range(count)]
    start = time.perf_counter()
    concavity(many)
    ours = time.perf_counter() - start
    some = masks[:BESIDE_OPENCV]
    start = time.perf_counter()
    theirs = np.array([opencv_concavity(mask) for mask in some])
    opencv = (time.perf_counter() - start) * count / len(some)
    equal = bool(np.abs(theirs - concavity(some)).max() < 1e-12)
    rows = [
        [f"{count:,} masks from their RLE", f"{ours:.1f}"],
        ["the same decoded, by OpenCV (from a part)", f"{opencv:.0f}"],
    ]
    report.table(["concavity of", "seconds"], rows)
    report.note(f"equal on {len(some)} masks: {'yes' if equal else 'NO'}; allowed: {CONCAVITY_S:g} s for 100,000 masks")
    return equal and ours * 100_000 / count <= CONCAVITY_S


def measure_report(report: Report, masks: list[Rle], count: int, folder: Path) -> bool:
    write_release(place(folder / "release"), [rle.measured(mask) for mask in masks], pictures=count // PER_PICTURE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    files = write_release_report(folder / "release", folder / "report")
    took = time.perf_counter() - start
    sampled = sum(files.values["concavity"]["masks_per_bin"].values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report.table(
        ["report of", "seconds", "concavity measured on", "peak memory, MB", "of that before it began"],
        [[f"{count:,} masks", f"{took:.0f}", f"{sampled:,}", f"{peak / 1024:.0f}", f"{before / 1024:.0f}"]],
    )
    report.note(f"allowed: {REPORT_S:g} s for a million masks")
    return took * 1_000_000 / count < REPORT_S or took < REPORT_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=1_000_000, help="of the release")
    parser.add_argument("--output", type=Path, help="also write the tables as Markdown")
    asked = parser.parse_args()
    report = Report(markdown=["# The report of a release"])
    report.facts(machine(["benchmarks/release_report.py", *sys.argv[1:]], ["numba", "pyarrow", "matplotlib"]))
    masks = drawn_masks(2_000)
    report.title("Concavity")
    good = measure_concavity(report, masks, 100_000)
    report.title("Report")
    with tempfile.TemporaryDirectory() as folder:
        good &= measure_report(report, masks, asked.masks, Path(folder))
    if asked.output:
        asked.output.write_text("\n".join(report.markdown).strip() + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
