"""Keys and seeds that follow from content alone."""

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass

import numpy as np

from schemas.content_ids import content_id


def content_key(*parts: object) -> str:
    """16 hex digits, 63 bits, that follow from the inputs of a piece of work alone: equal inputs, equal keys.

    parts: what `canonical_text` takes, for example "round", 3, a model id, a config hash, a list of image ids.
    Workspaces hold these keys, and seeds are made of them: they must never change for the same inputs.
    Raises TypeError for anything without a canonical text.
    """
    return f"{content_id(canonical_text(parts).encode()):016x}"


def work_key(*parts: object) -> str:
    """The key of a shard's work: as `content_key`, but of JSON, which other programs can make too.

    parts: None, truth values, numbers, text, bytes; lists, tuples, dicts by text and dataclasses of these. Numbers and
    arrays of numpy count as Python's, tuples as lists; dicts in the order of their names.
    Raises TypeError for anything else.
    """
    text = json.dumps(_json_value(parts), sort_keys=True, separators=(",", ":"))
    return f"{content_id(text.encode()):016x}"


def _json_value(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {type(value).__qualname__: _json_value(named)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no canonical JSON for {type(value).__name__} {value!r:.80}")


def canonical_text(value: object) -> str:
    """One text for equal values: None, truth values, numbers, text, bytes; lists, tuples (named ones too),
    dataclasses and dicts (in their own order) of these. Numbers and arrays of numpy count as Python's.

    It is what `repr` makes of plain values, and not JSON, so that seeds from before are still the same: models,
    releases and samples come out as they were.
    Raises TypeError for anything else, whose `repr` may hold an address in memory or leave out what is long.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    for plain in (bool, int, float, str, bytes):
        if isinstance(value, plain):
            return plain.__repr__(value)  # also of a subclass, such as an enumeration of texts
    if value is None:
        return "None"
    if isinstance(value, list):
        return f"[{_joined(map(canonical_text, value))}]"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{type(value).__name__}({_named(zip(value._fields, value, strict=True))})"
    if isinstance(value, tuple):
        return f"({_joined(map(canonical_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{_joined(f'{canonical_text(key)}: {canonical_text(item)}' for key, item in value.items())}}}"
    if is_dataclass(value) and not isinstance(value, type):
        shown = ((field.name, getattr(value, field.name)) for field in fields(value) if field.repr)
        return f"{type(value).__qualname__}({_named(shown)})"
    raise TypeError(f"no canonical text for {type(value).__name__} {value!r:.80}")


def _named(values: Iterable[tuple[str, object]]) -> str:
    return _joined(f"{name}={canonical_text(value)}" for name, value in values)


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts)
