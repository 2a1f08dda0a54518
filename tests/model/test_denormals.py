import threading

import pytest
import torch

from model.denormals import are_flushed, flushed


def product() -> float:
    return (torch.tensor([1e-30]) * torch.tensor([1e-10])).item()  # 1e-40, which float32 only has as a denormal number


def in_another_thread() -> tuple[float, bool]:
    found = []
    thread = threading.Thread(target=lambda: found.append((product(), are_flushed())))
    thread.start()
    thread.join()
    return found[0]


def test_denormal_numbers_are_zeros_within_and_nowhere_else() -> None:
    assert product() > 0
    assert not are_flushed()
    with flushed():
        assert product() == 0
        assert are_flushed()
        assert in_another_thread() == (0, True)
    assert product() > 0
    assert not are_flushed()


def test_a_scope_within_another_leaves_it_as_it_was() -> None:
    with flushed():
        with flushed():
            assert product() == 0
        assert product() == 0
    assert product() > 0


def test_an_error_ends_the_scope() -> None:
    with pytest.raises(ZeroDivisionError), flushed():
        _ = 1 // 0
    assert product() > 0


def test_threads_that_were_there_before_know_nothing_of_it() -> None:
    begin, found = threading.Event(), []

    def wait_and_multiply() -> None:
        begin.wait(20)
        found.append(product())

    thread = threading.Thread(target=wait_and_multiply)
    thread.start()
    with flushed():
        begin.set()
        thread.join()
    assert found[0] > 0
