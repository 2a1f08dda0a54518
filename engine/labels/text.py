"""JSON as people bring it: with a byte order mark, in UTF-16 or Latin-1, compressed by gzip, or one object a line."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from engine.labels.relaxed_json import relaxed
from engine.labels.streamed import streamed_coco
from schemas.errors import InputError

TABLES = (".csv", ".tsv")
_GZIP = b"\x1f\x8b"
csv.field_size_limit(2**31 - 1)  # an outline in a cell may be long
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_label_file(path: Path, mended: Counter[str]) -> Any:
    """What a JSON file holds; a list of records where it has one object a line, or where it is a .csv with a header;
    the root element of an .xml file.

    Of a large COCO file the annotations are a `StreamedAnnotations`, not a list.
    `mended` counts what had to be repaired. Raises InputError if the file cannot be read or is no JSON.
    """
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind not in (*TABLES, ".xml") and (streamed := streamed_coco(path)) is not None:
        return streamed
    try:
        content = _unpacked(path.read_bytes())
        if kind == ".xml":
            return _root(content, path)
        text = _decoded(content, mended)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if kind in TABLES:
        return _table(text, path)
    try:
        return _parsed(text, mended)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


def _root(content: bytes, path: Path) -> ElementTree.Element:
    """Raises InputError where it is no XML; entities from elsewhere are never fetched."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not valid XML: {error}") from error


def _table(text: str, path: Path) -> list[dict[str, Any]]:
    """The lines by the names of the first; tabs and semicolons part cells where the first line has more of them."""
    head = text.partition("\n")[0]
    apart = max(",\t;", key=head.count)
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=apart, restkey=""))
    except csv.Error as error:
        raise InputError(f"{path}: not a table: {error}") from error


def printable(text: str) -> str:
    """The text with lone surrogates, which no table can hold, written out as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unpacked(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(_GZIP) else data


def decoded_text(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or Latin-1. Raises UnicodeDecodeError where it is cut off."""
    return _decoded(data, Counter())


def _decoded(data: bytes, mended: Counter[str]) -> str:
    if data.startswith(_UTF_32):
        mended["text in UTF-32"] += 1
        return data.decode("utf-32")
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
        if error.msg == "Extra data" and len(lines) > 1:
            records = [json.loads(line) for line in lines]
            mended["one JSON object a line"] += 1
            return records
        with suppress(ValueError):
            return relaxed(text, mended)
        raise
