"""The model that ships, with its own preset, from a JPEG file to masks. It has no peer."""

import io
import time
from pathlib import Path

from PIL import Image

from benchmarks.peers.setting import NANO, Hw, Setting, picture
from benchmarks.peers.tasks import Turn
from engine.images import decode_image
from engine.masks.generator import MaskGenerator
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import load_model, model_roots
from schemas.presets import generator_preset
from tests.peers.records import as_published

JPEG_QUALITY = 92


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
        self.generate = MaskGenerator(Predictor(sam), config).generate
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


def write_jpeg(file: Path, hw: Hw) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(hw)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    file.write_bytes(buffer.getvalue())
