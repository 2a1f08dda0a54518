"""Rows of masks tables for tests."""

from dataclasses import replace
from typing import Any

from engine.rle import measured
from schemas.mask import Prompt
from schemas.rle import Rle


def mask_row(
    rle: Rle, *, image_id: int, shard: str, stage: str, round: int, prompt: Prompt = Prompt(), **known: Any
) -> dict[str, Any]:
    """The row of a mask of which these fields of `schemas.mask.Mask` are known."""
    mask = replace(measured(rle), prompt=prompt, **known)
    return mask.to_row(image_id=image_id, shard=shard, stage=stage, round=round)
