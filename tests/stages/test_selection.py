import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.selection import share_of_images


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
