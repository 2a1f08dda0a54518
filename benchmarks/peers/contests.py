"""What is compared: each contest asks the contenders' processes in turn, compares what they gave, and reports it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from benchmarks.peers.equality import (
    Records,
    Verdict,
    matched_masks,
    same_logits,
    same_masks,
    same_networks,
    same_samples,
    unequal_by_contract,
)
from benchmarks.peers.nano import FOLDED, PLAIN, PLAIN_FLUSHED, POINTS_PER_SIDE, write_jpeg
from benchmarks.peers.outputs import write_outputs
from benchmarks.peers.report import Report, Row, progress
from benchmarks.peers.setting import NANO, OURS, OURS_FAST, Hw, Setting, picture
from benchmarks.peers.tasks import Peak, Turn
from benchmarks.peers.worker import Worker, start
from model.predictor import Predictor
from model.sam import build_sam

PAUSE_S = 0.5  # before each turn: threads that spin after their last work go to sleep
# Untrained masks are alike and their scores mean nothing: with open filters there is something to compare.
OPEN_FILTERS = {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.5,
    "stability_score_offset": 0.1,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}
FAST_POINTS_PER_SIDE = 8  # every mask is compared with every other, and untrained ones are noise with very long RLEs


@dataclass
class Contests:
    """peers: names, the one that our masks must equal first. with_fast: our contract `fast` has a row of its own."""

    setting: Setting
    peers: list[str]
    repeats: int
    report: Report
    with_fast: bool
    peer_batches: list[int]
    workers: dict[str, Worker] = field(default_factory=dict)
    idle_s: float = 0.0

    def post(self, hw: Hw) -> None:
        """Everything after the decoder."""
        self.report.title(f"post: all that follows the decoder, {_by(hw)} px, {self._masks()} {self._origin()}")
        names = [*self.peers, OURS]
        turns = self._generator_turns("post", names, hw, networks=False)
        verdicts = self._mask_verdicts(turns)
        self.report.times([Row(name, _seconds(turns[name]), verdicts[name]) for name in names], ours=OURS)

    def decoder(self, hw: Hw) -> None:
        """Prompt encoder and mask decoder, all masks upscaled to the decoder's full resolution."""
        count = self.setting.generator.points_per_side**2
        self.report.title(f"decoder: prompt encoder and mask decoder, {count} single points, three masks each")
        self._write_embedding(hw)
        batch = self.setting.generator.points_per_batch
        asked = [(peer, size) for peer in self.peers for size in self.peer_batches]
        asked += [(name, batch) for name in self._ours()]
        calls = {f"{name}, {size} at a time": (name, {"hw": hw, "batch": size}) for name, size in asked}
        turns = self._turns("decoder", calls)
        reference, mine = (next(iter(turns)), f"{OURS}, {batch} at a time")
        rows = []
        for label, (name, _) in calls.items():
            against = reference if name in (OURS, OURS_FAST) else mine
            verdict = same_networks(_networks(turns[label]), _networks(turns[against]))
            verdict = unequal_by_contract(verdict) if name == OURS_FAST else verdict
            rows.append(Row(label, _seconds(turns[label]), verdict))
        self.report.times(rows, ours=mine)

    def whole(self, hw: Hw) -> None:
        """The whole generator: real networks at work, known numbers in the place of theirs from there on."""
        self.report.title(f"whole: from picture to masks, {_by(hw)} px, {self.setting.model}, {self._origin()}")
        names = [*self.peers, *self._ours()]
        turns = self._generator_turns("whole", names, hw, networks=True)
        verdicts = self._mask_verdicts(turns)
        rows = []
        for name in names:
            against = self.peers[0] if name in (OURS, OURS_FAST) else OURS
            networks = same_samples(_networks(turns[name]), _networks(turns[against]))
            networks = unequal_by_contract(networks) if name == OURS_FAST else networks
            best = min(turns[name], key=lambda turn: turn.seconds)
            rows.append(Row(name, _seconds(turns[name]), verdicts[name] & networks, best.phases))
        self.report.times(rows, ours=OURS)
        self.report.note("Phases are those of the best turn.")

    def fast_masks(self, hw: Hw) -> None:
        """What the contract `fast` changes in the masks that the networks themselves give."""
        side = min(FAST_POINTS_PER_SIDE, self.setting.generator.points_per_side)
        filters = {} if self.setting.trained else OPEN_FILTERS
        config = self.setting.generator.model_copy(update={"points_per_side": side, **filters})
        self.report.title(f"fast: its masks beside the exact ones, {_by(hw)} px, {side} x {side} points")
        exact, fast = (self._worker(name).ask("network_masks", hw=hw, config=config) for name in (OURS, OURS_FAST))
        self.report.note(matched_masks(exact, fast).text)
        if not self.setting.trained:
            self.report.note(
                "The weights are random: logits hug zero, so that more pixels change sign than with trained weights, "
                f"and filters are open ({', '.join(f'{key} {value:g}' for key, value in filters.items())})."
            )

    def memory(self, hw: Hw) -> None:
        """Peak resident memory after the image encoder, each contender in a fresh process."""
        self.report.title(f"memory: peak after the image encoder, {_by(hw)} px, {self.setting.model}, fresh processes")
        self.stop()
        write_outputs(self.setting, hw)
        peaks: dict[str, Peak] = {}
        for name in (*self.peers, OURS):
            progress(f"memory: {name} ...")
            worker = start(name, self.setting)
            peaks[name] = worker.ask("memory", hw=hw)
            worker.stop()
        verdicts = {name: same_masks(peaks[OURS].records, peaks[name].records) for name in self.peers}
        verdicts[OURS] = verdicts[self.peers[0]]
        self.report.count(*verdicts.values())
        growth = {name: peak.peak_mib - peak.before_mib for name, peak in peaks.items()}
        heads = [
            "contender",
            "MiB after the encoder",
            "peak MiB",
            "growth MiB",
            "peak x ours",
            "growth x ours",
            "equality",
        ]
        rows = [
            [
                name,
                f"{peak.before_mib:.0f}",
                f"{peak.peak_mib:.0f}",
                f"{growth[name]:.0f}",
                f"{peak.peak_mib / peaks[OURS].peak_mib:.2f}",
                f"{growth[name] / growth[OURS]:.2f}",
                verdicts[name].text,
            ]
            for name, peak in peaks.items()
        ]
        self.report.table(heads, rows)

    def nano(self, hw: Hw) -> None:
        """The model that ships, from a JPEG file to masks."""
        file = self.setting.folder / f"{hw[0]}x{hw[1]}.jpg"
        write_jpeg(file, hw)
        model, load_s = self._worker(NANO).ask("loaded")
        side = self.setting.generator.points_per_side
        self.report.title(
            f"nano: from a JPEG file to masks, {_by(hw)} px, preset nano, {side} x {side} points, no peer"
        )
        first = self._worker(NANO).ask("warm_up", file=file)
        turns = self._turns("generate_file", {NANO: (NANO, {"file": file})})[NANO]
        verdict = _repeatable([turn.records for turn in turns])
        rows = [Row(f"repeat {turn}", [one.seconds], verdict, one.phases) for turn, one in enumerate(turns, 1)]
        phases = list(turns[0].phases)
        lines = [
            [row.name, f"{row.seconds[0]:.2f}", *(f"{row.phases[phase]:.3f}" for phase in phases), verdict.text]
            for row in rows
        ]
        self.report.table(["", "s", *phases, "equality"], lines)
        self.report.count(verdict)
        self.report.note(f"{model}; loaded in {load_s:.2f} s; first call, with 2 x 2 points, {first:.2f} s.")
        self._nano_decoders(hw)

    def _nano_decoders(self, hw: Hw) -> None:
        """Its decoder, plain and folded: with trained weights attention has denormal numbers, with random ones none."""
        points = f"{POINTS_PER_SIDE**2} points, three masks each, one thread"
        self.report.title(
            f"nano's decoder: processor ms a prompt, {_by(hw)} px, {points}, three masks each, one thread"
        )
        ways = (PLAIN, PLAIN_FLUSHED, FOLDED)
        turns = [{way: self._worker(NANO).ask("decoder", hw=hw, way=way) for way in ways} for _ in range(self.repeats)]
        expected = turns[0][PLAIN][1]
        rows = []
        for way in ways:
            verdict = same_logits(turns[-1][way][1], expected)
            self.report.count(verdict)
            ms = [turn[way][0] for turn in turns]
            rows.append([way, *(f"{each:.2f}" for each in ms), f"{min(ms):.2f}", verdict.text])
        heads = [f"ms, turn {number}" for number in range(1, self.repeats + 1)]
        self.report.table(["decoder", *heads, "best", "equality"], rows)

    def stop(self) -> None:
        """End all processes."""
        for worker in self.workers.values():
            worker.stop()
        self.workers.clear()

    def _ours(self) -> list[str]:
        return [OURS, OURS_FAST] if self.with_fast else [OURS]

    def _origin(self) -> str:
        return "masks of our network" if self.setting.trained else "masks from region maps, not from trained weights"

    def _masks(self) -> int:
        return 3 * self.setting.generator.points_per_side**2

    def _worker(self, name: str) -> Worker:
        if name not in self.workers:
            self.workers[name] = start(name, self.setting)
        return self.workers[name]

    def _generator_turns(self, task: str, names: list[str], hw: Hw, *, networks: bool) -> dict[str, list[Turn]]:
        progress(f"{task}: decoder outputs for {_by(hw)} ...")
        write_outputs(self.setting, hw)
        first = {}
        for name in names:
            progress(f"{task} {_by(hw)}: first call of {name} ...")
            first[name] = self._worker(name).ask("warm_up", hw=hw, networks=networks)
        turns = self._turns(task, {name: (name, {"hw": hw}) for name in names})
        calls = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in first.items())
        self.report.note(f"Call before the turns, with 2 x 2 points: {calls}.")
        return turns

    def _turns(self, task: str, calls: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, list[Turn]]:
        """Ask in turn, A-B-A-B, for as many repeats as there are to be. calls: contender and arguments by label."""
        turns: dict[str, list[Turn]] = {label: [] for label in calls}
        for repeat in range(1, self.repeats + 1):
            for label, (name, arguments) in calls.items():
                progress(f"{task}: turn {repeat} of {self.repeats}, {label} ...")
                turns[label].append(self._alone(name, task, arguments))
        return turns

    def _alone(self, name: str, task: str, arguments: dict[str, Any]) -> Turn:
        """One turn, and how much the processes that had to wait were at work meanwhile."""
        worker = self._worker(name)
        time.sleep(PAUSE_S)
        others = [other for other in self.workers.values() if other is not worker]
        before = [other.cpu_seconds() for other in others]
        turn: Turn = worker.ask(task, **arguments)
        used = [other.cpu_seconds() - earlier for other, earlier in zip(others, before, strict=True)]
        self.idle_s = max([self.idle_s, *used])
        return turn

    def _mask_verdicts(self, turns: dict[str, list[Turn]]) -> dict[str, Verdict]:
        """Peers against us in every turn, and us against the first peer."""
        verdicts = {}
        for name, own in turns.items():
            against = turns[self.peers[0] if name in (OURS, OURS_FAST) else OURS]
            found = [same_masks(one.records, other.records) for one, other in zip(own, against, strict=True)]
            verdicts[name] = next((verdict for verdict in found if not verdict.equal), found[0])
        return verdicts

    def _write_embedding(self, hw: Hw) -> None:
        sam = build_sam(self.setting.model_config)
        sam.load_state_dict(load_file(self.setting.weights_file), strict=True)
        predictor = Predictor(sam.eval())
        predictor.set_image(picture(hw))
        np.save(self.setting.embedding_file, predictor.encoded.embedding.features.detach().numpy())


def _repeatable(records: list[Records]) -> Verdict:
    equal = all(some == records[0] for some in records)
    word = "EQUAL" if equal else "DIFFERENT"
    return Verdict(equal, f"{word}: {len(records[0])} masks in each of {len(records)} repeats")


def _networks(turns: list[Turn]) -> Path:
    file = turns[0].networks_file
    if file is None:
        raise ValueError("no network ran in this task")
    return file


def _seconds(turns: list[Turn]) -> list[float]:
    return [turn.seconds for turn in turns]


def _by(hw: Hw) -> str:
    return f"{hw[0]} x {hw[1]}"
