"""What a contender's process is asked to do. Everything it gives back is plain and small; large arrays go to files."""

import ctypes
import gc
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.outputs import MASKS, DecoderOutputs, Substitute
from benchmarks.peers.setting import Hw, Setting, picture
from schemas.presets import GeneratorConfig

_MIB = 2**20


@dataclass(frozen=True)
class Turn:
    """One timed call. seconds: less what was off the clock. networks_file: what its networks said, if they ran."""

    seconds: float
    phases: dict[str, float] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    networks_file: Path | None = None


@dataclass(frozen=True)
class Peak:
    """Resident memory in MiB once the image encoder was done, and at its peak from there on."""

    before_mib: float
    peak_mib: float
    records: list[dict[str, Any]]


class Tasks:
    """The tasks of one process; the decoder outputs of the picture in use stay in memory from one task to the next."""

    def __init__(self, contender: Any, setting: Setting) -> None:
        self.contender, self.setting = contender, setting
        self._outputs: tuple[Hw, DecoderOutputs] | None = None

    def warm_up(self, hw: Hw, *, networks: bool) -> float:
        """Seconds of a call with four points, where anything that happens only once is paid for."""
        config = self.setting.generator.model_copy(update={"points_per_side": 2})
        return self._generate(config, Substitute(self._outputs_of(hw), networks=networks), hw).seconds

    def post(self, hw: Hw) -> Turn:
        """What follows the decoder: no network runs."""
        return self._generate(self.setting.generator, Substitute(self._outputs_of(hw), networks=False), hw)

    def whole(self, hw: Hw) -> Turn:
        """The whole generator; the networks run, and a sample of what they said is kept in a file."""
        substitute = Substitute(self._outputs_of(hw), networks=True)
        turn = self._generate(self.setting.generator, substitute, hw)
        file = self.setting.folder / f"whole-{_slug(self.contender.name)}-{hw[0]}x{hw[1]}.npz"
        shown = self.setting.shown(hw)
        np.savez(
            file,
            numbers=np.array(list(substitute.logits), dtype=np.int64),
            logits=torch.stack(list(substitute.logits.values())).numpy()[shown] if substitute.logits else np.empty(0),
            rows=np.array(list(substitute.ious), dtype=np.int64),
            ious=torch.stack(list(substitute.ious.values())).numpy(),
        )
        return Turn(turn.seconds, turn.phases, turn.records, file)

    def decoder(self, hw: Hw, *, batch: int) -> Turn:
        """Prompt encoder and mask decoder for every point of the grid, on the image embedding that all share."""
        embedding = torch.from_numpy(np.load(self.setting.embedding_file))
        count, side = self.setting.generator.points_per_side**2, self.setting.low_res
        # Not np.zeros: the system is to hand the memory out before the clock starts.
        logits, ious = np.full((count, MASKS, side, side), 0, np.float32), np.full((count, MASKS), 0, np.float32)
        done, seconds, started = 0, 0.0, time.perf_counter()
        for some_logits, some_ious in self.contender.decode(embedding, hw, batch):
            seconds += time.perf_counter() - started  # keeping the numbers is off the clock
            logits[done : done + len(some_logits)] = some_logits.float().numpy()
            ious[done : done + len(some_logits)] = some_ious.float().numpy()
            done += len(some_logits)
            del some_logits, some_ious
            started = time.perf_counter()
        file = self.setting.folder / f"decoder-{_slug(self.contender.name)}-{batch}.npy"
        np.save(file, logits[self.setting.shown(hw)])
        np.save(file.with_suffix(".iou.npy"), ious)
        return Turn(seconds, networks_file=file)

    def memory(self, hw: Hw) -> Peak:
        """Peak memory of the whole generator after the image encoder. To be asked of a fresh process."""
        before = []

        def on_encoded() -> None:
            _give_back_freed_memory()
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            before.append(_status_mib("VmRSS"))

        outputs = DecoderOutputs(self.setting, hw, resident=False)
        substitute = Substitute(outputs, networks=True, on_encoded=on_encoded)
        turn = self._generate(self.setting.generator, substitute, hw)
        return Peak(before[0], _status_mib("VmHWM"), turn.records)

    def network_masks(self, hw: Hw, *, config: GeneratorConfig) -> list[dict[str, Any]]:
        """The masks that the networks themselves give, with nothing in their place."""
        found: list[dict[str, Any]] = self.contender.records(self.contender.generator(config, None)(picture(hw)))
        return found

    def _generate(self, config: GeneratorConfig, substitute: Substitute, hw: Hw) -> Turn:
        image, generate = picture(hw), self.contender.generator(config, substitute)
        gc.collect()
        started = substitute.watch.now()
        found = generate(image)
        seconds = substitute.watch.now() - started
        phases = dict(substitute.watch.phases)
        phases["rest"] = seconds - sum(phases.values())
        return Turn(seconds, phases, self.contender.records(found))

    def _outputs_of(self, hw: Hw) -> DecoderOutputs:
        if self._outputs is None or self._outputs[0] != hw:
            self._outputs = None
            self._outputs = hw, DecoderOutputs(self.setting, hw)
        return self._outputs[1]


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def _status_mib(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(found[1]) * 1024 / _MIB


def _give_back_freed_memory() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
