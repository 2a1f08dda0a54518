import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training import order
from model.training.order import EpochOrder, FiledSource, GroupedSource, StreamedOrder, order_of
from model.training.run_weights import RunWeights

FILES, EACH = 20, 10
GROUPS = np.repeat(np.random.default_rng(1).permutation(FILES), EACH).astype(np.int32)
SAMPLES = np.arange(FILES * EACH)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> EpochOrder:
    monkeypatch.setattr(order, "SHUFFLED_AT_ONCE", 100)
    return EpochOrder(SAMPLES, GROUPS, seed=3)


def stream(of: EpochOrder, first: int, last: int) -> list[int]:
    return [of.sample(position) for position in range(first, last)]


@pytest.mark.parametrize("groups", [None, GROUPS, np.full(len(SAMPLES), -1, dtype=np.int32)])
def test_few_samples_are_shuffled_all_at_once(groups: np.ndarray | None) -> None:
    small = EpochOrder(np.repeat(SAMPLES, 2), groups, seed=3)
    for epoch in range(3):
        expected = np.random.default_rng((3, epoch)).permutation(np.repeat(SAMPLES, 2)).tolist()
        assert stream(small, epoch * 400, epoch * 400 + 400) == expected
    assert small.beside(17).tolist() == np.repeat(SAMPLES, 2).tolist()


def test_every_sample_comes_once_an_epoch_and_its_file_is_read_once(large: EpochOrder) -> None:
    for epoch in range(2):
        of_epoch = stream(large, epoch * 200, epoch * 200 + 200)
        assert sorted(of_epoch) == SAMPLES.tolist()
        files = GROUPS[of_epoch]
        for start in range(0, 200, order.FILES_AT_ONCE * EACH):
            window = files[start : start + order.FILES_AT_ONCE * EACH]
            assert len(set(window)) <= order.FILES_AT_ONCE
            assert all(abs(np.flatnonzero(files == file) // (order.FILES_AT_ONCE * EACH)).std() == 0 for file in window)
        assert (np.diff(files[:80]) != 0).sum() > 40, "shuffled within the window too"
    assert stream(large, 0, 200) != stream(large, 200, 400)


def test_a_run_that_is_resumed_goes_on_in_the_same_order(large: EpochOrder) -> None:
    whole = stream(large, 0, 600)
    assert stream(EpochOrder(SAMPLES, GROUPS, seed=3), 250, 600) == whole[250:]
    assert stream(EpochOrder(SAMPLES, GROUPS, seed=4), 0, 600) != whole


def test_what_lies_in_no_file_is_spread_over_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "SHUFFLED_AT_ONCE", 100)
    replayed = np.append(SAMPLES, np.full(50, 200))
    of_epoch = stream(EpochOrder(replayed, np.append(GROUPS, np.int32(-1)), seed=3), 0, 250)
    assert sorted(of_epoch) == replayed.tolist()
    places = np.flatnonzero(np.array(of_epoch) == 200)
    assert all(((places >= start) & (places < start + 84)).sum() >= 8 for start in (0, 83, 166))


def test_a_donor_lies_in_the_same_window(large: EpochOrder) -> None:
    for position in (0, 79, 80, 199, 420):
        beside = large.beside(position)
        assert large.sample(position) in beside
        assert len(set(GROUPS[beside])) <= order.FILES_AT_ONCE


def test_sources_that_know_their_files() -> None:
    class Source:
        groups = GROUPS

    assert isinstance(Source(), GroupedSource)
    assert not isinstance([], GroupedSource)


def filed(*, alone: int = 0, seed: int = 3, weights: list[float] | None = None) -> StreamedOrder:
    """FILES files of EACH samples, and some behind that lie in none."""
    starts = np.arange(FILES + 1) * EACH
    weights = [1.0] * (FILES * EACH + alone) if weights is None else weights
    return StreamedOrder(starts, RunWeights.of(weights), seed=seed)


def test_a_stream_of_files_reads_each_once_an_epoch() -> None:
    of, files = filed(), np.arange(FILES * EACH) // EACH
    epochs = [[of.sample(position) for position in range(start, start + 200)] for start in (0, 200)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(200))
        window = order.FILES_AT_ONCE * EACH
        parts = [set(files[epoch[start : start + window]].tolist()) for start in range(0, 200, window)]
        assert [len(part) for part in parts] == [8, 8, 4]
        assert len(set.union(*parts)) == FILES
        assert (np.diff(files[epoch[:window]]) != 0).sum() > 40, "shuffled within the window too"
    assert epochs[0] != epochs[1]


@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 3.5]), min_size=FILES * EACH, max_size=FILES * EACH + 4),
    seed=st.integers(0, 9),
)
def test_each_sample_of_a_stream_comes_as_often_as_its_weight_says(weights: list[float], seed: int) -> None:
    of = filed(weights=weights, seed=seed)
    expected = np.rint(np.array(weights) / min(weights)).astype(int)
    assert len(of) == expected.sum()
    for start in (0, len(of)):
        came = [of.sample(start + position) for position in range(len(of))]
        assert np.bincount(came, minlength=len(weights)).tolist() == expected.tolist()


def test_a_stream_goes_on_from_anywhere_in_the_same_order() -> None:
    of = filed(alone=3)
    whole = [of.sample(position) for position in range(500)]
    again = filed(alone=3)
    assert [again.sample(position) for position in (430, 7, 205, 203, 499)] == [
        whole[at] for at in (430, 7, 205, 203, 499)
    ]
    assert [filed(alone=3, seed=4).sample(position) for position in range(500)] != whole


def test_what_lies_in_no_file_of_a_stream_is_spread_evenly() -> None:
    """Three windows of files: each sample comes in each of them as often as in the others, give or take one."""
    of = filed(weights=[1.0] * 200 + [50.0, 7.0])
    windows: list[list[int]] = []
    while (position := sum(map(len, windows))) < len(of):
        windows.append(of.beside(position).tolist())
    assert len(windows) == 3
    for sample, times in ((200, 50), (201, 7)):
        counts = [window.count(sample) for window in windows]
        assert sum(counts) == times
        assert max(counts) - min(counts) <= 1


def test_a_donor_of_a_stream_lies_in_the_same_window() -> None:
    of = filed()
    for position in (0, 79, 80, 199, 420):
        beside = of.beside(position)
        assert of.sample(position) in beside
        assert len(set((beside // EACH).tolist())) <= order.FILES_AT_ONCE


def test_the_order_is_that_of_the_source() -> None:
    class Filed:
        files: np.ndarray | None = np.arange(FILES + 1) * EACH
        groups = GROUPS

    source, weights = Filed(), [1.0] * (FILES * EACH)
    assert isinstance(source, FiledSource)
    assert isinstance(order_of(source, weights, seed=3), StreamedOrder)
    source.files = None
    few = order_of(source, weights, seed=3)
    assert isinstance(few, EpochOrder)
    assert [few.sample(at) for at in range(200)] == np.random.default_rng((3, 0)).permutation(200).tolist()
    twice = order_of([], RunWeights.of([1.0, 2.0, 2.0]), seed=3)
    assert sorted(twice.sample(at) for at in range(len(twice))) == [0, 1, 1, 2, 2]
