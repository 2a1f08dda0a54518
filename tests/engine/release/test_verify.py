"""Verifying finds every kind of damage and names the file and the mask."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.release.build import build_release
from engine.release.tars import describe_file
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig

Members = list[tuple[str, bytes]]


@pytest.fixture(scope="session")
def built(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = shutil.copytree(templates / "filled", tmp_path_factory.mktemp("built") / "workspace")
    return build_release(Store(workspace), config=ReleaseConfig(images_per_tar=4), name="release").path


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "release")


def read_members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]


def rewrite(release: Path, change: Callable[[Members], None]) -> None:
    """Change the members of the first tar and sign the manifest again, so that only the contents are wrong."""
    path = release / "sa_000000.tar"
    members = read_members(path)
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    sign(release)


def sign(release: Path) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    for record in manifest["tars"]:
        for kind in ("tar", "mask_index", "image_index"):
            record[kind] = describe_file(release, record[kind]["name"]).model_dump()
    (release / "manifest.json").write_text(json.dumps(manifest))


def in_first_annotation(change: Callable[[dict[str, Any]], None]) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        name, data = members[1]
        record = json.loads(data)
        change(record["annotations"][0])
        members[1] = (name, json.dumps(record).encode())

    return apply


def in_image(change: Callable[[dict[str, Any]], None]) -> Callable[[Members], None]:
    def apply(members: Members) -> None:
        name, data = members[1]
        record = json.loads(data)
        change(record["image"])
        members[1] = (name, json.dumps(record).encode())

    return apply


def break_counts(annotation: dict[str, Any]) -> None:
    annotation["segmentation"]["counts"] = annotation["segmentation"]["counts"][:-2]


def shift_box(annotation: dict[str, Any]) -> None:
    annotation["bbox"][0] += 1


WRONG_CONTENTS: dict[str, tuple[Callable[[Members], None], str]] = {
    "area": (in_first_annotation(lambda a: a.update(area=a["area"] + 1)), "area is"),
    "bbox": (in_first_annotation(shift_box), "bbox is"),
    "counts": (in_first_annotation(break_counts), "RLE counts"),
    "size of the mask": (
        in_first_annotation(lambda a: a["segmentation"].update(size=[3, 3])),
        "its mask is of size [3, 3]",
    ),
    "predicted IoU": (in_first_annotation(lambda a: a.update(predicted_iou=0.1)), "predicted_iou is 0.1"),
    "point": (in_first_annotation(lambda a: a.update(point_coords=[[0, 0]])), "its prompt differs"),
    "invented point": (
        in_first_annotation(lambda a: a.update(prompt={"box": [1, 1, 2, 2]})),
        "its prompt differs",
    ),
    "unknown mask": (in_first_annotation(lambda a: a.update(id=500)), "mask 500: not in the mask index"),
    "missing key": (in_first_annotation(lambda a: a.pop("area")), "not an SA-1B record"),
    "size of the picture": (in_image(lambda image: image.update(width=7)), "the picture of"),
    "name of the picture": (in_image(lambda image: image.update(file_name="x.jpg")), "file_name is x.jpg"),
    "cut-off picture": (lambda m: m.__setitem__(0, (m[0][0], m[0][1][:-200])), "picture does not decode"),
    "another picture": (lambda m: m.__setitem__(0, (m[0][0], m[2][1])), "the picture is"),
    "no json": (lambda m: m.__setitem__(1, (m[1][0], b"[]")), "not an SA-1B record"),
    "swapped order": (lambda m: m.insert(0, m.pop(1)), "does not stand beside"),
    "missing half": (lambda m: m.__delitem__(-1), "json is missing"),
    "missing image": (lambda m: m.__delitem__(slice(0, 2)), "in the index and not in the tar"),
    "image twice": (lambda m: m.extend(m[:2]), "twice in the tar"),
}


def test_whole_release_has_no_problems_and_every_tar_is_counted(release: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    assert verify_release(release, progress=lambda *step: heard.append(step)) == []
    assert heard == [("verify", 1, 2), ("verify", 2, 2)]


@pytest.mark.parametrize("kind", WRONG_CONTENTS)
def test_wrong_contents_are_named_although_checksums_fit(release: Path, kind: str) -> None:
    change, expected = WRONG_CONTENTS[kind]
    rewrite(release, change)
    problems = verify_release(release)
    assert any(expected in problem for problem in problems), problems
    assert all("sa_000000.tar" in problem and "\n" not in problem for problem in problems)


@pytest.mark.parametrize("kind", ["missing key", "no json", "size of the picture", "bbox", "name of the picture"])
def test_one_fault_is_one_line(release: Path, kind: str) -> None:
    rewrite(release, WRONG_CONTENTS[kind][0])
    problems = verify_release(release)
    assert len({problem.split(": ")[1] for problem in problems}) == 1
    assert len(problems) <= 2  # a wrong box differs from the mask and from the index


def test_single_flipped_byte_is_found_and_told_once(release: Path) -> None:
    path = release / "sa_000001.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    problems = verify_release(release)
    assert len(problems) == 1
    assert "sa_000001.tar: its sha256 is" in problems[0]


def test_truncated_tar_is_found(release: Path) -> None:
    path = release / "sa_000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    assert [problem for problem in verify_release(release) if "3000 bytes, the manifest says" in problem]
    sign(release)
    assert verify_release(release)


@pytest.mark.parametrize("name", ["sa_000000.tar", "index/masks/sa_000001.parquet", "index/images/sa_000000.parquet"])
def test_missing_file_is_named(release: Path, name: str) -> None:
    (release / name).unlink()
    assert verify_release(release) == [f"{release / name}: missing"]


def test_file_that_does_not_belong_is_named(release: Path) -> None:
    (release / "index" / "notes.txt").write_text("x")
    assert verify_release(release) == [f"{release / 'index' / 'notes.txt'}: not in the manifest"]


def test_index_that_disagrees_with_the_tar_is_found(release: Path) -> None:
    path = release / "index" / "masks" / "sa_000000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("area")
    areas = table["area"].to_pylist()
    pq.write_table(table.set_column(place, table.schema.field("area"), [[areas[0] + 1, *areas[1:]]]), path)
    sign(release)
    assert [problem.split(": ")[-1] for problem in verify_release(release)] == ["area or bbox differ from the index"]


def test_broken_index_is_one_line(release: Path) -> None:
    (release / "index" / "masks" / "sa_000000.parquet").write_bytes(b"PAR1")
    sign(release)
    problems = verify_release(release)
    assert len(problems) == 1
    assert "cannot be read with its index" in problems[0]


def test_wrong_totals_are_found(release: Path) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    manifest["masks"] += 1
    manifest["tars"][0]["images"] += 1
    (release / "manifest.json").write_text(json.dumps(manifest))
    problems = verify_release(release)
    assert any("4 images, the manifest says 5" in problem for problem in problems)
    assert any("masks is 36, its tars have 35" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "not a release"),
        ("{", "broken manifest"),
        ("[]", "broken manifest"),
        ('{"format": "x"}', "broken manifest"),
        ('{"format": "sam-data-engine release 1"}', "broken manifest"),
        ('{"format": "sam-data-engine release 10"}', "release 10 is of a newer version; update sam-data-engine"),
    ],
)
def test_folder_without_good_manifest_is_one_problem(release: Path, text: str | None, expected: str) -> None:
    (release / "manifest.json").unlink()
    if text is not None:
        (release / "manifest.json").write_text(text)
    problems = verify_release(release)
    assert len(problems) == 1
    assert expected in problems[0]


def test_a_quick_look_sees_files_and_sizes_and_reads_none(release: Path) -> None:
    assert verify_release(release, quick=True) == []
    tar = release / "sa_000000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    assert verify_release(release, quick=True) == []
    assert len(verify_release(release)) == 1
    tar.write_bytes(content[:-512])
    (release / "index" / "masks" / "sa_000001.parquet").unlink()
    (release / "mine.txt").write_text("")
    problems = verify_release(release, quick=True)
    assert [problem.removeprefix(f"{release}/").partition(":")[0] for problem in problems] == [
        "mine.txt",
        "sa_000000.tar",
        "index/masks/sa_000001.parquet",
    ]
