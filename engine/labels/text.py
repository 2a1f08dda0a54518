"""JSON as people bring it: with a byte order mark, in UTF-16 or Latin-1, compressed by gzip, or one object a line."""

import codecs
import csv
import gzip
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from engine.labels.streamed import streamed_coco
from schemas.errors import InputError

_GZIP = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_label_file(path: Path, mended: Counter[str]) -> Any:
    """What a JSON file holds; a list of records where it has one object a line, or where it is a .csv with a header.

    Of a large COCO file the annotations are a `StreamedAnnotations`, not a list.
    `mended` counts what had to be repaired. Raises InputError if the file cannot be read or is no JSON.
    """
    if path.suffix.lower() != ".csv" and (streamed := streamed_coco(path)) is not None:
        return streamed
    try:
        text = _decoded(_unpacked(path.read_bytes()), mended)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if path.suffix.lower() == ".csv":
        return list(csv.DictReader(text.splitlines()))
    try:
        return _parsed(text, mended)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


def printable(text: str) -> str:
    """The text with lone surrogates, which no table can hold, written out as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unpacked(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(_GZIP) else data


def _decoded(data: bytes, mended: Counter[str]) -> str:
    if data.startswith(_UTF_16):
        mended["text in UTF-16"] += 1
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        mended["text that is no UTF-8 read as Latin-1"] += 1
        return data.decode("latin-1")


def _parsed(text: str, mended: Counter[str]) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if error.msg != "Extra data" or len(lines) < 2:
            raise
        records = [json.loads(line) for line in lines]
        mended["one JSON object a line"] += 1
        return records
