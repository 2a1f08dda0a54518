"""Which images and masks a release takes."""

from collections.abc import Callable

import pytest

from engine.release.plan import Snapshot, plan_tars, released_masks
from engine.store import Store
from schemas.errors import InputError
from schemas.stages import BUILTIN_STAGES
from tests.engine.release.conftest import SIZES, add_masks


def row(stage: str, round: int, counts: bytes, mask_id: int) -> dict[str, object]:
    return {"stage": stage, "round": round, "rle": counts, "mask_id": mask_id}


def test_of_automatic_masks_only_the_last_round_is_released() -> None:
    rows = [
        row("fully_automatic", 1, b"a", 1),
        row("fully_automatic", 2, b"b", 2),
        row("assisted_manual", 1, b"c", 3),
        row("assisted_manual", 2, b"d", 4),
    ]
    assert [r["mask_id"] for r in released_masks(rows)] == [3, 4, 2]


def test_so_it_is_with_the_stage_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.release.plan.STAGES", (*BUILTIN_STAGES, "boxes"))
    rows = [
        row("boxes", 1, b"a", 1),
        row("boxes", 2, b"b", 2),
        row("fully_automatic", 1, b"c", 3),
        row("semi_automatic", 1, b"d", 4),
    ]
    assert [r["mask_id"] for r in released_masks(rows)] == [4, 3, 2]


def test_equal_masks_are_released_once_from_the_earlier_stage() -> None:
    rows = [row("fully_automatic", 1, b"a", 1), row("semi_automatic", 1, b"a", 2), row("semi_automatic", 2, b"a", 0)]
    assert [r["mask_id"] for r in released_masks(rows)] == [2]


def test_tars_fill_in_order_across_shards_and_skip_images_without_masks(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    tars, without_masks = plan_tars(Snapshot.take(store, ["fully_automatic"]), images_per_tar=3)
    assert without_masks == 3  # the first of each of three shards; the last shard has one image
    assert [tar.name for tar in tars] == ["sa_000000.tar", "sa_000001.tar"]
    assert [len(tar.images) for tar in tars] == [3, 1]
    planned = [image for tar in tars for image in tar.images]
    assert planned == sorted(planned)
    assert len(SIZES) == len(planned) + without_masks


def test_stages_come_in_the_order_of_the_data_engine(store: Store) -> None:
    snapshot = Snapshot.take(store, ["fully_automatic", "assisted_manual"])
    assert snapshot.stages == ("assisted_manual", "fully_automatic")
    assert set(snapshot.versions) == {"images", "assisted_manual", "fully_automatic"}


@pytest.mark.parametrize("stages", [[], ["automatic"]])
def test_unknown_stage_is_refused(store: Store, stages: list[str]) -> None:
    with pytest.raises(InputError, match="one or more of assisted_manual"):
        Snapshot.take(store, stages)  # type: ignore[arg-type]
