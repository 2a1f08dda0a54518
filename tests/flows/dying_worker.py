"""A worker of the first stage whose process dies where its workspace says so."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from schemas.stages import Stage
from stages.assisted_manual import AssistedManualWorker
from stages.records import ShardRows


class DyingWorker(AssistedManualWorker):
    """Dies whenever it works on an image of the file `killers`, and at the steps that `deaths` counts, once each.

    A step is: before the rows of a shard are made, before they are committed, after that. With a file `slow` it waits
    in front of each shard, and leaves the number of its process in the folder `pids`.
    """

    stage: Stage = "assisted_manual"

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        self._step()
        if set(image_ids) & set(_numbers(self._file("killers"))):
            _die()
        if self._file("slow").exists():
            self._file("pids").mkdir(exist_ok=True)
            (self._file("pids") / str(os.getpid())).write_text(os.environ.get("RAY_NODE_NAME", ""))
            time.sleep(1.0)
        rows = super().make_rows(shard, image_ids)
        self._step()
        return rows

    def _commit(self, shard: str, rows: ShardRows, key: str, *, left_out: Sequence[int] = ()) -> None:
        super()._commit(shard, rows, key, left_out=left_out)
        self._step()

    def _step(self) -> None:
        """Count a step of all processes together; die where it is one of those."""
        for number in _numbers(self._file("deaths"))[:1]:
            if number > 0:
                self._file("deaths").write_text(" ".join(map(str, [number - 1, *_numbers(self._file("deaths"))[1:]])))
            else:
                self._file("deaths").write_text(" ".join(map(str, _numbers(self._file("deaths"))[1:])))
                _die()

    def _file(self, name: str) -> Path:
        return self.workspace.root.on_disk() / name


def _numbers(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
