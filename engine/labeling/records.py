"""What is known of one round in the annotation tool: rows of the tables `published` and `collected`, one an image."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.labeling.folder import Scope
from engine.labeling.published import PublishedImage
from engine.store import Store
from schemas.tables import table_of

_BY = ("purpose", "stage", "round", "image_id")


class RoundRecords:
    """The rows of one round of a stage or of an audit."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store, self._scope = store, scope

    def has_image(self, image_id: int) -> bool:
        """Whether the workspace has an image."""
        return self._store.has_image(image_id)

    def published(self, shard: str | None = None) -> dict[int, PublishedImage]:
        """The images as they were published, of one shard or of all; those that were not are left out."""
        return {
            image_id: PublishedImage.from_json(json.loads(row["record"]))
            for image_id, row in self._rows("published", shard).items()
        }

    def published_of(self, image_ids: Sequence[int]) -> dict[int, PublishedImage]:
        """Those of some images that were published."""
        shards = sorted({self._store.shard_of(image_id) for image_id in image_ids})
        found = {image_id: row for shard in shards for image_id, row in self._rows("published", shard).items()}
        return {
            image_id: PublishedImage.from_json(json.loads(found[image_id]["record"]))
            for image_id in image_ids
            if image_id in found
        }

    def put_published(self, images: Sequence[PublishedImage]) -> None:
        """One commit for all of them. Raises InputError if the disk is full."""
        self._put("published", {image.image_id: {"record": _text(image.to_json())} for image in images})

    def collected(self, shard: str | None = None) -> dict[int, dict[str, Any]]:
        """The tasks with their annotations as the tool last gave them, by image."""
        return {image_id: json.loads(row["task"]) for image_id, row in self._rows("collected", shard).items()}

    def put_collected(self, tasks: Mapping[int, dict[str, Any]], *, seen_until: str) -> None:
        """One commit for all of them. seen_until: what `seen_until` gives from now on, if it is later than so far.

        Raises InputError if the disk is full.
        """
        rows = {image_id: {"task": _text(task), "seen_until": seen_until} for image_id, task in tasks.items()}
        self._put("collected", rows)

    def seen_until(self) -> str:
        """The tool's time up to which every change of the round is kept, "" before the first."""
        times = self._store.read_rows("collected", ["seen_until"], **self._columns)["seen_until"].to_pylist()
        return max(times, default="")

    def _rows(self, table: str, shard: str | None) -> dict[int, dict[str, Any]]:
        one_shard = {} if shard is None else {"shard": shard}
        rows = self._store.read_rows(table, **self._columns, **one_shard).to_pylist()
        return {row["image_id"]: row for row in sorted(rows, key=lambda row: int(row["image_id"]))}

    def _put(self, table: str, columns: Mapping[int, Mapping[str, Any]]) -> None:
        rows = [
            {**self._columns, "image_id": image_id, "shard": self._store.shard_of(image_id), **own}
            for image_id, own in columns.items()
        ]
        self._store.put_rows(table, table_of(table, rows), by=_BY)

    @property
    def _columns(self) -> dict[str, Any]:
        return {"purpose": self._scope.purpose, "stage": self._scope.stage, "round": self._scope.round}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
