"""Which modules make file calls of their own, found in their syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

FLOORS = ("schemas", "model", "engine", "stages", "flows")
# Of pathlib.Path; names that other types have too (exists, stat, replace with two arguments) are left out.
_METHODS = {
    *("chmod", "glob", "hardlink_to", "is_dir", "is_file", "iterdir", "mkdir", "open", "read_bytes", "read_text"),
    *("rename", "rglob", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text"),
}
_OF_OS = {
    *("chmod", "close", "fdopen", "fstat", "fsync", "link", "listdir", "makedirs", "mkdir", "open", "pread", "read"),
    *("remove", "removedirs", "rename", "renames", "replace", "rmdir", "scandir", "stat", "symlink", "truncate"),
    *("unlink", "utime", "walk", "write"),
}
_MODULES = {"os": _OF_OS, "shutil": None, "tempfile": None, "fcntl": None}


def file_calls(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of each call that opens, makes, changes, lists or removes files."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := _name(node)):
            yield node.lineno, name


def _name(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" else ""
    if not isinstance(function, ast.Attribute):
        return ""
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if owner in _MODULES:
        names = _MODULES[owner]
        return f"{owner}.{function.attr}" if names is None or function.attr in names else ""
    if owner == "Image" or any(keyword.arg == "fileobj" for keyword in call.keywords):
        return ""  # what is open already
    if owner == "tarfile":
        return f"tarfile.{function.attr}" if function.attr == "open" else ""
    renames = function.attr == "replace" and len(call.args) == 1 and not call.keywords
    return f".{function.attr}" if function.attr in _METHODS or renames else ""


def modules_with_file_calls(root: Path) -> dict[str, list[tuple[int, str]]]:
    """{"engine/store.py": [(line, name), ...]} of all modules of the five floors that have some."""
    found = {}
    for floor in FLOORS:
        for path in sorted((root / floor).rglob("*.py")):
            if calls := sorted(file_calls(path.read_text(encoding="utf-8"))):
                found[path.relative_to(root).as_posix()] = calls
    return found
