"""Memory does not grow with prompts times pixels: 100 megapixels and 3,072 prompts in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json, resource, sys
import numpy as np
import torch
from engine.masks.generator import MaskGenerator
from model.promptable import DecodedMasks
from model.published import resized_hw
from model.upscaling import Upscaling
from schemas.presets import generator_preset

SIDE, LOW = 10_000, 256

class Blobs:
    '''A prompt gives a disc around its point, a larger one, and half the picture.'''

    device = torch.device('cpu')

    def encode_images(self, images):
        return [image.shape[:2] for image in images]

    def set_embedding(self, hw):
        self.hw = hw

    @property
    def upscaling(self):
        return Upscaling((1024, 1024), resized_hw(self.hw, longest_side=1024), self.hw)

    def prompt(self, points, labels):
        scale = LOW / max(self.hw)
        ys, xs = torch.meshgrid(torch.arange(LOW), torch.arange(LOW), indexing="ij")
        logits = []
        for x, y in (points[:, 0] * scale).tolist():
            distance = ((xs - x) ** 2 + (ys - y) ** 2).sqrt()
            logits += [(5 - distance) * 8, (20 - distance) * 8, (x - xs) * 8.0]
        logits = torch.stack(logits).reshape(len(points), 3, LOW, LOW).float()
        return DecodedMasks(torch.full((len(points), 3), 0.95), logits)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

image = np.full((SIDE, SIDE, 3), 90, dtype=np.uint8)
before = peak()
config = generator_preset("paper-sa1b", **json.loads(sys.argv[1]))
result = MaskGenerator(Blobs(), config).generate(image)
sizes = {mask.rle[:2] for mask in result.masks}
print(json.dumps({"before": before, "peak": peak(), "masks": len(result.masks), "sizes": list(sizes)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"max_memory_mb": 512}])
def test_a_picture_of_100_megapixels_with_the_preset_of_the_paper(settings: dict[str, int]) -> None:
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=550)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["masks"] > 1000
    assert found["sizes"] == [[10_000, 10_000]]
    assert found["peak"] < 6 * 2**10  # MiB, all of the process
    if settings:
        assert (
            found["peak"] - found["before"] < settings["max_memory_mb"] + 1000
        )  # torch's, the compiler's and the result's own
