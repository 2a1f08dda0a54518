import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import Store
from schemas.config import EngineConfig
from schemas.stages import Stage
from schemas.tables import Round
from stages.selection import images_of_next_round, rounds_of, share_of_images


def play(images: int, rounds: tuple[int, int], per_round: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Take rounds of both people's stages until neither gets anything; the number of images of each round."""
    taken: tuple[list[int], list[int]] = ([], [])
    for stage in (0, 1):
        while True:
            count = share_of_images(
                images,
                rounds_left=rounds[stage] - len(taken[stage]),
                images_per_round=per_round[stage],
                later_rounds_left=rounds[1] if stage == 0 else 0,
                later_images=rounds[1] * per_round[1] if stage == 0 else 0,
                first_round=not taken[stage],
            )
            if not count:
                break
            taken[stage].append(count)
            images -= count
    return taken


@pytest.mark.parametrize(
    ("images", "rounds", "per_round", "expected"),
    [
        (1000, (2, 1), (20, 30), ([20, 20], [30])),
        (70, (2, 1), (20, 30), ([20, 20], [30])),
        (9, (2, 1), (20, 30), ([3, 3], [3])),
        (10, (2, 1), (20, 30), ([4, 3], [3])),
        (12, (6, 5), (20_000, 36_000), ([2, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1])),
        (3, (6, 5), (20_000, 36_000), ([1, 1], [1])),
        (2, (6, 5), (20_000, 36_000), ([1], [1])),
        (1, (6, 5), (20_000, 36_000), ([1], [])),
        (0, (6, 5), (20_000, 36_000), ([], [])),
    ],
)
def test_images_are_shared_out(
    images: int, rounds: tuple[int, int], per_round: tuple[int, int], expected: tuple[list[int], list[int]]
) -> None:
    assert play(images, rounds, per_round) == expected


@given(
    st.integers(0, 500),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_no_round_goes_empty_while_there_are_images(
    images: int, rounds: tuple[int, int], per_round: tuple[int, int]
) -> None:
    first, second = play(images, rounds, per_round)
    assert sum(first) + sum(second) <= images
    assert all(1 <= count <= per_round[0] for count in first)
    assert all(1 <= count <= per_round[1] for count in second)
    if images >= sum(rounds):
        assert (len(first), len(second)) == rounds
    if images >= 2:
        assert first
        assert second, "the semi-automatic stage always gets something"
    if images <= sum(rounds):
        assert sum(first) + sum(second) == images


def _config(annotator: str = "simulated", *, rounds: int = 2, each: int = 2) -> EngineConfig:
    sections = {stage: {"rounds": rounds, "images_per_round": each} for stage in ("assisted_manual", "semi_automatic")}
    return EngineConfig.model_validate({"annotator": {"kind": annotator}} | sections)


def _ids(store: Store, split: str | None = None) -> list[int]:
    return [row["image_id"] for row in store.images().to_pylist() if split in (None, row["split"])]


def test_rounds_take_images_in_order_that_nobody_annotated(store: Store) -> None:
    train = _ids(store, "train")
    assert len(train) == 6
    config = _config(rounds=1)
    first, second, third = (
        Round("assisted_manual", 1, tuple(train[:2])),
        Round("semi_automatic", 1, tuple(train[2:4])),
        Round("fully_automatic", 1, tuple(_ids(store)[:3])),
    )
    assert images_of_next_round(store, config, "assisted_manual", []) == train[:2]
    assert images_of_next_round(store, config, "assisted_manual", [first]) == []
    assert images_of_next_round(store, config, "semi_automatic", [first]) == train[2:4]
    assert images_of_next_round(store, config, "semi_automatic", [first, second]) == []
    assert images_of_next_round(store, config, "fully_automatic", [first, second]) == _ids(store)
    assert images_of_next_round(store, config, "fully_automatic", [first, third]) == _ids(store)[3:]


def test_later_rounds_have_their_share_of_few_images(store: Store) -> None:
    """Six images, and four rounds that could take twenty each."""
    train, config = _ids(store, "train"), _config(rounds=2, each=20)
    rounds: list[Round] = []
    stages: tuple[Stage, ...] = ("assisted_manual", "assisted_manual", "semi_automatic", "semi_automatic")
    for number, stage in enumerate(stages):
        rounds.append(Round(stage, 1 + number % 2, tuple(images_of_next_round(store, config, stage, rounds))))
    assert [len(record.image_ids) for record in rounds] == [2, 2, 1, 1]
    assert [image_id for record in rounds for image_id in record.image_ids] == train


def test_only_people_do_without_ground_truth(store: Store) -> None:
    for shard in store.shards():
        rows = store.read_shard("images", shard)
        without = [False] * len(rows)
        at = rows.schema.get_field_index("has_ground_truth")
        store.replace_shard("images", shard, rows.set_column(at, rows.schema.field(at), [without]), key="0" * 16)
    assert images_of_next_round(store, _config(), "assisted_manual", []) == []
    assert images_of_next_round(store, _config("label_studio"), "assisted_manual", []) == _ids(store, "train")[:2]


def test_rounds_are_as_many_as_the_configuration_says() -> None:
    assert rounds_of(_config(rounds=3), "semi_automatic") == 3


def test_a_stage_that_has_had_its_rounds_takes_no_more_and_says_so_by_a_number() -> None:
    plenty = {"images_per_round": 2, "later_rounds_left": 1, "later_images": 2, "first_round": False}
    assert share_of_images(9, rounds_left=0, **plenty) == 0
    assert share_of_images(9, rounds_left=-1, **plenty) == 0
    assert share_of_images(0, rounds_left=1, **plenty) == 0
    assert share_of_images(1, rounds_left=1, **plenty) == 0, "the last image is left to the later stage"
