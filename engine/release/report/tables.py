"""Tables that users bring to a report: CSV with a header, one row for each mask or picture."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.errors import InputError


def read_rows(path: Path, keys: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each row's key, its column (the first of `keys` that is there) and the other columns, white space cut off.

    Raises InputError if the file cannot be read or is no CSV with one of the columns `keys` and another one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name for name in reader.fieldnames or [] if name]
            key = next((name for name in keys if name in columns), "")
            if not key or len(columns) < 2:
                found, asked = ", ".join(columns) or "nothing", " or ".join(keys)
                raise InputError(f"{path}: needs a header with {asked} and at least one other column, found {found}")
            for row in reader:
                values = {name: (row[name] or "").strip() for name in columns}
                yield key, values.pop(key), values
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV in UTF-8: {error}") from error
