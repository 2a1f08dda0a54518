import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from engine.labels.pictures import PictureFinder
from schemas.errors import InputError


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def find(root: Path, *names: str, whole_folder: bool = False) -> dict[str, Path | InputError]:
    return PictureFinder(root, whole_folder=whole_folder).find_all(names, beside=root, mended=Counter())


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "C:\\Users\\x\\photos\\a.jpg"),
        ("train/a.jpg", "train\\a.jpg"),
        ("my photo(1).jpg", "my%20photo%281%29.jpg"),
        ("a.jpg", "http://images.example.org/val2017/a.jpg?size=2"),
        ("a.jpg", "http://[x/a.jpg"),
        ("0a1b-a.jpg", "/data/upload/1/0a1b-a.jpg"),
        ("some/a.jpg", "/data/local-files/?d=some/a.jpg"),
        ("a.jpg", "A.JPG"),
        (unicodedata.normalize("NFD", "\u00e9.jpg"), "\u00e9.jpg"),
        ("a.png", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("images/default/a.jpg", "a.jpg"),
        ("data/a.jpg", "/home/x/fiftyone/a.jpg"),
        ("100%.jpg", "100%.jpg"),
    ],
)
def test_names_of_other_machines(tmp_path: Path, there: str, name: str) -> None:
    put(tmp_path, there)
    assert find(tmp_path, name) == {name: tmp_path / there}


def test_the_longest_agreement_wins(tmp_path: Path) -> None:
    put(tmp_path, "images/x/a.jpg", "images/y/a.jpg")
    assert find(tmp_path, "z/y/a.jpg")["z/y/a.jpg"] == tmp_path / "images" / "y" / "a.jpg"


def test_names_that_several_pictures_fit_list_them(tmp_path: Path) -> None:
    put(tmp_path, "images/x/a.jpg", "images/y/a.jpg")
    found = str(find(tmp_path, "a.jpg")["a.jpg"])
    assert "2 pictures fit" in found
    assert "images/x/a.jpg" in found
    assert "images/y/a.jpg" in found


@pytest.mark.parametrize("names", [("val/a.jpg", "a.jpg"), ("a.jpg", "val/a.jpg")])
def test_one_picture_does_not_stand_for_two(tmp_path: Path, names: tuple[str, str]) -> None:
    put(tmp_path, "a.jpg")
    found = find(tmp_path, *names)
    assert found["a.jpg"] == tmp_path / "a.jpg"
    assert "fits, which is a.jpg" in str(found["val/a.jpg"])


@pytest.mark.parametrize("name", ["../secret.jpg", "{outside}/secret.jpg", "link.jpg", "file:///../secret.jpg"])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_nothing_outside_the_folder_is_found(tmp_path: Path, name: str, whole_folder: bool) -> None:
    root, name = tmp_path / "root", name.format(outside=tmp_path)
    root.mkdir()
    put(tmp_path, "secret.jpg")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert isinstance(find(root, name, whole_folder=whole_folder)[name], InputError)


def test_other_subfolders_are_searched_for_whole_folders_alone(tmp_path: Path) -> None:
    put(tmp_path, "anything/a.jpg")
    assert isinstance(find(tmp_path, "a.jpg")["a.jpg"], InputError)
    assert find(tmp_path, "a.jpg", whole_folder=True)["a.jpg"] == tmp_path / "anything" / "a.jpg"


@pytest.mark.parametrize("name", ["x" * 5000 + ".jpg", "b\ud83d.jpg", "/", ".."])
def test_names_that_no_file_can_have_are_not_found(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.jpg")
    assert isinstance(find(tmp_path, name)[name], InputError)


def test_a_picture_that_holds_masks_does_not_stand_for_the_one_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    masks = frozenset({tmp_path / "a.png"})
    found = PictureFinder(tmp_path).find_all(["a.jpg"], beside=tmp_path, mended=Counter(), mask_files=masks)
    assert "holds masks" in str(found["a.jpg"])


def test_of_several_pictures_the_one_that_the_label_file_tells(tmp_path: Path) -> None:
    for subset in ("train", "val"):
        (tmp_path / "images" / subset).mkdir(parents=True)
        (tmp_path / "images" / subset / "a.png").write_bytes(b"x")
    finder = PictureFinder(tmp_path, whole_folder=True)
    (tmp_path / "annotations").mkdir()
    for subset in ("train", "val"):
        found = finder.find_all(["a.png"], beside=tmp_path / "annotations", mended=Counter(), of=f"instances_{subset}")
        assert found == {"a.png": tmp_path / "images" / subset / "a.png"}
    unclear = finder.find_all(["a.png"], beside=tmp_path / "annotations", mended=Counter(), of="instances_test")[
        "a.png"
    ]
    assert "2 pictures fit" in str(unclear)


def test_labels_and_pictures_in_folders_of_the_same_names(tmp_path: Path) -> None:
    for folder in ("img/x", "img/y", "json/x"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("x", "y"):
        (tmp_path / "img" / folder / "a.png").write_bytes(b"x")
    finder = PictureFinder(tmp_path, whole_folder=True)
    found = finder.find_all(["a.png"], beside=tmp_path / "json" / "x", mended=Counter(), of="json/x/a.json")
    assert found == {"a.png": tmp_path / "img" / "x" / "a.png"}


def test_names_in_latin_1_on_the_disk(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(b"x")
    found = PictureFinder(tmp_path).find_all(["caf\u00e9.png"], beside=tmp_path, mended=Counter())
    assert found == {"caf\u00e9.png": path}
