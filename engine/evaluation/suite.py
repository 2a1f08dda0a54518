"""Many data sets, models and baselines in one run (SAM paper, section 7.1); what was measured is kept and not measured
again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.evaluation.evaluations import Samples
from engine.evaluation.peers import Measure, Peer, Scores
from engine.evaluation.scores import PromptScores
from engine.files import file_sha256
from engine.keys import work_key
from engine.places import Place
from engine.progress import Progress
from engine.samples import CocoSamples
from schemas.counted import counted
from schemas.errors import InputError
from schemas.suite import Suite, SuiteSet

# Of a set with more masks than MOST_MASKS only some pictures are measured, with about SAMPLE_MASKS masks: the paper's
# numbers (appendix D.1).
MOST_MASKS, SAMPLE_MASKS = 15_000, 10_000
RESULTS = "results"
_VERSION = 1  # of what is kept; a higher one makes everything be measured again


@dataclass(frozen=True)
class MeasuredSet:
    """A set whose masks every peer was asked for. masks, pictures: how many were measured. note: how they were chosen.

    scores: of each peer, by its name.
    """

    masks: int
    pictures: int
    note: str
    scores: dict[str, Scores] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteResult:
    """sets: those that every peer has. left_out: why the others were, by name. peers: names, the first model first."""

    peers: tuple[str, ...]
    sets: dict[str, MeasuredSet]
    left_out: dict[str, str]


@dataclass(frozen=True)
class _OpenSet:
    samples: CocoSamples
    note: str
    key: str


def run_suite(
    suite: Suite,
    peers: Sequence[Peer],
    folder: Place,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> SuiteResult:
    """Measure every peer on every set; one model after another is in memory.

    folder: scores are kept there, each set's of each peer in a file of its own. tell: gets a line on each set that has
    to be left out, and on what its files hold that cannot be used.
    """
    opened: dict[str, _OpenSet] = {}
    left_out: dict[str, str] = {}

    def leave_out(name: str, error: InputError) -> None:
        opened.pop(name, None)
        left_out[name] = str(error)
        tell(f"{name}: left out: {error}")

    for name, of_set in suite.sets.items():
        try:
            opened[name] = _open_set(name, of_set, suite.seed, tell)
        except InputError as error:
            leave_out(name, error)
    sets = {name: MeasuredSet(each.samples.mask_count, len(each.samples), each.note) for name, each in opened.items()}
    for peer in peers:
        measure: Measure | None = None
        for name, each in list(opened.items()):
            file = folder / RESULTS / f"{work_key('suite', _VERSION, peer.key, each.key)}.json"
            scores = _kept(file)
            if scores is None:
                measure = measure or peer.ready()
                try:
                    scores = measure(Samples(each.samples, _under(name, progress)))
                except InputError as error:
                    leave_out(name, error)
                    continue
                file.write(_written(name, peer.name, scores))
            sets[name].scores[peer.name] = scores
    return SuiteResult(tuple(peer.name for peer in peers), {name: sets[name] for name in opened}, left_out)


def _open_set(name: str, of_set: SuiteSet, seed: int, tell: Callable[[str], None]) -> _OpenSet:
    """Raises InputError for a file that cannot be read, or has no masks of the size that is asked for."""
    files = [Path(file) for file in of_set.coco]
    every = CocoSamples(files, images_root=None if of_set.images is None else Path(of_set.images))
    if every.problems:
        first = every.problems[0]
        tell(
            f"{name}: {counted(len(every.problems), 'thing')} cannot be used, the first: {first.source}: {first.reason}"
        )
    try:
        samples = every.sampled(max_masks=of_set.max_masks, min_area_px=of_set.min_area, seed=seed)
    except InputError as error:
        raise InputError(f"no mask has {of_set.min_area} px or more; lower sets.{name}.min_area") from error
    note = "all masks" if of_set.max_masks is None else f"at most {counted(of_set.max_masks, 'mask')}, drawn at random"
    if of_set.max_masks is None and samples.mask_count > MOST_MASKS:
        note = f"all masks of some pictures, of {samples.mask_count:,} on {len(samples):,}"
        samples = samples.sampled_images(least_masks=SAMPLE_MASKS, seed=seed)
    if of_set.min_area > 1:
        note += f", of {of_set.min_area:,} px or more"
    return _OpenSet(samples, note, work_key([file_sha256(file) for file in files], samples.fingerprint()))


def _under(name: str, progress: Progress | None) -> Progress | None:
    """Tells the set's name with how far its evaluation is."""
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _written(name: str, peer: str, scores: Scores) -> bytes:
    values = {
        prompt: {kind: None if ious is None else ious.tolist() for kind, ious in vars(of_prompt).items()}
        for prompt, of_prompt in scores.items()
    }
    return json.dumps({"set": name, "peer": peer, "scores": values}).encode()


def _kept(file: Place) -> Scores | None:
    """What an earlier run measured; None where there is nothing that can be used."""
    try:
        values = json.loads(file.read())["scores"]
        return {prompt: PromptScores(**_arrays(of_prompt)) for prompt, of_prompt in values.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _arrays(values: dict[str, Any]) -> dict[str, Any]:
    return {kind: None if ious is None else np.array(ious, dtype=np.float64) for kind, ious in values.items()}
