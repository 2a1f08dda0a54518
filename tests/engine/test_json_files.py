"""Small JSON files."""

from pathlib import Path

import pytest

from engine.json_files import read_json, write_json
from engine.places import place
from schemas.errors import InputError


def test_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    file = place(tmp_path / "folder" / "values.json")
    assert read_json(file) is None
    assert read_json(file, []) == []
    place(tmp_path / "folder").make_folder()
    write_json(file, {"name": "café", "ids": [1, 2**62]})
    assert read_json(file, []) == {"name": "café", "ids": [1, 2**62]}
    assert file.text().endswith("}\n")
    assert "café" in file.text()


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    file = place(tmp_path / "values.json")
    file.write(b'{"name": ')
    with pytest.raises(InputError, match=r"values\.json: damaged \(.*\); restore it from a backup"):
        read_json(file, {})
    with pytest.raises(InputError, match=r"values\.json: damaged \(.*\); delete it"):
        read_json(file, remedy="delete it")
