import pyarrow as pa
import pytest

from engine.analysis.statistics import round_statistics
from engine.analysis.sums import ShardSums
from schemas.rle import Rle
from schemas.round_metrics import RoundMetrics
from schemas.tables import TABLES, table_of
from tests.rows import mask_row

WHERE = {"image_id": 1, "shard": "000000", "stage": "semi_automatic", "round": 1}


def masks(*rows: tuple[str, float, int], annotator: str = "simulated"):  # type: ignore[no-untyped-def]
    """A masks table of (origin, seconds, clicks)."""
    made = [
        mask_row(Rle(4, 4, b"0`0"), **WHERE, origin=origin, annotator=annotator, seconds=seconds, clicks=clicks)
        for origin, seconds, clicks in rows
    ]
    return table_of("semi_automatic", made)


def events(*kinds: tuple[str, float]):  # type: ignore[no-untyped-def]
    made = [
        {**WHERE, "event_id": number, "annotator": "simulated", "kind": kind, "at_s": 0.0, "seconds": seconds}
        | {"mask_id": 0, "detail": "{}"}
        for number, (kind, seconds) in enumerate(kinds)
    ]
    return table_of("events", made)


def counted(masks: pa.Table, events: pa.Table, *, images: int) -> RoundMetrics:
    """Counted row by row, with each row in a shard of its own: the sums of these say the same, also from JSON."""
    nothing = TABLES["generation"].empty_table()
    whole = ShardSums.of(masks, events, nothing)
    added = ShardSums()
    for number in range(max(len(masks), len(events))):
        part = ShardSums.of(masks.slice(number, 1), events.slice(number, 1), nothing)
        added.add(ShardSums.from_json(part.to_json()))
    assert added == whole
    return round_statistics(added, images=images)


def test_a_round_counted_by_hand() -> None:
    found = counted(
        masks(("automatic", 1, 0), ("automatic", 1, 0), ("automatic_corrected", 6, 2), ("manual", 10, 4)),
        events(("accept", 1), ("delete", 1.5), ("prompt", 2), ("draw", 34)),
        images=2,
    )
    assert found.masks_per_image == 2
    assert found.seconds_per_mask == pytest.approx(8), "masks that were kept as they were do not count"
    assert found.clicks_per_mask == pytest.approx(3)
    assert found.annotator_s == pytest.approx(38.5)
    assert found.drawn == 1
    assert found.prefilled == 4
    assert found.prefilled_kept_frac == 0.5
    assert found.prefilled_edited_frac == found.prefilled_deleted_frac == 0.25


def test_masks_over_the_limit_by_annotator() -> None:
    """30 s is the limit (SAM paper, section 4); a mask that was kept as it was is nobody's."""
    first = masks(("manual", 31, 5), ("manual", 30, 2), ("automatic", 99, 0), annotator="label_studio:1")
    second = masks(("automatic_corrected", 40, 1), annotator="label_studio:2")
    found = counted(pa.concat_tables([first, second]), events(), images=1)
    assert found.over_limit == 2
    assert found.to_dict()["by_annotator"] == {
        "label_studio:1": {"masks": 2, "seconds_per_mask": 30.5, "clicks_per_mask": 3.5, "over_limit": 1},
        "label_studio:2": {"masks": 1, "seconds_per_mask": 40.0, "clicks_per_mask": 1.0, "over_limit": 1},
    }


def test_nobody_was_shown_what_the_generator_made() -> None:
    found = counted(masks(("automatic", 0, 0), annotator="generator"), events(), images=1)
    assert found.prefilled is None
    assert found.seconds_per_mask is None
    assert found.annotators == ()


def test_an_empty_round() -> None:
    found = counted(TABLES["semi_automatic"].empty_table(), events(), images=0)
    assert found.masks == 0
    assert found.masks_per_image is None
