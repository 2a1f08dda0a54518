"""Which pictures to annotate first: do chosen ones teach the model more than random ones?

    python -m benchmarks.picture_choice DATA/loop/field_plants/all.json DATA/loop/nuclei/all.json --budget 6 --budget 12

Of each domain (a COCO file whose images say `split`) every arm ranks the pictures to learn from by what the start model
makes of them, and takes the first ones. A model is trained on these with their ground truth, by the recipe of a round's
retraining without replayed pictures (24 steps look at new ones as often as 40 of a round do), and goes a share of the
way from the start model. All are measured on the same held-out masks; intervals are paired 95 % bootstrap intervals of
the difference from the mean of the random arms, mask by mask. They do not tell how much another random draw of
pictures would have given: the rows of the random arms do.

Every try is kept in a file of its own; the same command goes on where it was stopped, and ends with the table.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from benchmarks.loop import held_out
from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.points import evaluate_points
from engine.files import write_atomic
from engine.masks.grid import point_grid
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import model_roots
from model.sam import Sam
from model.storage import load_model
from model.training.averaging import interpolated
from model.training.presets import training_preset
from model.training.samples import Sample, SampleSource
from model.training.trainer import train
from schemas.config import SemiAutomaticConfig
from stages.model_choice import SHARES

CLICKS = (1, 3)
_PROMPTS_AT_ONCE = 64
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surveyed:
    """What the start model makes of a picture, from a grid of points.

    doubt: mean over the points of 1 - the highest predicted IoU. disagreement: mean of 1 - the mean IoU between the
    three masks of a point. covered: share of the picture in a mask that the generator's preset is sure enough of.
    embedding: (256,), mean of the image embedding over the picture.
    """

    doubt: float
    disagreement: float
    covered: float
    embedding: list[float]


class Try(NamedTuple):
    """One training: the first `budget` pictures of an arm's ranking of a domain."""

    domain: Path
    budget: int
    arm: str

    @property
    def name(self) -> str:
        return f"{self.domain.parent.name}-{self.budget}-{self.arm.replace(' ', '_')}"


def survey(predictor: Predictor, sample: Sample, *, points_per_side: int) -> Surveyed:
    """Prompt a picture at every point of a grid."""
    predictor.set_image(sample.image)
    height, width = predictor.image_hw
    points = torch.from_numpy(point_grid(points_per_side) * [width, height]).float()[:, None]
    shown = [-(-side // 4) for side in predictor.input_hw]  # of the logits, a quarter of the input
    covered = torch.zeros(shown, dtype=torch.bool)
    doubts, disagreements = [], []
    for some in points.split(_PROMPTS_AT_ONCE):
        found = predictor.prompt(some, torch.ones(some.shape[:2], dtype=torch.int64))
        predicted = found.predicted_iou
        logits = found.logits(torch.arange(predicted.numel()))[:, : shown[0], : shown[1]]
        masks = (logits > predictor.sam.mask_threshold).unflatten(0, predicted.shape)
        doubts.append(1 - predicted.max(1).values.clamp(0, 1))
        disagreements.append(disagreement(masks))
        sure = predicted >= SemiAutomaticConfig().generator_config().pred_iou_thresh
        covered |= masks[sure].any(0)
    grid = [-(-side // 16) for side in predictor.input_hw]
    embedding = predictor.encoded.embedding.features[0, :, : grid[0], : grid[1]].mean((1, 2))
    means = (float(torch.cat(values).mean()) for values in (doubts, disagreements))
    return Surveyed(*means, float(covered.float().mean()), embedding.tolist())


def disagreement(masks: Tensor) -> Tensor:
    """(N,) 1 - the mean IoU of the pairs among C masks of each of N prompts, (N, C, h, w) bool; empty ones agree."""
    flat = masks.flatten(2).float()
    shared = flat @ flat.transpose(1, 2)
    areas = flat.sum(2)
    union = areas[:, :, None] + areas[:, None] - shared
    iou = torch.where(union > 0, shared / union.clamp(min=1), torch.ones_like(union))
    first, second = torch.triu_indices(masks.shape[1], masks.shape[1], offset=1)
    return 1 - iou[:, first, second].mean(1)


def farthest_first(places: Floats, weights: Floats, *, first: int) -> list[int]:
    """All N indices, each next one the farthest from those before it, distances times weights; places (N, D)."""
    chosen, nearest = [first], np.linalg.norm(places - places[first], axis=1)
    while len(chosen) < len(places):
        gains = nearest * weights
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return chosen


def by_chance(seed: int) -> Callable[[Sequence[Surveyed]], list[int]]:
    return lambda found: np.random.default_rng(seed).permutation(len(found)).tolist()


def by_doubt(found: Sequence[Surveyed]) -> list[int]:
    return np.argsort([-each.doubt for each in found], kind="stable").tolist()


def by_disagreement(found: Sequence[Surveyed]) -> list[int]:
    return np.argsort([-each.disagreement for each in found], kind="stable").tolist()


def by_coverage(found: Sequence[Surveyed]) -> list[int]:
    """Least covered first: there the model finds least."""
    return np.argsort([each.covered for each in found], kind="stable").tolist()


def by_diversity(found: Sequence[Surveyed]) -> list[int]:
    """From the most ordinary picture on, always the one that is least like those before."""
    places = np.array([each.embedding for each in found])
    ordinary = np.linalg.norm(places - places.mean(0), axis=1).argmin()
    return farthest_first(places, np.ones(len(places)), first=int(ordinary))


def by_both(found: Sequence[Surveyed]) -> list[int]:
    """Disagreement times diversity."""
    weights = np.array([each.disagreement for each in found])
    return farthest_first(np.array([each.embedding for each in found]), weights, first=int(weights.argmax()))


ARMS: dict[str, Callable[[Sequence[Surveyed]], list[int]]] = {
    "random 0": by_chance(0),
    "disagreement": by_disagreement,
    "diversity": by_diversity,
    "random 1": by_chance(1),
    "disagreement x diversity": by_both,
    "predicted IoU": by_doubt,
    "random 2": by_chance(2),
    "coverage": by_coverage,
}
_RANDOM = [arm for arm in ARMS if arm.startswith("random")]


@dataclass(frozen=True)
class Bench:
    """The start model, how it is asked, trained and measured, and a folder for what was found so far."""

    folder: Path
    model: str
    steps: int
    share: float
    points_per_side: int
    most_masks: int

    def surveyed(self, domain: Path, samples: CocoSamples) -> list[Surveyed]:
        """Of every picture, in their order."""
        file = self.folder / f"{domain.parent.name}-survey.json"
        if not file.is_file():
            predictor = Predictor(load_model(self.model, model_roots())[0])
            pictures = (samples[index] for index in range(len(samples)))
            found = [asdict(survey(predictor, one, points_per_side=self.points_per_side)) for one in pictures]
            write_atomic(file, json.dumps(found).encode())
        return [Surveyed(**each) for each in json.loads(file.read_bytes())]

    def scores(self, one: Try, chosen: Sequence[Sample]) -> dict[str, list[float]]:
        """IoUs of the held-out masks by number of clicks, of the model that learned from the chosen pictures."""
        file = self.folder / f"{one.name}.json"
        if not file.is_file():
            sam = load_model(self.model, model_roots())[0]
            if chosen:
                sam = taught(self.model, chosen, self.steps, self.share, self.folder / one.name)
            masks = held_out(one.domain, None).sampled(max_masks=self.most_masks)
            found = evaluate_points(Predictor(sam), (masks[index] for index in range(len(masks))), clicks=CLICKS)
            ious = {str(clicks): scores.confident.tolist() for clicks, scores in found.items()}
            write_atomic(file, json.dumps(ious).encode())
        kept: dict[str, list[float]] = json.loads(file.read_bytes())
        return kept

    def done(self, one: Try) -> dict[str, Floats] | None:
        """Scores of a try by number of clicks; None where it was not made yet."""
        file = self.folder / f"{one.name}.json"
        return {key: np.array(ious) for key, ious in json.loads(file.read_bytes()).items()} if file.is_file() else None


def taught(
    model: str,
    source: SampleSource,
    steps: int,
    share: float,
    checkpoints: Path,
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> Sam:
    """A model that learned from these samples by the recipe of a round, and went a share of the way from its start."""
    sam, info = load_model(model, model_roots())
    start = {name: value.detach().clone() for name, value in sam.state_dict().items()}
    recipe = training_preset("retrain", encoder=info.config.encoder, images=len(source), steps=steps, seed=seed)
    recipe = recipe.model_copy(update={"loader_workers": 0})
    train(sam, source, recipe, weights=weights, checkpoints=checkpoints, data=checkpoints.name)
    sam.load_state_dict(interpolated(start, sam.state_dict(), share=share))
    return sam


def to_learn_from(domain: Path) -> CocoSamples:
    """The pictures of a domain that are not held out."""
    names = {
        record["file_name"]
        for record in json.loads(domain.read_text(encoding="utf-8"))["images"]
        if record.get("split") != "holdout"
    }
    files = {(domain.parent / name).resolve() for name in names}
    found = CocoSamples([domain]).filtered(lambda path: path.resolve() in files)
    if found is None:
        raise SystemExit(f"{domain}: no image to learn from")
    return found


def make_tries(
    bench: Bench, domains: Sequence[Path], budgets: Sequence[int], arms: Sequence[str]
) -> Iterator[tuple[Try, int]]:
    """Make every try that is missing: the start models, then budget by budget. Yields each with its number of masks."""
    samples = {domain: to_learn_from(domain) for domain in domains}
    tries = [Try(domain, 0, "start") for domain in domains]
    tries += [Try(domain, budget, arm) for budget in budgets for domain in domains for arm in arms]
    for one in tries:
        pictures = samples[one.domain]
        if one.budget >= len(pictures):
            raise SystemExit(f"{one.domain}: {len(pictures)} pictures to learn from leave no choice of {one.budget}")
        order = ARMS[one.arm](bench.surveyed(one.domain, pictures)) if one.budget else []
        chosen = [pictures[index] for index in order[: one.budget]]
        bench.scores(one, chosen)
        yield one, sum(len(sample.masks) for sample in chosen)


def table(bench: Bench, made: Sequence[tuple[Try, int]]) -> Iterator[str]:
    """Lines of a table of all tries, those that chose beside the random ones of their domain and budget."""
    heads = ["pictures", "arm", "masks"]
    heads += [f"{clicks} click{'s' * (clicks > 1)}, and less the mean of random" for clicks in CLICKS]
    for line in (heads, ["---"] * len(heads)):
        yield "| " + " | ".join(line) + " |"
    for one, masks in sorted(made, key=lambda pair: (pair[0].domain.parent.name, pair[0].budget)):
        scores = bench.done(one)
        at_random = [bench.done(one._replace(arm=arm)) for arm in _RANDOM] if one.budget else []
        cells = [f"{one.budget} of {one.domain.parent.name}", one.arm, str(masks)]
        for clicks in map(str, CLICKS):
            if scores is not None:
                others = [found[clicks] for found in at_random if found is not None]
                cells.append(_cell(scores[clicks], others if one.arm not in _RANDOM else []))
        yield "| " + " | ".join(cells) + " |"


def _cell(ious: Floats, at_random: Sequence[Floats]) -> str:
    if not at_random:
        return f"{ious.mean():.3f}"
    before = np.mean(at_random, axis=0)
    low, high = bootstrap_difference(before, ious)
    return f"{ious.mean():.3f}, {(ious - before).mean():+.3f} ({low:+.3f} to {high:+.3f})"


def main(
    domains: Annotated[list[Path], typer.Argument(help="COCO files whose images say split: train or holdout.")],
    budget: Annotated[list[int], typer.Option(min=1, help="How many pictures are annotated; may be given again.")],
    arm: Annotated[list[str] | None, typer.Option(help="One of the ways to choose; all where none is given.")] = None,
    folder: Annotated[Path, typer.Option(help="Where tries are kept.")] = Path("runs/picture_choice"),
    model: Annotated[str, typer.Option("--model", "-m", help="Start model.")] = "nano",
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 24,
    share: Annotated[float, typer.Option(help="Of the way from the start model to the trained one.")] = SHARES[0],
    points_per_side: Annotated[int, typer.Option(min=1, help="Of the grid that the start model is asked at.")] = 16,
    masks: Annotated[int, typer.Option(min=1, help="Held-out masks to measure on.")] = 150,
) -> None:
    """Make the tries that are missing, then print the table of all."""
    keep_freed_memory()
    bench = Bench(folder, model, steps, share, points_per_side, masks)
    made = []
    for one, count in make_tries(bench, domains, budget, arm or list(ARMS)):
        print(f"{one.name}: done", flush=True)
        made.append((one, count))
    print("\n".join(["", *table(bench, made)]))


if __name__ == "__main__":
    typer.run(main)
