import json

import pyarrow as pa
import pytest

from engine.analysis.generation import GenerationSummary, generation_metrics, generation_sums, summarise
from engine.masks.counters import PHASES
from engine.masks.filters import REASONS

PARTS = [
    (3, {"encode": 1.0, "nms": 0.5}, {"stability": 2, "predicted_iou": 1000}),
    (1, {"encode": 2.0, "rle": 0.5}, {"stability": 5}),
]


def test_images_are_summed_phase_by_phase_and_reason_by_reason() -> None:
    summary = summarise(PARTS)
    assert (summary.images, summary.masks) == (2, 4)
    assert summary.seconds == dict.fromkeys(PHASES, 0.0) | {"encode": 3.0, "nms": 0.5, "rle": 0.5}
    assert summary.dropped == dict.fromkeys(REASONS, 0) | {"stability": 7, "predicted_iou": 1000}
    assert summary.images_per_s == pytest.approx(0.5)
    assert summary.to_dict()["images_per_s"] == 0.5


def test_it_says_so_in_two_lines() -> None:
    lines = str(summarise(PARTS)).splitlines()
    assert lines == [
        "0.5 img/s; seconds: decode image 0.00, encode 3.00, prompt + decode 0.00, filter 0.00, NMS 0.50, RLE 0.50",
        "masks dropped: predicted iou 1,000, stability 7",
    ]


def test_a_run_without_images_has_no_speed() -> None:
    summary = summarise([])
    assert summary == GenerationSummary(0, 0, dict.fromkeys(PHASES, 0.0), dict.fromkeys(REASONS, 0))
    assert summary.images_per_s == 0
    assert str(summary).endswith("masks dropped: none")


def test_rows_of_the_table_give_the_same_and_phases_of_older_versions_stay() -> None:
    rows = [
        {"masks": masks, "seconds": json.dumps(s), "dropped": json.dumps(d), "difference_to_exact": ""}
        for masks, s, d in PARTS
    ]
    assert generation_metrics(generation_sums(pa.Table.from_pylist(rows))).to_dict() == summarise(PARTS).to_dict()
    rows[0] |= {"seconds": '{"decode": 2.0}', "difference_to_exact": '{"lost": 1}'}
    found = generation_metrics(generation_sums(pa.Table.from_pylist(rows)))
    assert found.seconds["decode"] == 2.0
    assert found.difference_to_exact == ({"lost": 1},)
