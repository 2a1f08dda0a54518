"""Which images and masks a release takes."""

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from engine.keys import content_key
from engine.release.choice import Choice, verified_of
from engine.release.plan import Snapshot, distinct, plan_tars
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.stages import BUILTIN_STAGES
from schemas.tables import table_of
from tests.engine.release.conftest import SIZES, add_masks


def row(stage: str, round: int, counts: bytes, mask_id: int, **scores: object) -> dict[str, object]:
    nothing = {"predicted_iou": math.nan, "stability_score": math.nan, "area": 0, "height": 100, "width": 100}
    origin = {"origin": "automatic" if stage == "fully_automatic" else "manual"}
    return {"stage": stage, "round": round, "rle": counts, "mask_id": mask_id} | origin | nothing | scores


def chosen(rows: list[dict[str, object]], **masks: object) -> list[object]:
    config = ReleaseConfig.model_validate({"masks": masks})
    snapshot = Snapshot(Store.__new__(Store), (), {}, Choice(config))
    table = pa.Table.from_pylist([{"image_id": 7, **each} for each in rows])
    return [each["mask_id"] for each in distinct(snapshot.chosen(table, frozenset({3, 4})).to_pylist())]


def test_of_automatic_masks_only_the_last_round_is_released() -> None:
    rows = [
        row("fully_automatic", 1, b"a", 1),
        row("fully_automatic", 2, b"b", 2),
        row("assisted_manual", 1, b"c", 3),
        row("assisted_manual", 2, b"d", 4),
    ]
    assert chosen(rows) == [3, 4, 2]


def test_so_it_is_with_the_stage_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.plan.STAGES", (*BUILTIN_STAGES, "boxes"))
    rows = [
        row("boxes", 1, b"a", 1),
        row("boxes", 2, b"b", 2),
        row("fully_automatic", 1, b"c", 3),
        row("semi_automatic", 1, b"d", 4),
    ]
    assert chosen(rows) == [4, 3, 2]


def test_equal_masks_are_released_once_from_the_earlier_stage() -> None:
    rows = [row("fully_automatic", 1, b"a", 1), row("semi_automatic", 1, b"a", 2), row("semi_automatic", 2, b"a", 0)]
    assert chosen(rows) == [2]


def test_masks_of_which_any_line_is_not_true_are_left_out() -> None:
    """A person's mask has no scores, which no score can be too low for; of equal masks the one that is chosen stays."""
    rows = [
        row("semi_automatic", 1, b"a", 1, area=40),
        row("semi_automatic", 1, b"b", 2, area=41, origin="automatic_corrected"),
        row("fully_automatic", 1, b"b", 3, predicted_iou=0.9, stability_score=0.8, area=41),
        row("fully_automatic", 1, b"c", 4, predicted_iou=0.7, stability_score=0.9, area=90),
    ]
    assert chosen(rows, min_predicted_iou=0.9) == [1, 2]
    assert chosen(rows, min_predicted_iou=0.8, origins=["automatic"]) == [3]
    assert chosen(rows, min_stability_score=0.85) == [1, 2, 4]
    assert chosen(rows, min_area_frac=0.0041) == [2, 4], "of 100 x 100 pixels"
    assert chosen(rows, origins=["manual", "automatic"]) == [1, 3, 4]
    assert chosen(rows, verified=True) == [3, 4]


def test_a_threshold_of_0_leaves_nothing_out() -> None:
    """A predicted IoU is a regression: of a bad mask it may lie below 0."""
    rows = [
        row("fully_automatic", 1, b"a", 1, predicted_iou=-0.02, stability_score=0.9),
        row("fully_automatic", 1, b"b", 2, predicted_iou=0.01, stability_score=0.9),
    ]
    assert chosen(rows) == [1, 2]
    assert chosen(rows, min_predicted_iou=0.005) == [2]


def test_what_people_answered_counts_more_than_the_verifier() -> None:
    said = [("verification", "", "good"), ("verification", "good", ""), ("verification", "bad", "good")]
    said += [("verification", "good", "bad"), ("exhaustivity", "", "good"), ("verification", "", "")]
    asked = [{"gate": gate, "pre_answer": before, "answer": answer} for gate, before, answer in said]
    assert [verified_of(each) for each in asked] == [True, True, True, False, False, False]


def test_pictures_are_withheld_by_seed_and_id_alone() -> None:
    ids, in_training = np.arange(10_000), np.zeros(10_000, dtype=np.bool_)

    def taken(withheld: bool, **config: object) -> set[int]:
        choice = Choice(ReleaseConfig.model_validate(config), withheld)
        return set(ids[choice.takes_images(ids, in_training)].tolist())

    kept_back = taken(True, withheld_frac=0.1)
    assert 900 < len(kept_back) < 1100
    assert taken(False, withheld_frac=0.1) == set(range(10_000)) - kept_back
    assert taken(True, withheld_frac=0.05) < kept_back, "a smaller share lies within a larger one"
    assert taken(True, withheld_frac=0.1, withheld_seed=1) != kept_back
    assert not taken(True)
    assert taken(False) == set(range(10_000))
    assert not taken(False, splits=["holdout"])


def test_tars_fill_in_order_across_shards_and_skip_images_without_masks(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    tars, without_masks = plan_tars(Snapshot.take(store, ["fully_automatic"]), images_per_tar=3)
    assert without_masks == 3  # the first of each of three shards; the last shard has one image
    assert [tar.name for tar in tars] == ["sa_000000.tar", "sa_000001.tar"]
    assert [tar.n_images for tar in tars] == [3, 1]
    planned = [image for tar in tars for image in tar.images()]
    assert planned == sorted(planned)
    assert len(SIZES) == len(planned) + without_masks


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"splits": ["train"]},
        {"withheld_frac": 0.5},
        {"masks": {"min_predicted_iou": 0.97}},
        {"masks": {"origins": ["manual"]}},
    ],
    ids=str,
)
def test_counting_pictures_alone_gives_the_plan_that_all_masks_give(
    make_store: Callable[..., Store], config: dict[str, object]
) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    add_masks(store, "fully_automatic", round=2, seed=1, skip=2, per_image=2)
    add_masks(store, "assisted_manual", skip=2, per_image=1)
    _score(store, "000001", -0.01)
    choice = Choice(ReleaseConfig.model_validate(config))
    snapshot = Snapshot.take(store, ["assisted_manual", "fully_automatic"], choice=choice)
    mask_ids = []
    whole = plan_tars(snapshot, images_per_tar=2, number=lambda contents: mask_ids.extend(contents.mask_ids.tolist()))
    assert plan_tars(snapshot, images_per_tar=2) == whole
    of_masks = {row["mask_id"]: row["image_id"] for stage in snapshot.stages for row in _rows(store, stage)}
    planned = [image_id for tar in whole[0] for _, image_id in tar.images()]
    assert set(planned) == {of_masks[each] for each in mask_ids}
    assert len(planned) == len(set(planned))


def test_a_mask_below_every_score_is_no_reason_to_release_its_picture(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic")
    _score(store, "000000", -0.01)
    choice = Choice(ReleaseConfig.model_validate({"masks": {"min_predicted_iou": 0.01}}))
    tars, without_masks = plan_tars(Snapshot.take(store, ["fully_automatic"], choice=choice), images_per_tar=3)
    assert without_masks == len(store.image_index().of_shard("000000"))
    assert {shard for tar in tars for shard, _ in tar.images()} == set(store.shards()) - {"000000"}


def test_at_a_threshold_of_0_a_picture_is_released_whose_masks_all_have_a_score_below_0(
    make_store: Callable[..., Store],
) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic")
    _score(store, "000000", -0.01)
    tars, without_masks = plan_tars(Snapshot.take(store, ["fully_automatic"]), images_per_tar=3)
    assert without_masks == 0
    assert {shard for tar in tars for shard, _ in tar.images()} == set(store.shards())


def _rows(store: Store, stage: str) -> list[dict[str, object]]:
    return store.read_table(stage, ["mask_id", "image_id"]).to_pylist()


def _score(store: Store, shard: str, predicted_iou: float) -> None:
    """Gives all masks of round 1 of a shard this score."""
    rows = store.read_shard("fully_automatic", shard, round=1).to_pylist()
    scored = table_of("fully_automatic", [row | {"predicted_iou": predicted_iou} for row in rows])
    store.replace_shard("fully_automatic", shard, scored, round=1, key=content_key("scored"))


def test_stages_come_in_the_order_of_the_data_engine(store: Store) -> None:
    snapshot = Snapshot.take(store, ["fully_automatic", "assisted_manual"])
    assert snapshot.stages == ("assisted_manual", "fully_automatic")
    assert set(snapshot.versions) == {"images", "assisted_manual", "fully_automatic"}


@pytest.mark.parametrize("stages", [[], ["automatic"]])
def test_unknown_stage_is_refused(store: Store, stages: list[str]) -> None:
    with pytest.raises(InputError, match="one or more of assisted_manual"):
        Snapshot.take(store, stages)  # type: ignore[arg-type]
