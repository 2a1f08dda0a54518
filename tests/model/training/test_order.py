import numpy as np
import pytest

from model.training import order
from model.training.order import EpochOrder, GroupedSource

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
