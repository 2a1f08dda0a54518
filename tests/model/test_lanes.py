import os
import threading
from collections.abc import Iterator

import pytest
import torch

from model.lanes import lane_count, side_by_side


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_without_gradients() -> None:
    weight = torch.ones(3, requires_grad=True)
    results = side_by_side(lambda part: weight * part, list(range(50)))
    assert [result[0].item() for result in results] == list(range(50))
    assert not any(result.requires_grad for result in results)
    assert torch.is_grad_enabled()


def test_parts_run_at_once_with_one_thread_each() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def meet(_: int) -> int:
        barrier.wait()  # broken if the other part does not run at the same time
        return torch.get_num_threads()

    assert side_by_side(meet, [0, 1]) == [1, 1]
    assert torch.get_num_threads() == 2


def test_the_usual_number_of_threads_comes_back_after_an_error_and_stays_known_within() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda part: 1 // part, [1, 0])
    assert torch.get_num_threads() == 2
    assert side_by_side(lambda _: lane_count(), [0, 1]) == [2, 2]


def test_two_callers_at_once_leave_the_usual_number_behind() -> None:
    def work() -> None:
        side_by_side(lambda part: torch.randn(50, 50) @ torch.randn(50, 50), list(range(20)))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert torch.get_num_threads() == 2


def test_one_part_or_one_thread_needs_no_other_thread() -> None:
    here = threading.get_ident()
    assert side_by_side(lambda _: threading.get_ident(), [0]) == [here]
    torch.set_num_threads(1)
    assert side_by_side(lambda _: threading.get_ident(), [0, 1]) == [here, here]
    assert side_by_side(lambda part: part, []) == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    side_by_side(lambda part: part, [0, 1])
    child = os.fork()
    if child == 0:
        os._exit(0 if side_by_side(lambda part: part, [3, 4]) == [3, 4] else 1)
    assert os.waitpid(child, 0)[1] == 0
