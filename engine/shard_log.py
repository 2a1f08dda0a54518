"""The log of a Delta table on this machine's disk, followed commit by commit.

deltalake goes through all files of a table with each commit: at 11,000 shards that is four times the work of replacing
one. What a shard needs is little: its files, and which work was committed last. Both are kept here, brought up to date
by the commits that came since, and a commit is written as the protocol says (Delta Lake's PROTOCOL.md, "Delta Log
Entries"): a new file under the next number, which only one writer can make.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from engine.places import LocalPlace
from model.files import write_new

CHECKPOINT_EVERY = 100  # commits


class LiveFile(NamedTuple):
    """path: below the table's folder. size: in bytes. statistics: JSON, as the log has it."""

    path: str
    size: int
    statistics: str | None

    def may_hold(self, values: Mapping[str, str | int]) -> bool:
        """False where the statistics say that no row has these values in these columns."""
        known = json.loads(self.statistics or "{}")
        lowest, highest = known.get("minValues", {}), known.get("maxValues", {})
        return all(lowest[name] <= value <= highest[name] for name, value in values.items() if name in lowest)


@dataclass
class _State:
    """version: of the last commit that was read, -1 before the first. columns: of the table."""

    version: int = -1
    files: dict[str, dict[str, LiveFile]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    columns: frozenset[str] = frozenset()


class ShardLog:
    """Files and committed work of each shard. Not safe to use from several threads at once."""

    def __init__(self, table: Path, partition: str) -> None:
        self._log = LocalPlace(table) / "_delta_log"
        self._prefix = f"{partition}="
        self._partition = partition
        self._state = _State()

    @property
    def version(self) -> int:
        """Of the last commit that was read."""
        return self._state.version

    def latest_version(self) -> int:
        """Of the table now, without reading what its commits say; -1 where there is no table."""
        version = self._state.version if self._commit(self._state.version).exists() else self._checkpointed()
        while self._commit(version + 1).exists():
            version += 1
        return version

    @property
    def columns(self) -> frozenset[str]:
        """Of the table as it is stored."""
        return self._state.columns

    def shards(self) -> list[str]:
        """Those that have files, sorted."""
        return sorted(shard for shard, files in self._state.files.items() if files)

    def files(self, shard: str) -> list[LiveFile]:
        return [self._state.files.get(shard, {})[path] for path in sorted(self._state.files.get(shard, {}))]

    def number(self, app_id: str) -> int | None:
        """The number last committed under `app_id`, or None."""
        return self._state.numbers.get(app_id)

    def refresh(self) -> None:
        """Read the commits that came since."""
        if self._state.version < 0 or not self._commit(self._state.version).exists():
            self._state = self._from_checkpoint()
        while (actions := self._read(self._state.version + 1)) is not None:
            self._apply(actions)
            self._state.version += 1

    def write(self, actions: Iterable[Mapping[str, Any]]) -> bool:
        """Commit on top of what was read last. False where another writer's commit has come since."""
        about = {"timestamp": now_ms(), "operation": "WRITE", "operationParameters": {"mode": "Overwrite"}}
        lines = [{"commitInfo": about | {"engineInfo": "sam-data-engine"}}, *actions]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        return write_new(self._commit(self._state.version + 1).path, text.encode())

    def _commit(self, version: int) -> LocalPlace:
        return self._log / f"{version:020d}.json"

    def _read(self, version: int) -> list[dict[str, Any]] | None:
        try:
            text = self._commit(version).text()
        except FileNotFoundError:
            return None
        return [json.loads(line) for line in text.splitlines() if line]

    def _apply(self, actions: Iterable[Mapping[str, Any]]) -> None:
        for action in actions:
            if "add" in action:
                self._add(action["add"]["path"], action["add"]["size"], action["add"].get("stats"))
            elif "remove" in action:
                path = unquote(action["remove"]["path"])
                self._state.files.get(self._shard(path), {}).pop(path, None)
            elif "txn" in action:
                self._state.numbers[action["txn"]["appId"]] = action["txn"]["version"]
            elif "metaData" in action:
                fields = json.loads(action["metaData"]["schemaString"])["fields"]
                self._state.columns = frozenset(each["name"] for each in fields)

    def _add(self, path: str, size: int, statistics: str | None) -> None:
        path = unquote(path)
        self._state.files.setdefault(self._shard(path), {})[path] = LiveFile(path, size, statistics)

    def _shard(self, path: str) -> str:
        return path.rpartition("/")[0].rpartition("/")[2].removeprefix(self._prefix)

    def _checkpointed(self) -> int:
        """The version of the last checkpoint, -1 without one."""
        try:
            return int(json.loads((self._log / "_last_checkpoint").text())["version"])
        except (OSError, KeyError, ValueError):
            return -1

    def _from_checkpoint(self) -> _State:
        """What the last checkpoint holds; nothing where there is none of one file, and all commits are to be read."""
        state, before = _State(), self._state
        version = self._checkpointed()
        try:
            file = (self._log / f"{version:020d}.checkpoint.parquet").on_disk()
            rows = pq.read_table(file, columns=["add", "txn", "metaData"])
        except (OSError, KeyError, ValueError, pa.ArrowInvalid):
            return state
        self._state = state
        try:
            self._apply(_actions(rows))
        finally:
            self._state = before
        state.version = version
        return state


def _actions(checkpoint: pa.Table) -> Iterator[dict[str, Any]]:
    """The actions of a checkpoint that count here."""
    for name, wanted in (
        ("add", ("path", "size", "stats")),
        ("txn", ("appId", "version")),
        ("metaData", ("schemaString",)),
    ):
        column = checkpoint[name].combine_chunks()
        column = column.filter(column.is_valid())
        parts = [column.field(part).to_pylist() for part in wanted]
        for values in zip(*parts, strict=True):
            yield {name: dict(zip(wanted, values, strict=True))}


def now_ms() -> int:
    return int(time.time() * 1000)
