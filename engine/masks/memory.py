"""How much the generator may hold at a time: settings that change speed and memory, never masks."""

from typing import NamedTuple

from model.upscaling import Upscaling
from schemas.errors import InputError
from schemas.presets import GeneratorConfig

# What a prompt or an encoded crop needs at a padded input of 1024 x 1024 px, generously; in proportion to its pixels.
MIB_PER_PROMPT = 12
MIB_PER_CROP = 1024
PROMPTS_ON_CPU = 32  # at 1024 x 1024 px; more together take twice the memory, and hardly less time
WINDOW_MIB = 256  # masks that wait for suppression, where no limit is set: far more than ordinary ones take
CROPS_PER_BATCH_ON_ACCELERATOR = 4
_FULL_SIZE = 1024 * 1024
_WINDOW_SHARE = 4  # a quarter of the limit for the masks that wait, the rest for prompts and crops


class Limits(NamedTuple):
    """prompts: through the decoder together. waiting_bytes: of masks that wait for suppression."""

    prompts: int
    waiting_bytes: int


def limits(config: GeneratorConfig, upscaling: Upscaling, *, on_cpu: bool) -> Limits:
    """What `config.max_memory_mb` leaves room for, with a model of this padded input size.

    Raises InputError if that is less than one prompt.
    """
    scale = upscaling.padded_hw[0] * upscaling.padded_hw[1] / _FULL_SIZE
    wanted = min(config.points_per_batch, max(1, int(PROMPTS_ON_CPU / scale))) if on_cpu else config.points_per_batch
    if config.max_memory_mb is None:
        return Limits(wanted, WINDOW_MIB * 2**20)
    per_prompt = MIB_PER_PROMPT * scale
    windows = config.max_memory_mb / _WINDOW_SHARE
    prompts = int((config.max_memory_mb - windows) / per_prompt)
    if prompts < 1:
        least = int(per_prompt * _WINDOW_SHARE / (_WINDOW_SHARE - 1)) + 1
        raise InputError(
            f"max_memory_mb is {config.max_memory_mb}, and a single prompt of a model with a padded input of "
            f"{upscaling.padded_hw[1]}x{upscaling.padded_hw[0]} px needs {least}; raise it, or use a smaller model"
        )
    return Limits(min(prompts, wanted), int(windows * 2**20))


def crops_per_batch(config: GeneratorConfig, *, on_cpu: bool) -> int:
    """Crops encoded together; at least one. A CPU gains nothing from several."""
    wanted = config.crops_per_batch or (1 if on_cpu else CROPS_PER_BATCH_ON_ACCELERATOR)
    if config.max_memory_mb is None:
        return wanted
    return max(1, min(wanted, config.max_memory_mb // MIB_PER_CROP))
