"""Decoder outputs that are known before the clock starts, so that every contender goes on from the same numbers.

With random weights hardly a mask would survive; the outputs are then made from region maps of the picture
(`tests.peers.decoder_outputs`). With trained weights they are those of our own network.
Shapes: N grid points, (h, w) low-resolution logits. A mask's number counts through (N, 3) row by row.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks.peers.setting import Hw, Setting, grid, picture
from benchmarks.peers.stopwatch import Stopwatch
from model.predictor import Predictor
from model.published import resize_longest_side
from model.sam import build_sam
from tests.peers import decoder_outputs

MASKS = 3
SAMPLED_PROMPTS = 60
_AT_A_TIME = 64


def logits_file(setting: Setting, hw: Hw) -> Path:
    return setting.folder / f"logits-{hw[0]}x{hw[1]}.bin"


def iou_file(setting: Setting, hw: Hw) -> Path:
    return setting.folder / f"iou-{hw[0]}x{hw[1]}.npy"


def write_outputs(setting: Setting, hw: Hw) -> None:
    """Compute the outputs for all grid points of the picture of this size, unless that is done already."""
    if iou_file(setting, hw).exists():
        return
    source = _of_network(setting, hw) if setting.trained else _of_region_maps(setting, hw)
    ious = []
    with logits_file(setting, hw).open("wb") as file:
        for points in grid(setting.generator.points_per_side).split(_AT_A_TIME):
            logits, iou = source(points)
            file.write(logits.contiguous().numpy().tobytes())
            ious.append(iou)
    np.save(iou_file(setting, hw), torch.cat(ious).numpy())


def _of_region_maps(setting: Setting, hw: Hw) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    side = decoder_outputs.IMAGE_SIZE
    resized = torch.from_numpy(resize_longest_side(picture(hw), longest_side=side)).permute(2, 0, 1)[None]
    height, width = resized.shape[-2:]
    maps = decoder_outputs.encode(F.pad(resized, (0, side - width, 0, side - height)))
    shrink = decoder_outputs.LOW_RES // setting.low_res

    def outputs(points: Tensor) -> tuple[Tensor, Tensor]:
        prediction = decoder_outputs.decode(maps, points * torch.tensor([width, height]))
        return F.avg_pool2d(prediction.logits, shrink) if shrink > 1 else prediction.logits, prediction.predicted_iou

    return outputs


def _of_network(setting: Setting, hw: Hw) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    sam = build_sam(setting.model_config)
    sam.load_state_dict(load_file(setting.weights_file), strict=True)
    predictor = Predictor(sam.eval())
    predictor.set_image(picture(hw))

    def outputs(points: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (points * torch.tensor([hw[1], hw[0]]))[:, None]
        prediction = predictor.predict_low_res(pixels, torch.ones(len(points), 1))
        return prediction.logits, prediction.predicted_iou

    return outputs


class DecoderOutputs:
    """The outputs of one picture. resident: all in memory, else a mask is read from its file whenever it is asked for.

    ious: (N, 3) float32.
    """

    def __init__(self, setting: Setting, hw: Hw, *, resident: bool = True) -> None:
        self._file, self._side = logits_file(setting, hw), setting.low_res
        self._points_per_side, self._input_hw = setting.generator.points_per_side, setting.input_hw(hw)
        self.ious = torch.from_numpy(np.load(iou_file(setting, hw)))
        self._all = self._read(0, self.ious.numel()) if resident else None

    def rows(self, points: Tensor) -> Tensor:
        """Numbers (M,) of the grid points that M points (M, 2) are, given as (x, y) pixels of the model's input."""
        height, width = self._input_hw
        cells = points.double() / torch.tensor([width, height], dtype=torch.float64) * self._points_per_side
        column, row = cells.long().clamp(0, self._points_per_side - 1).unbind(dim=1)
        return row * self._points_per_side + column

    def masks(self, numbers: Tensor) -> Tensor:
        """Logits (K, h, w) of the masks `numbers` (K,); a view where they follow each other."""
        if not len(numbers):
            return torch.empty(0, self._side, self._side)
        first, count = int(numbers[0]), len(numbers)
        follow = bool((numbers == torch.arange(first, first + count)).all())
        if self._all is not None and follow:
            return self._all[first : first + count]
        if self._all is not None:  # by numpy: torch's threads go on spinning after it, while the clock runs
            return torch.from_numpy(self._all.numpy()[numbers.numpy()])
        if follow:
            return self._read(first, count)
        return torch.cat([self._read(number, 1) for number in numbers.tolist()])

    def of_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (M, 3, h, w) and IoUs (M, 3) for points (M, 2) in pixels of the model's input."""
        rows = self.rows(points)
        return self.masks(mask_numbers(rows)).unflatten(0, (-1, MASKS)), self.ious[rows]

    def _read(self, first: int, count: int) -> Tensor:
        pixels = self._side**2
        numbers = np.fromfile(self._file, np.float32, count=count * pixels, offset=first * pixels * 4)
        return torch.from_numpy(numbers).view(count, self._side, self._side)


def mask_numbers(rows: Tensor) -> Tensor:
    """(M * 3,) numbers of the masks of grid points (M,)."""
    return (rows[:, None] * MASKS + torch.arange(MASKS)).flatten()


class Substitute:
    """Puts known outputs in the place of the network's, off the clock, and keeps a sample of what the network said.

    networks: whether the real networks run; where not, encoding a picture is off the clock too.
    on_encoded: called once the image encoder is done.
    logits: sampled logits (h, w) by the mask's number. ious: (3,) of every prompt that ran, by its number.
    """

    def __init__(
        self, outputs: DecoderOutputs, *, networks: bool, on_encoded: Callable[[], None] = lambda: None
    ) -> None:
        self.outputs, self.networks, self.on_encoded = outputs, networks, on_encoded
        self.watch = Stopwatch()
        self._every = max(1, len(outputs.ious) // SAMPLED_PROMPTS) | 1  # odd, for prompts in all columns of the grid
        self.logits: dict[int, Tensor] = {}
        self.ious: dict[int, Tensor] = {}

    def encoding(self) -> AbstractContextManager[None]:
        """Around the image encoder."""
        return self.watch.phase("encode") if self.networks else self.watch.paused()

    def decoding(self) -> AbstractContextManager[None]:
        """Around the prompt encoder and the mask decoder."""
        return self.watch.phase("decode")

    def replace(self, points: Tensor, real: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Known logits (M, 3, h, w) and IoUs (M, 3) for points (M, 2) in pixels of the model's input."""
        with self.watch.paused():
            rows = self.outputs.rows(points)
            if real is not None:
                self.keep_ious(rows, real[1])
                self.keep_logits(mask_numbers(rows), real[0].flatten(0, 1))
            return self.outputs.of_points(points)

    def keep_ious(self, rows: Tensor, ious: Tensor) -> None:
        """Keep what the network predicted, (M, 3)."""
        self.ious.update(zip(rows.tolist(), ious.float().clone(), strict=True))

    def keep_logits(self, numbers: Tensor, logits: Tensor) -> None:
        """Keep a sample of what the network gave for masks (K,), (K, h, w)."""
        for place, number in enumerate(numbers.tolist()):
            if number // MASKS % self._every == self._every // 2:
                self.logits[number] = logits[place].float().clone()
