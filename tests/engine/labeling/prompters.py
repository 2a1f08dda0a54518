"""A prompter on a picture, and what it is asked."""

import json
from typing import Any

import numpy as np

from engine.labeling.brush import decode_brush
from engine.labeling.prompting import Prompter
from tests.engine.labeling.bodies import (
    click_body,
    task_body,
)

MODEL_ID = "0123456789abcdef"


PICTURE = "assisted_manual-1/42.png"


HEIGHT, WIDTH = 64, 96


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def ask(prompter: Prompter, *regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The region that is answered."""
    body = json.loads(json.dumps(click_body(task_body(PICTURE), *regions, **more)))
    (result,) = prompter.predict(body)["results"]
    (region,) = result["result"]
    assert result["model_version"] == MODEL_ID
    assert result["score"] == region["score"]
    answer: dict[str, Any] = json.loads(json.dumps(region, allow_nan=False))
    return answer


def mask_of(region: dict[str, Any]) -> np.ndarray:
    assert region["value"]["format"] == "rle"
    return decode_brush(region["value"]["rle"], height=region["original_height"], width=region["original_width"])


def same(mask: np.ndarray, wanted: np.ndarray) -> bool:
    """But for rounding, which may turn a pixel whose logit is nearly zero: the backend shares work among prompts."""
    return mask.shape == wanted.shape and np.count_nonzero(mask != wanted) <= 2


def meta_of(region: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = region["meta"]["sa"]
    return meta
