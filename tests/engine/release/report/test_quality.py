"""What the report says of stages, filters and audits, by hand."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.places import place
from engine.quality.audit import PAPER_NOTE
from engine.release.build import build_release
from engine.release.report.quality import quality_sections
from engine.release.report.released import Made, ReleasedMasks
from engine.release.report.sections import Section
from engine.release.report.writing import write_release_report
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.round_metrics import RoundMetrics
from schemas.tables import Round

AUDIT = {
    "images": 12,
    "skipped": 1,
    "masks": 1200,
    "pairs": 1150,
    "deleted": 50,
    "added": 3,
    "over_high": {"value": 0.9, "low": 0.85, "high": 0.94},
    "over_fair": {"value": 0.97, "low": 0.96, "high": 0.98},
    "mean_iou": {"value": 0.923, "low": 0.91, "high": 0.94},
    "kept_high": None,
    "deleted_frac": {"value": 0.04, "low": 0.03, "high": 0.05},
    "added_frac": {"value": 0.0025, "low": 0.0, "high": 0.01},
}


def put_round(store: Store, stage: str, number: int, **metrics: object) -> None:
    store.put_round(Round(stage, number, (), "retrained", metrics=RoundMetrics.from_dict(metrics)))


@pytest.fixture
def released(store: Store) -> ReleasedMasks:
    config = ReleaseConfig(images_per_tar=3)
    path = build_release(store, stages=["assisted_manual", "fully_automatic"], config=config).path
    found = ReleasedMasks(place(path))
    found.properties()
    return found


def sections(released: ReleasedMasks, store: Store | None) -> dict[str, Section]:
    return {section.key: section for section in quality_sections(released, store)}


def test_masks_are_counted_by_stage_round_and_origin(released: ReleasedMasks) -> None:
    index = pq.read_table(released.place.local_path("reading it") / "index" / "masks")
    rows = index.to_pylist()
    assert list(released.made) == [Made("assisted_manual", 1, "manual"), Made("fully_automatic", 1, "automatic")]
    manual, automatic = released.made.values()
    own = [row for row in rows if row["stage"] == "fully_automatic"]
    assert (manual.masks, automatic.masks) == (len(rows) - len(own), len(own))
    assert manual.mean("predicted_iou") is None
    assert automatic.mean("predicted_iou") == pytest.approx(sum(row["predicted_iou"] for row in own) / len(own))
    assert automatic.mean("stability_score") == pytest.approx(sum(row["stability_score"] for row in own) / len(own))
    table = sections(released, None)["stages"].tables[0]
    assert table.rows[0] == ("assisted manual", "1", "manual", str(manual.masks), "-", "-")


def test_masks_dropped_are_those_of_the_rounds_that_were_released(released: ReleasedMasks, store: Store) -> None:
    generation = {"masks": 70, "dropped": {"stability": 20, "predicted_iou": 110, "too_large": 0}}
    put_round(store, "fully_automatic", 1, generation=generation)
    put_round(store, "fully_automatic", 2, generation={"masks": 9, "dropped": {"stability": 9999}})
    found = sections(released, store)["dropped"]
    assert found.values["candidates"] == 200
    assert found.tables[0].rows == (
        ("predicted iou", "110", "55.0%"),
        ("stability", "20", "10.0%"),
        ("kept", "70", "35.0%"),
    )


def test_an_audit_is_shown_with_its_intervals(released: ReleasedMasks, store: Store) -> None:
    put_round(store, "assisted_manual", 1, quality={"audit": AUDIT})
    found = sections(released, store)["audit"]
    assert found.tables[0].rows == (
        (
            "assisted manual 1",
            *("12", "1,200", "1,150"),
            "90.0% (85.0% to 94.0%)",
            "97.0% (96.0% to 98.0%)",
            "0.923 (0.910 to 0.940)",
            "-",
            "4.0% (3.0% to 5.0%)",
            "0.2% (0.0% to 1.0%)",
        ),
    )
    assert found.notes == [PAPER_NOTE]


def test_what_is_not_known_is_said(released: ReleasedMasks, store: Store) -> None:
    for section in quality_sections(released, None):
        assert any("name it with --workspace" in note for note in section.notes)
    found = sections(released, store)
    assert found["audit"].notes == [
        "No round was audited; experts correct a sample with: sam-engine labeling gate audit WORK"
    ]
    assert "No mask generator worked in the rounds of this release." in found["dropped"].notes


def test_nobody_who_annotated_is_named(released: ReleasedMasks, store: Store, tmp_path: Path) -> None:
    people = {"anna@example.org": {"masks": 3, "seconds_per_mask": 9.0, "clicks_per_mask": 1.0, "over_limit": 0}}
    put_round(store, "assisted_manual", 1, by_annotator=people, annotators=list(people), masks=3)
    write_release_report(released.place, tmp_path / "report", store=store)
    for file in ("report.html", "report.json"):
        text = (tmp_path / "report" / file).read_text()
        assert "assisted" in text
        assert "anna" not in text
        assert str(store.workspace) not in text
