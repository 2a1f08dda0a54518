"""What a limit on memory leaves room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.masks.memory import MIB_PER_PROMPT, Limits, crops_per_batch, limits
from model.upscaling import Upscaling
from schemas.errors import InputError
from schemas.presets import GeneratorConfig

MIB = 2**20


def _upscaling(side: int) -> Upscaling:
    return Upscaling((side, side), (side, side), (side, side))


@pytest.mark.parametrize(
    ("memory", "side", "on_cpu", "expected"),
    [
        (None, 1024, True, Limits(32, 256 * MIB)),
        (None, 512, True, Limits(64, 256 * MIB)),
        (None, 1024, False, Limits(64, 256 * MIB)),
        (512, 1024, False, Limits(32, 128 * MIB)),  # a quarter for the masks that wait, 12 MiB for each prompt
        (64, 1024, True, Limits(4, 16 * MIB)),
        (64, 512, True, Limits(16, 16 * MIB)),
        (65536, 1024, False, Limits(64, 16384 * MIB)),
    ],
)
def test_limits_by_hand(memory: int | None, side: int, on_cpu: bool, expected: Limits) -> None:
    config = GeneratorConfig(points_per_batch=64, max_memory_mb=memory)
    assert limits(config, _upscaling(side), on_cpu=on_cpu) == expected


@given(st.integers(64, 1_000_000), st.sampled_from([256, 1024, 2048]), st.integers(1, 5000), st.booleans())
def test_prompts_and_waiting_masks_together_stay_below_the_limit(
    memory: int, side: int, batch: int, on_cpu: bool
) -> None:
    found = limits(GeneratorConfig(points_per_batch=batch, max_memory_mb=memory), _upscaling(side), on_cpu=on_cpu)
    assert 1 <= found.prompts <= batch
    assert found.waiting_bytes / MIB + found.prompts * MIB_PER_PROMPT * (side / 1024) ** 2 <= memory


def test_the_least_that_is_named_is_enough_for_a_prompt() -> None:
    with pytest.raises(InputError, match=r"4096x4096 px needs 257"):
        limits(GeneratorConfig(max_memory_mb=255), _upscaling(4096), on_cpu=False)
    assert limits(GeneratorConfig(max_memory_mb=257), _upscaling(4096), on_cpu=False).prompts == 1


def test_crops_by_hand() -> None:
    def crops(*, on_cpu: bool, memory: int | None = None, wanted: int | None = None) -> int:
        return crops_per_batch(GeneratorConfig(max_memory_mb=memory, crops_per_batch=wanted), on_cpu=on_cpu)

    assert (crops(on_cpu=True), crops(on_cpu=False)) == (1, 4)
    assert [crops(on_cpu=False, memory=memory) for memory in (64, 1024, 2047, 2048, 65536)] == [1, 1, 1, 2, 4]
    assert crops(on_cpu=True, wanted=3) == 3
