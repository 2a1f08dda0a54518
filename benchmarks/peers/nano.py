"""The model that ships, with its own preset, from a JPEG file to masks. It has no peer."""

import io
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.peers.setting import NANO, Hw, Setting, grid, picture, shown_logits
from benchmarks.peers.tasks import Turn
from engine.images import decode_image
from engine.masks.generator import MaskGenerator
from flows.allocator import keep_freed_memory
from model.denormals import flushed
from model.predictor import Predictor
from model.registry import model_roots
from model.storage import load_model
from schemas.presets import generator_preset
from tests.peers.records import as_published

JPEG_QUALITY = 92
PLAIN, PLAIN_FLUSHED, FOLDED = "plain", "plain, denormals as zeros", "folded, denormals as zeros"
POINTS_PER_SIDE = 8  # of the decoders' turns


class NanoTasks:
    """The tasks of its process, which handles memory as the command line does."""

    def __init__(self, setting: Setting) -> None:
        keep_freed_memory()
        points_per_side = setting.generator.points_per_side
        config = generator_preset(NANO, points_per_side=points_per_side)
        few = generator_preset(NANO, points_per_side=min(2, points_per_side))
        started = time.perf_counter()
        sam, info = load_model(NANO, model_roots())
        self.load_s = time.perf_counter() - started
        self.name = f"nano {info.model_id}"
        self.predictor = Predictor(sam)
        self.generate = MaskGenerator(self.predictor, config).generate
        self.generate_few = MaskGenerator(Predictor(sam), few).generate

    def loaded(self) -> tuple[str, float]:
        """Name and id of the model, and seconds to load it."""
        return self.name, self.load_s

    def warm_up(self, file: Path) -> float:
        """Seconds of a call with four points, where anything that happens only once is paid for."""
        started = time.perf_counter()
        self.generate_few(decode_image(file))
        return time.perf_counter() - started

    def generate_file(self, file: Path) -> Turn:
        """Seconds by phase."""
        started = time.perf_counter()
        image = decode_image(file)
        decoded = time.perf_counter()
        found = self.generate(image)
        seconds = time.perf_counter() - started
        phases = {**found.seconds, "decode_image": decoded - started}
        phases["rest"] = seconds - sum(phases.values())
        return Turn(seconds, phases, as_published(found.masks))

    def decoder(self, hw: Hw, way: str) -> tuple[float, npt.NDArray[np.float32]]:
        """Processor ms a prompt on one thread, for single points with three masks each; the logits of those.

        way: PLAIN, PLAIN_FLUSHED or FOLDED.
        """
        self.predictor.set_image(picture(hw))
        points = (grid(POINTS_PER_SIDE) * torch.tensor([hw[1], hw[0]]))[:, None]
        labels, threads = torch.ones(len(points), 1), torch.get_num_threads()
        torch.set_num_threads(1)
        with ExitStack() as stack:
            if way == PLAIN_FLUSHED:
                stack.enter_context(flushed())
            started = time.thread_time()
            if way == FOLDED:
                logits = self.predictor.prompt(points, labels).logits(torch.arange(3 * len(points)))
            else:
                logits = self.predictor.predict_low_res(points, labels).logits.flatten(0, 1)
            seconds = time.thread_time() - started
        torch.set_num_threads(threads)
        return seconds / len(points) * 1e3, logits[shown_logits(self.predictor.input_hw)].numpy()


def write_jpeg(file: Path, hw: Hw) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(hw)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    file.write_bytes(buffer.getvalue())
