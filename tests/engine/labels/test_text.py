import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from engine.labels.text import printable, read_label_file
from schemas.errors import InputError

CONTENT = {"name": "caf\u00e9", "numbers": [1, 2]}
TEXT = json.dumps(CONTENT, ensure_ascii=False)


@pytest.mark.parametrize(
    ("data", "mended"),
    [
        (TEXT.encode(), {}),
        (TEXT.encode("utf-8-sig"), {}),
        (TEXT.encode("utf-16"), {"text in UTF-16": 1}),
        (TEXT.encode("utf-32"), {"text in UTF-32": 1}),
        (TEXT.encode("latin-1"), {"text that is no UTF-8 read as Latin-1": 1}),
        (gzip.compress(TEXT.encode("utf-8-sig"), mtime=0), {}),
    ],
)
def test_every_encoding_gives_the_same_content(tmp_path: Path, data: bytes, mended: dict[str, int]) -> None:
    path, done = tmp_path / "a.json", Counter[str]()
    path.write_bytes(data)
    assert read_label_file(path, done) == CONTENT
    assert done == mended


def test_an_object_a_line_and_a_table(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text('{"a": 1}\n\n{"a": 2}\n')
    table.write_text("a,b\n1,x\n")
    assert read_label_file(lines, Counter()) == [{"a": 1}, {"a": 2}]
    assert read_label_file(table, Counter()) == [{"a": "1", "b": "x"}]


@pytest.mark.parametrize("apart", [",", "\t", ";"])
def test_tables_whatever_parts_their_cells(tmp_path: Path, apart: str) -> None:
    table, long = tmp_path / "a.csv", "x" * 200_000
    table.write_text(f'a{apart}b\n1{apart}"two\nlines, {long}"\n', newline="")
    assert read_label_file(table, Counter()) == [{"a": "1", "b": f"two\nlines, {long}"}]


@pytest.mark.parametrize(
    "data", [b"{", b'{"a": 1}\n{', gzip.compress(b'{"a": 1}' * 99, mtime=0)[:30], b"\xff\xfe\x00", b""]
)
def test_what_is_no_json_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.json: not valid JSON: ") as caught:
        read_label_file(path, Counter())
    assert "\n" not in str(caught.value)


def test_lone_surrogates_are_written_out() -> None:
    assert printable("cat \ud83d, \u00e9") == "cat \\ud83d, \u00e9"
