"""JSON as editors and programs write it that take more than JSON: comments, commas too many, Python's own spelling."""

import ast
import json
import re
import warnings
from collections import Counter
from typing import Any

_MAX_PYTHON = 4 * 2**20  # characters: its tree takes a hundred times as much memory
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_COMMA = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)


def relaxed(text: str, mended: Counter[str]) -> Any:
    """What the text holds without comments and commas before a closing bracket, or as Python writes lists and dicts.

    Raises ValueError where it is neither.
    """
    try:
        found = json.loads(_kept(_COMMA, _kept(_COMMENT, text)))
        mended["comments or commas too many in JSON"] += 1
        return found
    except (ValueError, RecursionError):
        found = _of_python(text)
    mended["lists and dicts as Python writes them"] += 1
    return found


def _kept(pattern: re.Pattern[str], text: str) -> str:
    """The text without what the pattern finds outside of strings."""
    return pattern.sub(lambda found: found[1] or "", text)


def _of_python(text: str) -> Any:
    if len(text) > _MAX_PYTHON or "'" not in text or text.lstrip()[:1] not in ("{", "["):
        raise ValueError("not as Python writes lists and dicts")
    try:
        with warnings.catch_warnings(action="ignore"):
            found = json.loads(json.dumps(ast.literal_eval(text.strip()), default=_of_bytes))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict | list):
        raise ValueError("neither a list nor a dict")
    return found


def _of_bytes(value: Any) -> str:
    """Counts of masks as pycocotools gives them."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    raise TypeError(f"no JSON: {type(value).__name__}")
