import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.folders import files_below, is_file
from engine.ingest import ingest
from engine.sources import gather
from engine.store import Store
from tests.pictures import encoded, shapes


def test_hidden_files_are_left_out_and_the_rest_is_sorted(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/x", ".git/3", "b/.cache", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files, left_out = files_below(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in files] == ["a/x", "b/1", "b/2", "c"]
    assert left_out == []


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    _, left_out = files_below(tmp_path)
    assert [(path.name, reason.partition(",")[0]) for path, reason in left_out] == [
        ("broken.png", "a link to nothing"),
        ("link", "a link to a folder is not followed; name the folder itself"),
        ("pipe.png", "a pipe or device"),
    ]


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scandir: Callable[..., object] = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, left_out = files_below(tmp_path)
    assert files == [tmp_path / "a.png"]
    assert left_out == [(tmp_path / "closed", "cannot list the folder: Permission denied")]


def test_a_workspace_in_a_folder_is_not_read_again(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "in" / "w")
    (tmp_path / "in" / "a.png").write_bytes(encoded(shapes(0)[0]))
    for _ in range(2):
        report = ingest(store, [tmp_path / "in"])
        assert [problem.source for problem in report.rejected] == [str(tmp_path / "in" / "w")]
    assert store.counts()["images"] == 1


def test_names_that_no_system_takes_are_no_files(tmp_path: Path) -> None:
    assert not is_file(tmp_path / ("x" * 5000))
    assert not is_file(tmp_path / "a\0b")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(str(path))])
def test_pipes_never_block(make: Callable[[Path], None], tmp_path: Path) -> None:
    for name in ("a.png", "b.json", "c.txt"):
        make(tmp_path / name)
        gathered = gather([tmp_path / name])
        assert gathered.candidates == []
        assert "a pipe or device" in gathered.problems[0].reason


def test_pictures_of_other_kinds_and_further_pages_are_named(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jfif").write_bytes(encoded(shapes(0)[0], "JPEG"))
    (folder / "b.heic").write_bytes(encoded(shapes(1)[0], "HEIF"))
    (folder / "c.DNG").write_bytes(encoded(shapes(2)[0], "TIFF"))
    (folder / "d.jxl").write_bytes(b"")
    (folder / "notes.md").write_text("no picture")
    (folder / "labels.xml").write_text("<annotation/>")
    (folder / "other.json").write_text("{}")
    first, *others = (Image.fromarray(np.full((40, 50), page, dtype=np.uint8)) for page in range(3))
    first.save(folder / "e.tif", save_all=True, append_images=others)
    for _ in range(2):  # the second time says the same
        report = ingest(empty_store, [folder])
        assert {(Path(problem.source).name, problem.kind) for problem in report.rejected} == {
            ("labels.xml", "file"),
            ("other.json", "file"),
            ("c.DNG", "image"),
            ("d.jxl", "image"),
            ("e.tif: pages 2 to 3", "image"),
        }
        assert report.ignored_endings == {".md": 1}
        assert empty_store.counts()["rejected"] == 5
    assert sorted(row["path"].rpartition(".")[2] for row in empty_store.images().to_pylist()) == ["heic", "jpg", "tif"]


def test_files_of_labels_are_no_matter_where_only_pictures_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(shapes(0)[0]))
    (tmp_path / "labels.json").write_text("{}")
    gathered = gather([tmp_path], labels=False)
    assert (gathered.problems, gathered.ignored) == ([], {".json": 1})


def test_lists_of_other_systems_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = ["a b.png", "c.png", "sub/d.png", "e.png"]
    for name in names:
        (tmp_path / name).write_bytes(encoded(shapes(0)[0]))
    lines = ['\ufeff"a b.png"', "'c.png'", "sub\\d.png", f"file://{tmp_path}/e.png", "", "# no"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode())
    gathered = gather([tmp_path / "list.txt"])
    assert gathered.problems == []
    assert [candidate.path for candidate in gathered.candidates] == [tmp_path / name for name in names]
