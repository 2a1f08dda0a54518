"""Pictures to take in, and what is in a workspace then."""

from pathlib import Path
from typing import Any

from engine.store import Store
from tests.pictures import encoded, shapes


def write_pictures(folder: Path, count: int, *, first_seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(shapes(first_seed + number)[0]))
    return paths


def contents(store: Store) -> dict[str, Any]:
    """Everything a reader can see, in one order."""
    tables = {name: store.read_table(name).to_pylist() for name in store.counts()}
    return {name: sorted(map(repr, rows)) for name, rows in tables.items()}
