import pyarrow as pa
import pytest

from schemas.stages import STAGES
from schemas.tables import GROUND_TRUTH, MASK_TABLES, TABLES, table_of


def test_every_stage_and_ground_truth_have_a_masks_table_of_one_schema() -> None:
    assert set(MASK_TABLES) == {GROUND_TRUTH, *STAGES}
    assert len({TABLES[name].to_string() for name in MASK_TABLES}) == 1


@pytest.mark.parametrize("name", TABLES)
def test_no_column_may_be_null_and_ids_are_whole_64_bit_numbers(name: str) -> None:
    schema = TABLES[name]
    assert not any(field.nullable for field in schema)
    assert all(field.type == pa.int64() for field in schema if field.name.endswith("_id") and field.name != "model_id")


def test_table_of_keeps_ids_of_63_bits_exact() -> None:
    rows = [{"source": "a.jpg", "kind": "image", "reason": "the file is empty"}]
    assert table_of("rejected", rows).to_pylist() == rows
    largest = {"stage": "semi_automatic", "round": 1, "place": 0, "in_shard": "000000", "image_ids": [2**63 - 1]}
    assert table_of("round_images", [largest])["image_ids"].to_pylist() == [[2**63 - 1]]


def test_table_of_names_a_missing_column() -> None:
    with pytest.raises(KeyError, match="reason"):
        table_of("rejected", [{"source": "a.jpg", "kind": "image"}])


def test_table_of_no_rows_has_the_schema() -> None:
    assert table_of("events", []).schema == TABLES["events"]
