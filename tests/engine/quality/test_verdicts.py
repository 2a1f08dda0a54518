"""Answers at the gates: what Label Studio gives back, what follows from it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.quality.verdicts import (
    Subject,
    consequences,
    exhaustivity_task,
    image_verdicts,
    mask_verdicts,
    verification_task,
)
from schemas.labeling import EXHAUSTIVITY_CONFIG, VERIFICATION_CONFIG
from schemas.rle import Rle
from tests.engine.quality.gate_tasks import BRUSH, PLACE, annotation, image_task, mask_task
from tests.rows import mask_row

LARGE_ID = 2**63 - 25


def test_ids_survive_a_browser() -> None:
    row = mask_row(Rle(4, 4, b"0`0"), image_id=LARGE_ID, shard="000000", **PLACE, origin="manual", annotator="ann")
    data = verification_task(row, "/data/a.jpg")["data"]
    assert data == {
        "image": "/data/a.jpg",
        "gate": "verification",
        "mask_id": str(row["mask_id"]),
        "image_id": str(LARGE_ID),
        "stage": "semi_automatic",
        "round": 2,
    }
    assert exhaustivity_task(LARGE_ID, "/data/b.jpg", **PLACE, masks=12)["data"] == {
        "image": "/data/b.jpg",
        "gate": "exhaustivity",
        "image_id": str(LARGE_ID),
        "stage": "semi_automatic",
        "round": 2,
        "masks": 12,
    }
    task = json.loads(json.dumps({"id": 1, "data": data, "annotations": [annotation("good")]}))
    (verdict,) = mask_verdicts([task]).verdicts
    assert (verdict.mask_id, verdict.image_id, verdict.stage, verdict.round) == (
        row["mask_id"],
        LARGE_ID,
        *PLACE.values(),
    )


def test_a_verdict_with_all_that_was_said() -> None:
    said = annotation("bad", completed_by={"id": 3, "email": "ann@example.com"})
    said["result"].append({"from_name": "comment", "type": "textarea", "value": {"text": ["leaks  into", "the sky"]}})
    (verdict,) = mask_verdicts([mask_task(8, said)]).verdicts
    assert (verdict.verdict, verdict.annotator, verdict.seconds) == ("bad", "label_studio:3", 4.5)
    assert verdict.comment == "leaks into the sky"
    (verdict,) = image_verdicts([image_task(5, annotation("missing", lead_time=None))]).verdicts
    assert (verdict.image_id, verdict.completeness, verdict.annotator, verdict.seconds) == (
        5,
        "missing",
        "label_studio:7",
        None,
    )
    assert verdict.comment == ""


def test_the_choices_are_those_of_the_configurations() -> None:
    for choice in ("good", "bad", "reject"):
        assert f'value="{choice}"' in VERIFICATION_CONFIG
        assert mask_verdicts([mask_task(1, annotation(choice))]).verdicts[0].answer == choice
    for choice in ("complete", "missing"):
        assert f'value="{choice}"' in EXHAUSTIVITY_CONFIG
        assert image_verdicts([image_task(1, annotation(choice))]).verdicts[0].answer == choice


def test_the_annotation_that_was_updated_last_counts() -> None:
    task = mask_task(1, annotation("reject", number=1, at=30), annotation("good", number=2, at=20))
    assert [one.verdict for one in mask_verdicts([task]).verdicts] == ["reject"]
    # Of equal times the newer one; without fractions of a second a time is written shorter, and is still a time.
    same = mask_task(1, annotation("bad", number=5), annotation("good", number=4))
    assert mask_verdicts([same]).verdicts[0].verdict == "bad"
    early, late = "2026-01-05T12:00:00Z", "2026-01-05T12:00:00.5Z"
    mixed = mask_task(1, annotation("bad", number=2, updated_at=early), annotation("good", number=1, updated_at=late))
    assert mask_verdicts([mixed]).verdicts[0].verdict == "good"
    # In another time zone, or in none, and with no time at all.
    zoned = mask_task(
        1,
        annotation("bad", number=9, updated_at=None, created_at=None),
        annotation("good", number=1, updated_at="2026-01-05T12:30:00+02:00"),
        annotation("reject", number=2, updated_at="2026-01-05T11:00:00"),
    )
    assert mask_verdicts([zoned]).verdicts[0].verdict == "reject"


def test_a_skip_is_no_verdict() -> None:
    skip = annotation(None, number=2, at=10, was_cancelled=True)
    found = mask_verdicts([mask_task(1, annotation("good"), skip), mask_task(2, skip, annotation("bad", at=20))])
    assert [one.mask_id for one in found.verdicts] == [2]
    assert found.skipped == (Subject("semi_automatic", 2, 50, 1),)
    assert found.unanswered == ()


@pytest.mark.parametrize(
    "result",
    [
        [],
        None,
        "text",
        [None, "text", {}, {"from_name": "verdict"}, {"from_name": "verdict", "value": None}],
        [BRUSH],
        [{"from_name": "verdict", "type": "choices", "value": {"choices": ["complete"]}}],
        [{"from_name": "verdict", "type": "choices", "value": {"choices": ["good", "bad"]}}],
        [{"from_name": "verdict", "type": "choices", "value": {"choices": []}}],
        [{"from_name": "other", "type": "choices", "value": {"choices": ["good"]}}],
        [{"from_name": "verdict", "type": "rating", "value": {"rating": 3}}],
    ],
)
def test_an_annotation_of_another_configuration_is_counted_and_passed_over(result: Any) -> None:
    foreign = annotation(None, number=2, at=50, result=result)
    found = mask_verdicts([mask_task(1, annotation("bad", number=1), foreign), mask_task(2, foreign)])
    assert [(one.mask_id, one.verdict) for one in found.verdicts] == [(1, "bad")]
    assert [subject.mask_id for subject in found.unreadable] == [1, 2]
    assert [subject.mask_id for subject in found.unanswered] == [2]


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"image": "/data/x.jpg"},
        verification_task({"mask_id": 1, "image_id": 2} | PLACE, "")["data"] | {"mask_id": "one"},
        verification_task({"mask_id": 1, "image_id": 2} | PLACE, "")["data"] | {"stage": "ground_truth"},
        verification_task({"mask_id": 1, "image_id": 2} | PLACE, "")["data"] | {"round": None},
        exhaustivity_task(2, "", **PLACE, masks=1)["data"],
    ],
)
def test_a_task_that_is_not_of_the_gate_is_counted(data: Any) -> None:
    task = {"id": 4, "data": data, "annotations": [annotation("good")]}
    found = mask_verdicts([task, mask_task(1, annotation("good")), task])
    assert len(found.verdicts) == 1
    assert found.strangers == 1, "the same task twice is one"
    assert image_verdicts([mask_task(1, annotation("complete"))]).strangers == 1


TASKS = [
    mask_task(1, annotation("good", number=1), annotation("bad", number=2, at=5)),
    mask_task(2, annotation("reject", number=3, completed_by=8)),
    mask_task(3, annotation(None, number=4, was_cancelled=True)),
    mask_task(4, annotation(None, number=5, result=[BRUSH])),
    mask_task(5),
    mask_task(1, annotation("good", number=6, at=9)),
    image_task(1, annotation("complete", number=7)),
]


@given(st.permutations(TASKS), st.lists(st.sampled_from(TASKS), max_size=4))
def test_delivered_twice_or_out_of_order_changes_nothing(order: list[dict], again: list[dict]) -> None:
    found = mask_verdicts([*order, *again])
    assert found == mask_verdicts(TASKS)
    assert [(one.mask_id, one.verdict) for one in found.verdicts] == [(1, "good"), (2, "reject")]


def test_an_annotation_is_known_by_its_id_and_taken_as_last_updated() -> None:
    before, after = annotation("good", number=1, at=1), annotation("reject", number=1, at=2)
    for order in ((before, after), (after, before)):
        found = mask_verdicts(mask_task(1, one) for one in order)
        assert [one.verdict for one in found.verdicts] == ["reject"]


def test_consequences_by_hand() -> None:
    answers = {1: "good", 2: "bad", 3: "reject", 4: "bad"}
    masks = mask_verdicts(mask_task(n, annotation(said), image_id=60 - n) for n, said in answers.items()).verdicts
    images = image_verdicts(
        image_task(n, annotation(said)) for n, said in ((58, "missing"), (70, "missing"), (71, "complete"))
    )
    found = consequences(masks, images.verdicts)
    assert found.taken_away == (3,)
    assert found.to_correct == (2, 4)
    assert found.incomplete == (58, 70)
    assert found.to_annotators == (56, 58, 70), "an image whose masks are only rejected does not go back"
    assert consequences([]) == consequences([], [])
