"""An ingest that is killed, or out of room: whole in the end, and nothing half before."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.ingest import ingest
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.content_ids import content_id
from tests.engine.ingested import contents, write_pictures
from tests.faults import Disk
from tests.pictures import encoded, write_coco

_ROOT = Path(__file__).resolve().parents[2]


_INGEST = """
import sys
from pathlib import Path
from engine.ingest import ingest
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.errors import InputError
print("ready", flush=True)
try:
    store = Store.create(Path(sys.argv[1]))
    ingest(store, [Path(sys.argv[2])], config=ImagesConfig(shard_size=4))
except InputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.faults
def test_a_killed_ingest_is_finished_by_the_next(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "in", count=60)
    whole = Store.create(tmp_path / "whole")
    ingest(whole, [coco], config=ImagesConfig(shard_size=4))
    cut_short = 0
    for files in (0, 1, 5, 18, 41):
        workspace = tmp_path / f"killed{files}"
        command = [sys.executable, "-c", _INGEST, str(workspace), str(coco)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout
        process.stdout.readline()
        while process.poll() is None and len(list((workspace / "images").glob("*/*"))) < files:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = Store.create(workspace)
        cut_short += store.counts()["images"] < 60
        for row in store.images().to_pylist():
            assert content_id(store.picture(row).read()) == row["image_id"]
        ingest(store, [coco], config=ImagesConfig(shard_size=4))
        assert contents(store) == contents(whole)
        assert not list((workspace / "images").rglob(".*"))
    assert cut_short >= 4


@pytest.mark.faults
def test_a_full_disk_ends_an_ingest_in_one_line_and_more_room_finishes_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(12):
        data = encoded(noise.integers(0, 255, size=(200, 200, 3), dtype=np.uint8))
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    disk = tmp_path / "disk"
    disk.mkdir()
    run = f'"{sys.executable}" -c "$1" "{disk}/w" "{tmp_path}/in"'
    room = f'mount -t tmpfs -o size=1m none "{disk}" && {{ {run}; echo "rc $?"; ls -A "{disk}/w/images/000000"; '
    script = room + f'mount -o remount,size=8m "{disk}"; {run}; echo "rc $?"; ls "{disk}"/w/images/* ; }}'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", _INGEST]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(_ROOT)}, check=False
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"needs a small disk of its own: {done.stderr.strip()}")
    first, _, second = done.stdout.partition("rc 2\n")
    assert f"{disk}/w/" in first
    assert ": the disk is full; free some space" in first
    assert ".tmp" not in second.partition("ready")[0]
    assert "rc 0" in second
    assert second.partition("rc 0")[2].count(".png") == 12


def test_pictures_are_on_the_disk_before_the_table_names_them(
    empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, kept, replace_shard = Disk(empty_store.workspace / "images"), [], empty_store.replace_shard

    def replace(table: str, shard: str, rows: pa.Table, *, key: str) -> bool:
        if table == "images":
            on_disk: dict[str, Any] = disk.after_power_cut("synced")
            kept.extend(on_disk[shard].get(Path(row["path"]).name) for row in rows.to_pylist())
        return replace_shard(table, shard, rows, key=key)

    monkeypatch.setattr(empty_store, "replace_shard", replace)
    pictures = write_pictures(tmp_path / "in", 5)
    with disk.watched():
        ingest(empty_store, pictures, config=ImagesConfig(shard_size=2))
    disk.close()
    assert sorted(kept) == sorted(path.read_bytes() for path in pictures)
