"""Small JSON files of a workspace, which are written whole or not at all."""

import json
from typing import Any

from engine.places import Place
from schemas.errors import InputError


def read_json(file: Place, default: Any = None, *, remedy: str = "restore it from a backup") -> Any:
    """What a file holds, `default` where there is none. Raises InputError, with the remedy, for one that is damaged."""
    try:
        return json.loads(file.text())
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise InputError(f"{file}: damaged ({error}); {remedy}") from error


def write_json(file: Place, value: Any) -> None:
    """Raises InputError if the disk is full or not writable."""
    file.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
