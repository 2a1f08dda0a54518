"""What the verdicts of a gate come to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from engine.quality.gate_summary import gate_lines, summaries, wilson_share
from engine.quality.verdicts import image_verdicts, mask_verdicts
from tests.engine.quality.gate_tasks import BRUSH, annotation, image_task, mask_task


def test_wilson_interval_by_hand() -> None:
    # 8 of 10, z = 1.96, z^2 = 3.84: centre (0.8 + 0.192) / 1.384 = 0.717,
    # half 1.96 * sqrt(0.016 + 0.0096) / 1.384 = 0.227.
    share = wilson_share(8, 10)
    assert (share.frac, share.low, share.high) == pytest.approx((0.8, 0.490, 0.943), abs=1e-3)


@given(st.integers(1, 500), st.data())
def test_wilson_interval_is_that_of_scipy(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    share = wilson_share(count, total, level=0.9)
    peer = binomtest(count, total).proportion_ci(confidence_level=0.9, method="wilson")
    assert (share.low, share.high) == pytest.approx((peer.low, peer.high), abs=1e-9)
    assert 0 <= share.low <= share.frac + 1e-12
    assert share.frac - 1e-12 <= share.high <= 1


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_share(count, total)


def test_summaries_by_hand() -> None:
    tasks = [
        mask_task(1, annotation("good", completed_by=1, lead_time=2)),
        mask_task(2, annotation("good", completed_by=1, lead_time=4)),
        mask_task(3, annotation("bad", completed_by=2, lead_time=None)),
        mask_task(4, annotation("good", completed_by=2, lead_time=9)),
        mask_task(5, annotation(None, was_cancelled=True)),
        mask_task(6, annotation(None, result=[BRUSH])),
        mask_task(7, annotation("reject"), stage="assisted_manual", round=4),
        mask_task(8, round=10),
    ]
    first, second, third = summaries(mask_verdicts(tasks))
    assert [(one.stage, one.round) for one in (first, second, third)] == [
        ("assisted_manual", 4),
        ("semi_automatic", 2),
        ("semi_automatic", 10),
    ]
    assert (second.answers, second.skipped, second.unanswered, second.unreadable) == (4, 1, 1, 1)
    assert {answer: share.frac for answer, share in second.shares.items()} == {"good": 0.75, "bad": 0.25, "reject": 0}
    assert {who: (share.count, share.total) for who, share in second.accepted_by.items()} == {
        "label_studio:1": (2, 2),
        "label_studio:2": (1, 2),
    }
    assert second.seconds_per_answer == pytest.approx(5)
    assert (third.answers, third.shares, third.accepted_by, third.seconds_per_answer) == (0, {}, {}, None)
    images = [image_task(1, annotation("complete")), image_task(2, annotation("missing"))]
    (exhaustive,) = summaries(image_verdicts(images))
    assert {answer: share.count for answer, share in exhaustive.shares.items()} == {"complete": 1, "missing": 1}
    assert exhaustive.accepted_by["label_studio:7"].frac == 0.5
    written = json.loads(json.dumps(second.to_dict()))
    assert written["shares"]["good"] == pytest.approx(
        {"count": 3, "total": 4, "frac": 0.75, "low": 0.301, "high": 0.954}, abs=1e-3
    )
    assert written["gate"] == "verification"


def test_the_section_of_the_report() -> None:
    tasks = [mask_task(n, annotation("good" if n <= 8 else "reject", lead_time=3)) for n in range(1, 11)]
    lines = gate_lines([*summaries(mask_verdicts([*tasks, mask_task(20, round=3)]))])
    assert lines[1] == "# Gates of quality"
    assert (
        "| verification | semi automatic | 2 | 10 | good 80% (49% to 94%), bad 0% (0% to 28%), reject 20% (6% to 51%) "
        "| label_studio:7 80% of 10 | 3.0 | 0 | 0 |"
    ) in lines
    assert "| verification | semi automatic | 3 | 0 | - | - | - | 0 | 0 |" in lines
    assert gate_lines([]) == []
