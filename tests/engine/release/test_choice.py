"""Which pictures and masks come into a release."""

import pyarrow.parquet as pq
import pytest

from engine.labeling.folder import Scope
from engine.quality.gate_records import GateRecords, Question
from engine.release.build import build_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import WaitError
from tests.engine.release.released import index_rows, records


def test_withheld_pictures_are_in_a_release_of_their_own(store: Store) -> None:
    config = ReleaseConfig(withheld_frac=0.4)
    shown, withheld = build_release(store, config=config), build_release(store, config=config, withheld=True)
    assert (shown.manifest.withheld, withheld.manifest.withheld) == (False, True)
    ids = [{row["content_id"] for row in index_rows(info.path, "images")} for info in (shown, withheld)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(store.images()["image_id"].to_pylist())
    assert all(ids)
    assert verify_release(withheld.path) == []


def test_only_what_a_gate_found_good_is_released_where_that_is_asked(store: Store) -> None:
    config = ReleaseConfig.model_validate({"masks": {"verified": True}})
    with pytest.raises(
        WaitError, match=r"no mask of fully_automatic is chosen for a release; see release in engine\.yaml"
    ):
        build_release(store, config=config)
    masks = store.read_table("fully_automatic").to_pylist()[:4]
    asked = [Question(each["image_id"], each["mask_id"], pre_answer="good") for each in masks]
    GateRecords(store, Scope("verification", "fully_automatic", 1)).draw(asked)
    info = build_release(store, config=config)
    assert {row["content_id"] for row in index_rows(info.path, "masks")} == {each["mask_id"] for each in masks}
    assert info.manifest.table_versions.keys() == {"images", "fully_automatic", "questions"}


def test_masks_of_people_can_be_released_too(store: Store) -> None:
    info = build_release(store, stages=["fully_automatic", "assisted_manual"])
    assert info.manifest.stages == ("assisted_manual", "fully_automatic")
    assert verify_release(info.path) == []
    index = pq.read_table(info.path / "index" / "masks").to_pylist()
    manual = {row["id"] for row in index if row["stage"] == "assisted_manual"}
    assert len(manual) == store.counts()["assisted_manual"]
    annotations = [a for record in records(info.path).values() for a in record["annotations"] if a["id"] in manual]
    assert {(a["predicted_iou"], a["stability_score"]) for a in annotations} == {(None, None)}
    # A click on the hole, which is not of the mask, has no place among SA-1B's points; `prompt` has both.
    points = {row["id"]: row["points"] for row in index}
    for annotation in annotations:
        inside, outside = points[annotation["id"]]
        assert (inside["label"], outside["label"]) == (1, 0)
        assert annotation["point_coords"] == [[inside["x"], inside["y"]]]
        assert annotation["prompt"] == {"points": [[p["x"], p["y"], p["label"]] for p in (inside, outside)]}
