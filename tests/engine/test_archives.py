import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine import archives
from engine.archives import is_archive, unpack
from engine.ingest import ingest
from engine.sources import gather
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.errors import InputError
from tests.pictures import encoded, shapes, write_coco


def packed(folder: Path, archive: Path) -> Path:
    """An archive of all files of a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
            for path in files:
                into.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as tape:
            for path in files:
                tape.add(path, f"./{path.relative_to(folder)}")
    return archive


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ"])
def test_pictures_and_masks_come_out_of_an_archive(name: str, empty_store: Store, tmp_path: Path) -> None:
    write_coco(tmp_path / "in", count=3)
    (tmp_path / "in" / "cut.png").write_bytes(encoded(shapes(0)[0])[:100])
    archive = packed(tmp_path / "in", tmp_path / name)
    for _ in range(2):  # the second time says the same
        report = ingest(empty_store, [archive])
        assert [problem.source for problem in report.rejected] == [f"{archive}/cut.png"]
    assert empty_store.counts()["images"] == 3
    assert empty_store.counts()["ground_truth"] == sum(len(shapes(number)[1]) for number in range(3))
    for row in empty_store.images().to_pylist():
        number = int(Path(row["source"]).stem)
        assert row["source"] == f"{archive}/shapes/{number}.png"
        np.testing.assert_array_equal(empty_store.load_image(row["image_id"]), shapes(number)[0])
    assert empty_store.counts()["rejected"] == 1


def test_where_pictures_stay_in_their_place_archives_are_named(empty_store: Store, tmp_path: Path) -> None:
    write_coco(tmp_path / "in", count=1)
    archive = packed(tmp_path / "in", tmp_path / "a.zip")
    report = ingest(empty_store, [archive], config=ImagesConfig(copy_images=False))
    assert [problem.source for problem in report.rejected] == [str(archive)]
    assert "unpack it" in report.rejected[0].reason
    assert [problem.source for problem in gather([archive], labels=False).problems] == [str(archive)]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.zip").write_bytes(archive.read_bytes())
    (tmp_path / "folder" / "b.png").write_bytes(encoded(shapes(0)[0]))
    (problem,) = gather([tmp_path / "folder"]).problems
    assert "name it itself" in problem.reason


def test_nothing_leaves_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as into:
        into.writestr("../../out.txt", "x")
        into.writestr("/abs.txt", "x")
    unpack(tmp_path / "a.zip", inside)
    with tarfile.open(tmp_path / "b.tar", "w") as tape:
        for name in ("../out.txt",):
            tape.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(InputError, match=r"b\.tar: cannot unpack it"):
        unpack(tmp_path / "b.tar", inside)
    with tarfile.open(tmp_path / "c.tar", "w") as tape:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    unpack(tmp_path / "c.tar", inside)
    assert not (inside / "link").exists()
    assert not (tmp_path / "out.txt").exists()
    assert not Path("/abs.txt").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_damaged_archive_is_one_line(name: str, kept: float, empty_store: Store, tmp_path: Path) -> None:
    write_coco(tmp_path / "in", count=2)
    data = packed(tmp_path / "in", tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(kept * len(data))])
    (problem,) = ingest(empty_store, [tmp_path / name]).rejected
    assert problem.source == str(tmp_path / name)
    assert "\n" not in problem.reason


def test_an_archive_larger_than_the_disk_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "in", count=1)
    archive = packed(tmp_path / "in", tmp_path / "a.zip")
    monkeypatch.setattr(archives, "_FREE_FRAC", 0)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="more than the disk has room for"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_archives_are_known_by_name() -> None:
    assert all(is_archive(Path(name)) for name in ("a.zip", "b.TAR.GZ", "c.tgz", "d.tar.xz"))
    assert not any(is_archive(Path(name)) for name in ("a.json.gz", "b.png", "zip"))


def test_archives_in_an_archive_are_read_one_level_deep(empty_store: Store, tmp_path: Path) -> None:
    write_coco(tmp_path / "in", count=2)
    outer = tmp_path / "outer"
    (outer / "train").mkdir(parents=True)  # has the name that the inner archive would get
    (outer / "train" / "own.png").write_bytes(encoded(shapes(7)[0]))
    packed(tmp_path / "in", outer / "train.tar.gz")
    (outer / "cut.zip").write_bytes(b"PK nothing")
    (outer / "other.rar").write_bytes(b"Rar!")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "more.zip").write_bytes(packed(tmp_path / "in", tmp_path / "more.zip").read_bytes())
    packed(tmp_path / "deep", outer / "deep.tar")
    archive = packed(outer, tmp_path / "all.zip")
    report = ingest(empty_store, [archive])
    assert (report.added, report.masks) == (3, sum(len(shapes(number)[1]) for number in range(2)))
    sources = {row["source"] for row in empty_store.images().to_pylist()}
    assert f"{archive}/train_/shapes/0.png" in sources
    assert f"{archive}/train/own.png" in sources
    assert {problem.source: problem.reason.partition(";")[0].partition(":")[0] for problem in report.rejected} == {
        f"{archive}/cut.zip": "cannot unpack it",
        f"{archive}/deep/more.zip": "an archive in a folder is not unpacked",
        f"{archive}/other.rar": "an archive of a kind that is not read",
    }


def test_an_archive_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(b"7z")
    (problem,) = gather([tmp_path / "a.7z"]).problems
    assert "unpack it and name the folder" in problem.reason
