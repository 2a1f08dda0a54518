import json
from dataclasses import fields, replace
from typing import Any

import pyarrow as pa
import pytest

from engine.analysis.rounds import RoundReport
from engine.analysis.team import team_lines, team_statistics
from engine.rle import measured
from schemas.mask import Mask
from schemas.rle import Rle
from schemas.round_metrics import RoundMetrics
from schemas.tables import table_of
from tests.engine.labeling.label_studio import rectangle

WHERE = {"shard": "000000", "stage": "assisted_manual", "round": 1}
LEFT, RIGHT = rectangle(0, 0, 20, 40), rectangle(40, 0, 60, 40)
HALF_OF_LEFT = rectangle(0, 0, 20, 30)  # IoU 0.75 with it
SHOWN = rectangle(25, 0, 35, 40)


def a_report(**own: Any) -> RoundReport:
    known = dict.fromkeys(field.name for field in fields(RoundReport)) | {"stage": "assisted_manual", "round": 1}
    return RoundReport(**known | own)


def given(annotator: str, *masks: Mask, image_id: int = 1, **own: Any) -> dict[str, Any]:
    """An annotation that does not count, unless `own` says so."""
    return {
        "annotation": 1,
        "image_id": image_id,
        **WHERE,
        "annotator": annotator,
        "people": 1,
        "valid": False,
        "skipped": False,
        "unaccepted_prompts": 0,
        "seconds": 10.0,
        "submitted_s": 100.0,
        "mask_count": len(masks),
        "masks": json.dumps([mask.to_json() for mask in masks]),
    } | own


def mask(rle: Rle, origin: Any = "manual") -> Mask:
    return replace(measured(rle), origin=origin)


def stored(*masks: Mask, image_id: int = 1) -> pa.Table:
    return table_of("assisted_manual", [one.to_row(image_id=image_id, **WHERE) for one in masks])


def counted(masks: pa.Table, *annotations: dict[str, Any]) -> RoundMetrics:
    return RoundMetrics.from_dict(team_statistics(masks, table_of("annotations", list(annotations))))


def test_what_does_not_count_is_counted() -> None:
    found = counted(
        stored(mask(LEFT)),
        given("ann", valid=True, mask_count=1, unaccepted_prompts=2),
        given("ben", mask(LEFT), mask(RIGHT), seconds=33.5, unaccepted_prompts=1),
        given("ben", image_id=2, valid=True, skipped=True),
    )
    assert found.people is not None
    assert found.people["ann"].to_dict() == {
        "images": 1, "skipped": 0, "unaccepted_prompts": 2, "superseded": 0, "superseded_masks": 0, "superseded_s": 0.0
    }  # fmt: skip
    assert found.people["ben"].to_dict() == {
        "images": 1, "skipped": 1, "unaccepted_prompts": 1, "superseded": 1, "superseded_masks": 2, "superseded_s": 33.5
    }  # fmt: skip


def test_how_far_two_people_agree() -> None:
    """One object as alike as .75, one that only the other person marked; what both left alone is no agreement."""
    found = counted(
        stored(mask(LEFT), mask(SHOWN, "automatic")),
        given("ann", valid=True, people=2),
        given("ben", mask(HALF_OF_LEFT), mask(RIGHT), mask(SHOWN, "automatic"), people=2),
    ).agreement
    assert found is not None
    assert (found.images, found.planned, found.pairs, found.objects) == (1, 1, 1, 2)
    assert found.mean_iou == pytest.approx(0.75)
    assert found.found_by_both_frac == 0.5
    assert found.mean_iou_interval == pytest.approx((0.75, 0.75))


def test_a_mask_that_only_one_left_alone_counts() -> None:
    found = counted(
        stored(mask(LEFT, "automatic")), given("ann", valid=True), given("ben", mask(HALF_OF_LEFT, "manual"))
    ).agreement
    assert found is not None
    assert (found.pairs, found.planned) == (1, 0)


@pytest.mark.parametrize("other", [given("ann", mask(LEFT)), given("ben", skipped=True)], ids=["same", "skipped"])
def test_who_submits_twice_or_skips_agrees_with_nobody(other: dict[str, Any]) -> None:
    assert counted(stored(mask(LEFT)), given("ann", valid=True), other).agreement is None


def test_of_what_a_person_submitted_twice_the_last_is_compared() -> None:
    found = counted(
        stored(mask(LEFT)),
        given("ann", valid=True),
        given("ben", mask(RIGHT), submitted_s=1.0),
        given("ben", mask(LEFT), submitted_s=2.0, annotation=2),
    )
    assert found.agreement is not None
    assert found.agreement.mean_iou == 1.0
    assert found.people is not None
    assert found.people["ben"].superseded == 2


def test_the_interval_is_over_images() -> None:
    masks = pa.concat_tables([stored(mask(LEFT), image_id=image_id) for image_id in range(20)])
    rows = [
        row
        for image_id in range(20)
        for row in (
            given("ann", image_id=image_id, valid=True),
            given("ben", mask(LEFT if image_id % 2 else HALF_OF_LEFT), image_id=image_id),
        )
    ]
    found = counted(masks, *rows).agreement
    assert found is not None
    assert found.mean_iou == pytest.approx(0.875)
    assert found.mean_iou_interval is not None
    low, high = found.mean_iou_interval
    assert 0.8 < low < 0.875 < high < 0.95
    assert found.found_by_both_interval == pytest.approx((1.0, 1.0))


def test_nobody_annotated() -> None:
    assert team_statistics(stored(), table_of("annotations", [])) == {}
    assert team_lines([a_report()]) == []


def test_the_report_names_people_and_agreement() -> None:
    found = counted(stored(mask(LEFT)), given("ann", valid=True), given("ben", mask(HALF_OF_LEFT)))
    lines = team_lines([a_report(people=found.people, agreement=found.agreement)])
    assert "| ben | 0 | 0 | 0 | 1 | 1 | 10 |" in "\n".join(lines)
    assert "| 1 | 0 | 1 | 0.750 (0.750 to 0.750) | 1.000 (1.000 to 1.000) |" in "\n".join(lines)
