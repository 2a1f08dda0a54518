"""Tables that users bring: CSV with a header or JSON, one row for each mask or picture."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import InputError

_ONE_LABEL = "group"  # the column of labels that JSON gives without a column


def read_rows(path: Path, keys: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each row's key, its column (the first of `keys` that is there) and the other columns, white space cut off.

    A file that ends in .json has a list of objects, or one object of labels by what is in the last column of `keys`.
    Raises InputError if the file cannot be read, or lacks one of the columns `keys` and another one.
    """
    try:
        with _records(path, keys[-1]) as (columns, rows):
            key = next((name for name in keys if name in columns), "")
            if not key or len(columns) < 2:
                found, asked = ", ".join(columns) or "nothing", " or ".join(keys)
                raise InputError(f"{path}: needs a header with {asked} and at least one other column, found {found}")
            for row in rows:
                values = {name: _text(row.get(name)) for name in columns}
                yield key, values.pop(key), values
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV in UTF-8: {error}") from error


def read_labels(path: Path, keys: Sequence[str]) -> tuple[str, dict[int, dict[str, str]]]:
    """Which of the columns `keys` a table has, and the labels by the whole number in it: {number: {column: label}}.

    Raises InputError as `read_rows`, and for a key that is no whole number or stands there twice.
    """
    found: dict[int, dict[str, str]] = {}
    column = ""
    for column, key, labels in read_rows(path, keys):
        if not key.isdecimal():
            raise InputError(f"{path}: {column} {key!r} is no whole number")
        if int(key) in found:
            raise InputError(f"{path}: {column} {key} stands there twice; give each mask one line")
        found[int(key)] = labels
    if not found:
        raise InputError(f"{path}: no row below its header")
    return column, found


@contextmanager
def _records(path: Path, key: str) -> Iterator[tuple[list[str], Iterable[Mapping[str, Any]]]]:
    """The columns of a table and its rows."""
    if path.suffix.lower() == ".json":
        rows = _json_rows(path, key)
        yield list(dict.fromkeys(name for row in rows for name in row)), rows
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        yield [name for name in reader.fieldnames or [] if name], reader


def _json_rows(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of UTF-8, too
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if isinstance(content, dict):
        content = [{key: name, **_labels(each)} for name, each in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{path}: expected a list of objects, one a row, or an object of labels by {key}")
    nested = [name for row in content for name, value in row.items() if isinstance(value, dict | list)]
    if nested:
        raise InputError(f"{path}: {nested[0]} holds more than one value; give each label a column of its own")
    return content


def _labels(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {_ONE_LABEL: given}


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
