"""What a release holds."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from engine.store import Store
from schemas.config import ReleaseConfig

SMALL_TARS = ReleaseConfig(images_per_tar=3)


def records(folder: Path) -> dict[int, dict[str, Any]]:
    """The json of every image of a release."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    content = json.load(file)
                    found[content["image"]["image_id"]] = content
    return found


def numbers(store: Store, of: str = "mask") -> dict[int, int]:
    """What releases call masks or images by, by the ids of the tables."""
    rows = store.read_table(f"{of}_numbers").to_pylist()
    return {row["content_id"]: row["number"] for row in rows}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def index_rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "index" / kind).to_pylist()
    return rows
