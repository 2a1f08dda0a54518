import itertools
import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.keys import content_key
from engine.snapshots import SnapshotDataset, training_samples
from engine.store import Store
from model.training import order
from model.training.config import Phase, TrainingConfig
from model.training.run_weights import RunWeights
from model.training.samples import Sample, decode_masks
from schemas.errors import InputError
from schemas.stages import STAGES
from schemas.tables import table_of
from tests.rows import mask_row

TRAINING = TrainingConfig(name="test", phases=(Phase(until=1, batch_size=1, masks_per_image=1, correction_points=0),))


def annotate(store: Store, stage: str, round: int, *, count: int = 2, key: str = "") -> None:
    """`count` masks in every image, each a block of its own place for each stage, round and number."""
    for shard in store.shards():
        rows = []
        for image in store.read_shard("images", shard).to_pylist():
            for number in range(count):
                mask = np.zeros((image["height"], image["width"]), dtype=bool)
                mask[number : number + 5, 20 * STAGES.index(stage) + round] = True
                where = {"image_id": image["image_id"], "shard": shard, "stage": stage, "round": round}
                rows.append(mask_row(rle_codec.encode(mask), **where, origin="automatic", annotator="generator"))
        store.replace_shard(stage, shard, table_of(stage, rows), round=round, key=content_key(stage, round, count, key))


def select(store: Store, selection: Any = "accumulated", **rule: Any) -> SnapshotDataset:
    return training_samples(store, tables_versions=rule.pop("versions", store.versions()), selection=selection, **rule)


@pytest.fixture
def annotated(store: Store) -> Store:
    for stage, round in (("assisted_manual", 1), ("assisted_manual", 2), ("semi_automatic", 1), ("fully_automatic", 1)):
        annotate(store, stage, round)
    return store


def held_out(store: Store) -> set[int]:
    return {row["image_id"] for row in store.images().to_pylist() if row["split"] == "holdout"}


def test_a_sample_is_a_picture_with_the_masks_of_one_stage(annotated: Store) -> None:
    samples = select(annotated, "new_only", stage="semi_automatic", round=1)
    assert len(samples) == 6
    for index in range(len(samples)):
        sample = samples[index]
        assert isinstance(sample, Sample)
        np.testing.assert_array_equal(sample.image, annotated.load_image(samples.image_ids[index]))
        masks = decode_masks(sample.masks)
        assert masks.shape == (64, 96, 2)
        rows = annotated.read_image("semi_automatic", samples.image_ids[index]).sort_by("mask_id").to_pylist()
        assert [mask["counts"] for mask in sample.masks] == [row["rle"] for row in rows]


def test_held_out_images_never_come(annotated: Store) -> None:
    assert len(held_out(annotated)) == 2
    for rule in ({"selection": "accumulated"}, {"selection": "new_only", "stage": "assisted_manual", "round": 2}):
        assert not held_out(annotated) & set(select(annotated, **rule).image_ids)


def test_accumulated_takes_all_up_to_the_round(annotated: Store) -> None:
    def masks(**rule: Any) -> int:
        return int(select(annotated, **rule).lineage()["masks"])

    assert masks(stage="assisted_manual", round=1) == 6 * 2
    assert masks(stage="assisted_manual", round=2) == 6 * 4
    assert masks(stage="semi_automatic", round=1) == 6 * 6
    assert masks(stage="semi_automatic") == 6 * 6
    assert masks() == 6 * 8
    assert masks(selection="new_only", stage="assisted_manual", round=2) == 6 * 2


def test_ground_truth_is_not_trained_on(store: Store) -> None:
    assert store.counts()["ground_truth"] > 0
    assert len(select(store)) == 0


def test_weights_follow_the_stage(annotated: Store) -> None:
    samples = select(annotated, oversampling={"assisted_manual": 10, "semi_automatic": 2.5})
    weights = dict(zip(samples.stages, samples.weights, strict=True))
    assert weights == {"assisted_manual": 10.0, "semi_automatic": 2.5, "fully_automatic": 1.0}
    assert len(samples.weights) == len(samples) == 6 * 3


def test_old_versions_give_the_old_samples(annotated: Store) -> None:
    versions = annotated.versions()
    before = select(annotated)
    annotate(annotated, "semi_automatic", 1, count=3)
    annotate(annotated, "semi_automatic", 2)
    again = select(annotated, versions=versions)
    assert again.lineage() == before.lineage()
    assert [again[index].masks for index in range(len(again))] == [before[index].masks for index in range(len(before))]
    assert select(annotated).lineage()["masks"] == 6 * (8 + 1 + 2)


def test_lineage_tells_versions_rule_and_size(annotated: Store) -> None:
    versions = annotated.versions()
    rule: dict[str, Any] = {"stage": "semi_automatic", "round": 1, "oversampling": {"assisted_manual": 3.0}}
    assert select(annotated, **rule).lineage() == {
        "versions": {name: versions[name] for name in ("images", *STAGES)},
        "selection": "accumulated",
        **rule,
        "images": 6,
        "masks": 6 * 6,
    }


def test_the_order_does_not_depend_on_how_rows_came(annotated: Store) -> None:
    first = select(annotated)
    annotate(annotated, "assisted_manual", 1, key="written again, later")
    second = select(annotated)
    assert first.image_ids == second.image_ids
    assert [first[index].masks for index in range(len(first))] == [second[index].masks for index in range(len(second))]
    assert list(zip(map(STAGES.index, first.stages), first.image_ids, strict=True)) == sorted(
        zip(map(STAGES.index, first.stages), first.image_ids, strict=True)
    )


def test_samples_are_read_in_forked_processes(annotated: Store) -> None:
    """Training reads ahead in processes of its own."""
    samples = select(annotated, stage="assisted_manual")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        read = pool.map_async(samples.__getitem__, range(len(samples))).get(timeout=60)
    for index, sample in enumerate(read):
        np.testing.assert_array_equal(sample.image, samples[index].image)
        assert sample.masks == samples[index].masks


def test_wrong_rules_are_refused(annotated: Store) -> None:
    with pytest.raises(ValueError, match="give stage and round"):
        select(annotated, "new_only", stage="semi_automatic")
    with pytest.raises(ValueError, match="must be above 0"):
        select(annotated, oversampling={"semi_automatic": 0.0})


def test_a_picture_that_is_gone_is_named(annotated: Store) -> None:
    samples = select(annotated)
    annotated.picture({"path": annotated.images()["path"][0].as_py()}).remove()
    with pytest.raises(InputError, match="cannot read the file"):
        [samples[index] for index in range(len(samples))]


def test_samples_come_more_often_by_their_share_of_hard_masks(
    annotated: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every image two masks a round, in 10 seconds; of every second image one mask of round 1 took 30."""
    slow = sorted(select(annotated, "new_only", stage="assisted_manual", round=1).image_ids)[::2]
    for shard in annotated.shards():
        rows = annotated.read_rows("assisted_manual", shard=shard, round=1).sort_by("mask_id").to_pylist()
        met: set[int] = set()
        for row in rows:
            first = row["image_id"] not in met
            met.add(row["image_id"])
            row |= {"origin": "manual", "seconds": 30.0 if first and row["image_id"] in slow else 10.0}
        table, key = table_of("assisted_manual", rows), content_key("timed")
        annotated.replace_shard("assisted_manual", shard, table, round=1, key=key)
    rule: dict[str, Any] = {"stage": "semi_automatic", "round": 1, "oversampling": {"assisted_manual": 10}}
    plain, favoured = select(annotated, **rule), select(annotated, **rule, hard_weight=5)
    assert plain.weights == [10.0] * 6 + [1.0] * 6
    assert favoured.weights == [20.0, 10.0] * 3 + [1.0] * 6, "one of four masks: 1 + (5 - 1) / 4 times"
    with monkeypatch.context() as patched:
        patched.setattr(order, "SHUFFLED_AT_ONCE", 3)
        many = select(annotated, **rule, hard_weight=5)
    by_sample = zip(many.stages, many.image_ids, many.weights, strict=True)
    assert sorted(by_sample) == sorted(zip(favoured.stages, favoured.image_ids, favoured.weights, strict=True))
    assert select(annotated, **rule, hard_weight=1).lineage() == plain.lineage(), "models of before are found again"
    assert favoured.lineage() == {**plain.lineage(), "hard_weight": 5}
    with pytest.raises(ValueError, match="above 0"):
        select(annotated, hard_weight=0)


def test_many_samples_are_the_same_ones_file_by_file(annotated: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rule: dict[str, Any] = {"oversampling": {"assisted_manual": 10}, "without": [select(annotated).image_ids[1]]}
    few = select(annotated, **rule)
    monkeypatch.setattr(order, "SHUFFLED_AT_ONCE", len(few) - 1)
    many = select(annotated, **rule)
    assert few.files is None
    assert len(many) == len(few) == 5 * 3

    def described(samples: SnapshotDataset) -> dict[tuple[str, int], tuple[float, str]]:
        read = zip(samples.stages, samples.image_ids, samples.weights, map(samples.__getitem__, range(15)), strict=True)
        return {(stage, image_id): (weight, repr(sample)) for stage, image_id, weight, sample in read}

    assert described(many) == described(few)
    assert isinstance(many.weights, RunWeights)
    assert many.files is not None
    shards = {image_id: annotated.shard_of(image_id) for image_id in many.image_ids}
    for first, last in itertools.pairwise(many.files.tolist()):
        own = many.image_ids[first:last]
        assert own == sorted(own)
        assert len({(many.stages[at], shards[many.image_ids[at]], many.groups[at]) for at in range(first, last)}) == 1
    assert many.lineage() == {**few.lineage(), "order": "file by file"}
    assert many.left_out(TRAINING, side_px=64) == few.left_out(TRAINING, side_px=64)


def test_many_samples_are_read_in_other_processes(annotated: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "SHUFFLED_AT_ONCE", 3)
    samples = select(annotated)
    sent = pickle.loads(pickle.dumps(samples))
    assert [repr(sent[at]) for at in range(len(sent))] == [repr(samples[at]) for at in range(len(samples))]
