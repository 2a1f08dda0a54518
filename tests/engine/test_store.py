"""Workspaces, and the images, masks and rounds in them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.images import decode_image
from engine.keys import content_key
from engine.migrations import FORMAT, FORMAT_FILE, read_format
from engine.store import Store
from schemas.config import CONFIG_FILE
from schemas.default_settings import DEFAULT_YAML
from schemas.errors import InputError
from schemas.mask import Prompt, mask_id
from schemas.rle import Rle
from schemas.round_metrics import RoundMetrics
from schemas.stages import BUILTIN_STAGES
from schemas.tables import GROUND_TRUTH, TABLES, Round, table_of
from tests.engine.stores import STAGE, masks_table
from tests.rows import mask_row


def test_a_row_says_what_the_mask_says() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[5:20, 10:30] = True
    rle = rle_codec.encode(mask)
    where: dict[str, Any] = {"image_id": 7, "shard": "000000", "stage": STAGE, "round": 2}
    row = mask_row(
        rle, **where, origin="manual", annotator="simulated", prompt=Prompt(points=((11.5, 6.0, 1),)), clicks=1
    )
    assert row["area"] == 15 * 20
    assert row["bbox"] == [10.0, 5.0, 30.0, 20.0]
    assert row["crop_box"] == [0.0, 0.0, 50.0, 40.0]
    assert math.isnan(row["predicted_iou"])
    assert Rle.of_row(row) == rle
    assert row["mask_id"] == mask_id(7, STAGE, 2, rle.counts)
    assert len({mask_id(7, STAGE, 2, b"a"), mask_id(8, STAGE, 2, b"a"), mask_id(7, STAGE, 3, b"a")}) == 3


def test_create_keeps_what_is_there(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "w")
    assert (tmp_path / "w" / CONFIG_FILE).read_text() == DEFAULT_YAML
    (tmp_path / "w" / CONFIG_FILE).write_text("seed: 5\n")
    store.replace_shard(STAGE, "000000", masks_table(), round=1, key=content_key("a"))
    again = Store.create(tmp_path / "w")
    assert (tmp_path / "w" / CONFIG_FILE).read_text() == "seed: 5\n"
    assert again.counts()[STAGE] == 4


def test_what_is_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a workspace.*sam-engine init"):
        Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file of this name exists"):
        Store.create(tmp_path / "file")


def test_images_are_found_by_id(store: Store, tmp_path: Path) -> None:
    images = store.images()
    places = list(zip(images["shard"].to_pylist(), images["image_id"].to_pylist(), strict=True))
    assert places == sorted(places)
    assert [shard for shard, _ in places] == ["000000"] * 3 + ["000001"] * 3 + ["000002"] * 2
    for row in images.to_pylist():
        np.testing.assert_array_equal(store.load_image(row["image_id"]), decode_image(Path(row["source"])))
        assert store.shard_of(row["image_id"]) == row["shard"]
        truth = store.read_image(GROUND_TRUTH, row["image_id"])
        assert truth.num_rows
        assert set(truth["image_id"].to_pylist()) == {row["image_id"]}
    with pytest.raises(InputError, match="no image 5;"):
        store.load_image(5)


def test_a_picture_that_is_gone_is_named(store: Store) -> None:
    row = store.images().to_pylist()[0]
    store.picture(row).remove()
    with pytest.raises(InputError, match=f"{row['image_id']}.png: cannot read the file"):
        store.load_image(row["image_id"])


def test_a_mask_is_found_in_any_table(store: Store) -> None:
    rows = masks_table().to_pylist()
    store.replace_shard(STAGE, "000000", masks_table(), round=1, key=content_key("a"))
    found = store.find_mask(rows[2]["mask_id"])
    assert found is not None
    assert (found["table"], found["rle"]) == (STAGE, rows[2]["rle"])
    truth = store.read_table(GROUND_TRUTH).to_pylist()[0]
    assert (store.find_mask(truth["mask_id"]) or {})["table"] == GROUND_TRUTH
    assert store.find_mask(12345) is None


def test_a_round_is_kept_and_moved_on(empty_store: Store) -> None:
    first = Round("semi_automatic", 1, (3, 2**62), model_before="ab")
    manual = Round("assisted_manual", 2, (1,), state="retrained", metrics=RoundMetrics(masks=3, share=0.5))
    assert empty_store.put_round(first)
    assert not empty_store.put_round(first)
    assert empty_store.put_round(manual)
    annotated = Round("semi_automatic", 1, (3, 2**62), "annotated", "ab")
    assert empty_store.put_round(annotated)
    assert empty_store.rounds() == [manual, annotated]
    assert empty_store.rounds(STAGE) == [annotated]
    assert empty_store.put_round(first)
    assert empty_store.rounds(STAGE) == [first]


def test_a_mask_that_a_gate_took_out_is_found_too(empty_store: Store) -> None:
    (row,) = masks_table(count=1).to_pylist()
    gone = row | {"gate": "verification", "shown_again": False}
    empty_store.put_rows("removed", table_of("removed", [gone]), by=("mask_id",))
    assert (empty_store.find_mask(row["mask_id"]) or {})["table"] == "removed"
    empty_store.replace_shard(STAGE, "000000", masks_table(count=1), round=1, key=content_key("a"))
    assert (empty_store.find_mask(row["mask_id"]) or {})["table"] == STAGE, "where it counts comes first"


def test_an_image_is_found_between_its_neighbours_or_not_at_all(store: Store) -> None:
    ids = sorted(store.images()["image_id"].to_pylist())
    for missing in (ids[0] - 1, ids[3] + 1, ids[-1] + 1, 2**63 - 1):
        with pytest.raises(InputError, match=f"no image {missing}; sam-engine status"):
            store.shard_of(missing)
    assert len({store.shard_of(image_id) for image_id in ids}) == 3
    (row,) = store.read_image("images", ids[0]).to_pylist()
    moved = [row | {"image_id": ids[-1] + 1, "shard": "000009"}]
    store.replace_shard("images", "000009", table_of("images", moved), key=content_key("more"))
    assert store.shard_of(ids[-1] + 1) == "000009", "the table has changed since the last look"


def test_a_picture_that_came_in_stays_readable_whatever_its_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    decode = decode_image
    monkeypatch.setattr(
        "engine.store.decode_image",
        lambda place, *, max_megapixels, **settings: (limits.append(max_megapixels), decode(place, **settings))[1],
    )
    store.load_image(store.images()["image_id"][0].as_py())
    assert limits == [math.inf]


def test_rounds_come_in_the_order_of_stages_and_numbers(empty_store: Store) -> None:
    made = [(STAGE, 2), ("fully_automatic", 1), ("assisted_manual", 3), (STAGE, 1), ("assisted_manual", 10)]
    for stage, number in made:
        empty_store.put_round(Round(stage, number, ()))  # type: ignore[arg-type]
    assert [(record.stage, record.round) for record in empty_store.rounds()] == [
        ("assisted_manual", 3),
        ("assisted_manual", 10),
        (STAGE, 1),
        (STAGE, 2),
        ("fully_automatic", 1),
    ]


def test_a_stage_that_a_package_brings_has_a_table_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "boxes", TABLES[STAGE])
    for module in ("engine.store", "engine.tables"):
        monkeypatch.setattr(f"{module}.INSTALLED_STAGES", {"boxes": None})
    monkeypatch.setattr("engine.store.STAGES", (*BUILTIN_STAGES, "boxes"))
    store = Store.create(tmp_path / "w")
    assert (store.stages, store.missing_tables()) == (BUILTIN_STAGES, [])
    assert "boxes" not in store.counts()
    store.create_table("boxes")
    store.create_table("boxes")
    assert store.stages == Store(store.files).stages == (*BUILTIN_STAGES, "boxes")
    assert store.counts()["boxes"] == 0


def test_rounds_of_a_stage_whose_package_is_gone_are_left_alone(empty_store: Store) -> None:
    empty_store.put_round(Round("gone", 1, (3,)))
    empty_store.put_round(Round("gone", 2, (5,)))
    empty_store.put_round(Round("away", 1, ()))
    kept = Round("assisted_manual", 1, (7,))
    empty_store.put_round(kept)
    assert empty_store.rounds() == [kept]
    assert empty_store.rounds("gone") == []
    assert empty_store.foreign_stages() == ["away", "gone"]


def test_a_new_workspace_has_all_its_folders_and_says_its_format(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "w")
    assert {path.name for path in (tmp_path / "w").iterdir()} >= {"images", "tables", "models", "releases", "reports"}
    assert read_format(store.files) == FORMAT
    assert store.missing_tables() == []
    assert store.counts() == dict.fromkeys(TABLES, 0)


def test_an_older_workspace_that_is_made_again_is_brought_up_to_date(tmp_path: Path) -> None:
    Store.create(tmp_path / "w")
    (tmp_path / "w" / "tables" / FORMAT_FILE).unlink()
    (tmp_path / "w" / "labeling").mkdir()
    (tmp_path / "w" / "labeling" / "credentials.json").write_text("{}")
    Store.create(tmp_path / "w")
    assert (tmp_path / "w" / "label_studio" / "credentials.json").exists()
