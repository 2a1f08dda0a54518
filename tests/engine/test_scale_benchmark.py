"""The bench of the store: its workspaces are like real ones, every operation runs, and the line to full size is one."""

from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import at_full_size, measure, operations
from benchmarks.scale_workspace import STAGE, Size, build
from engine.store import Store

SIZE = Size(shards=12, images_per_shard=3, masks_per_image=2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("scale") / "w", SIZE)


def test_a_synthetic_workspace_is_one(workspace: Path) -> None:
    store = Store(workspace)
    counts = store.counts()
    assert (counts["images"], counts[STAGE], counts["shard_sums"]) == (SIZE.images, SIZE.masks, SIZE.shards)
    (record,) = store.rounds()
    assert sorted(record.image_ids) == sorted(store.images()["image_id"].to_pylist())
    row = store.read_shard(STAGE, "000003").to_pylist()[0]
    assert store.shard_of(row["image_id"]) == row["shard"] == "000003"
    assert store.find_mask(row["mask_id"]) == {"table": STAGE, **row}
    assert store.committed(STAGE, "000003", round=1) is not None


def test_every_operation_is_measured(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_forget_peak", lambda: None)
    for name in operations():
        found = measure(workspace, name)
        assert found["clock_s"] > 0, name


def test_the_line_to_full_size() -> None:
    by_masks = operations()["training_open"]
    sizes = [Size(10, 10, 10), Size(20, 10, 10)]
    told = at_full_size(by_masks, sizes, [{"clock_s": 2.0}, {"clock_s": 3.0}])
    assert told == "1.1e+06 s (1e+03 us of masks)"  # 3 s and 1 ms for each of 1.1 billion masks
    assert at_full_size(by_masks, sizes, [{"clock_s": 3.0}, {"clock_s": 2.0}]).startswith("2 s")
    assert at_full_size(by_masks, sizes, ["not in 900 s", "not in 900 s"]) == "-"
    assert at_full_size(operations()["replace_shard"], sizes, []) == "the same"
