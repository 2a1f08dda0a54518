"""Whether weights on which known things rest should move less in a retraining than those that new pictures ask for.

    python -m benchmarks.weight_importance DATA/loop/field_plants/all.json --known DATA/coco_mini/train.json \
        --known DATA/bsds500/train.json --old DATA/bsds500/val.json --old DATA/coco_mini/val.json

Of `model.training.importance`: a weight of importance g for the new pictures and k for the known ones goes the share
g / (g + caution * k) of its way. k is kept as `importance.safetensors`, too, by rows and columns, as `nano` has it.
"as trained": each step of the training goes that share (all of it with `--caution 0`). "merged": so does the way from
the start to the trained model once more. Beside them stands an equal share for all weights. Ground truth stands in for
an annotator; nothing is replayed unless `--replay`. One seed, one retraining. Pictures of KNOWN and OLD lie beside
them in a folder of the file's name. What was computed is kept; the same command goes on where it was stopped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.loop import held_out
from benchmarks.picture_choice import to_learn_from
from engine.evaluation.points import evaluate_points
from engine.files import write_atomic
from engine.importance import IMPORTANCE_FILE, measure_importance, write_importance
from engine.replay import WithReplay, read_replay, replay_file
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import find_model, model_roots
from model.sam import Sam
from model.storage import load_model
from model.training.importance import Importance, Importances
from model.training.presets import training_preset
from model.training.samples import Sample, SampleSource
from model.training.trainer import train

CLICKS = (1, 3)
MODEL = "nano"
REPLAYED = 0.4  # of the pictures of a step


class Some:
    """So many samples of several sources, the same number of each, at random."""

    def __init__(self, sources: Sequence[SampleSource], count: int, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        each = -(-count // len(sources))
        self._chosen = [(source, int(i)) for source in sources for i in rng.permutation(len(source))[:each]]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        source, at = self._chosen[index]
        return source[at]


def pictures_beside(file: Path) -> CocoSamples:
    folder = file.with_suffix("")
    return CocoSamples([file], images_root=folder if folder.is_dir() else None)


def importance(file: Path, source: SampleSource, *, pictures: int) -> Importance:
    """Of each weight of the start model for these pictures; kept in a file."""
    if not file.is_file():
        sam, _ = load_model(MODEL, model_roots())
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(measure_importance(sam, source, looks=pictures), file)
    found: Importance = torch.load(file)
    return found


def trained(
    file: Path, domain: Path, share: Importance, *, pictures: int, steps: int, rates: tuple[float, float], replay: bool
) -> Mapping[str, Tensor]:
    """Weights of a model that learned the first pictures of a domain. rates: of the decoder and of the encoder."""
    if not file.is_file():
        sam, info = load_model(MODEL, model_roots())
        recipe = training_preset("retrain", encoder=info.config.encoder, images=pictures, steps=steps)
        change = {"lr": rates[0], "encoder_lr_factor": rates[1] / rates[0], "loader_workers": 0}
        first = Some([to_learn_from(domain)], pictures)
        source: SampleSource = first
        weights: Sequence[float] = [1.0] * len(first)
        beside = replay_file(find_model(MODEL, model_roots()), model_roots())
        if replay and beside and (known := read_replay(beside)):
            source = both = WithReplay(first, weights, known, frac=REPLAYED)
            weights = both.weights
        train(sam, source, recipe.model_copy(update=change), weights=weights, step_shares=share)
        torch.save(sam.state_dict(), file)
    found: Mapping[str, Tensor] = torch.load(file)
    return found


def measured(file: Path, model: Callable[[], Sam], sets: Mapping[str, CocoSamples]) -> dict[str, list[float]]:
    """mIoU of each set at each of CLICKS; kept in a file."""
    if not file.is_file():
        predictor, found = Predictor(model()), {}
        for name, samples in sets.items():
            scores = evaluate_points(predictor, (samples[index] for index in range(len(samples))), clicks=CLICKS)
            found[name] = [float(scores[clicks].confident.mean()) for clicks in CLICKS]
        write_atomic(file, json.dumps(found).encode())
    result: dict[str, list[float]] = json.loads(file.read_bytes())
    return result


def main(
    domain: Annotated[Path, typer.Argument(help="COCO file whose images say split: train or holdout.")],
    known: Annotated[list[Path], typer.Option(help="COCO files of what the start model learned.")],
    old: Annotated[list[Path], typer.Option(help="COCO files of the same kinds, for what is forgotten.")],
    caution: Annotated[float, typer.Option(min=0, help="Weight of the importance for known pictures.")] = 1.0,
    decoder_rate: Annotated[float, typer.Option(min=0)] = 3e-4,
    encoder_rate: Annotated[float, typer.Option(min=0)] = 1.5e-4,
    pictures: Annotated[int, typer.Option(min=1, help="Of the domain, to learn from.")] = 18,
    known_pictures: Annotated[int, typer.Option(min=1, help="For the importance of what is known.")] = 96,
    steps: Annotated[int, typer.Option(min=1)] = 40,
    masks: Annotated[int, typer.Option(min=1, help="Of each old file.")] = 120,
    replay: Annotated[bool, typer.Option("--replay", help="Two of five pictures are those beside the model.")] = False,
    folder: Annotated[Path, typer.Option(help="Where what was found is kept.")] = Path("runs/weight_importance"),
) -> None:
    """Train once and print what merged, interpolated and whole models know."""
    keep_freed_memory()
    sets = {domain.parent.name: held_out(domain, None)}
    sets |= {file.parent.name: pictures_beside(file).sampled(max_masks=masks, min_area_px=100) for file in old}
    of_known = Some([pictures_beside(file) for file in known], known_pictures)
    k = importance(folder / "known.pt", of_known, pictures=len(of_known))
    write_importance(k, folder / IMPORTANCE_FILE)
    g = importance(folder / f"{domain.parent.name}.pt", to_learn_from(domain), pictures=2 * pictures)
    sam, _ = load_model(MODEL, model_roots())
    start = {name: value.clone() for name, value in sam.state_dict().items()}
    share = Importances(g, k).shares(caution)
    what = f"{domain.parent.name}-{caution:g}-{decoder_rate:g}-{encoder_rate:g}{'-replay' * replay}"
    rates = decoder_rate, encoder_rate
    end = trained(folder / f"{what}.pt", domain, share, pictures=pictures, steps=steps, rates=rates, replay=replay)

    def moved(by: Callable[[str], Any]) -> Sam:
        new = {name: start[name] + by(name) * (end[name] - start[name]) for name in start}
        sam.load_state_dict({name: value.to(start[name].dtype) for name, value in new.items()})
        return sam

    merging = Importances(g, k).shares(caution or 1.0)
    rows: dict[str, tuple[str, Callable[[str], Any]]] = {
        "start": ("start", lambda _: 0.0),
        "as trained": (what, lambda _: 1.0),
        "merged": (f"{what}-merged", lambda name: merging.get(name, 0.0)),
        "half of the way": (f"{what}-half", lambda _: 0.5),
    }
    print("| " + " | ".join(["", *(f"{name}: {clicks}" for name in sets for clicks in CLICKS)]) + " |")
    print("| --- " * (1 + len(sets) * len(CLICKS)) + "|", flush=True)
    for title, (file, by) in rows.items():
        found = measured(folder / f"{file}.json", lambda by=by: moved(by), sets)
        print(
            "| " + " | ".join([title, *(f"{value:.3f}" for name in sets for value in found[name])]) + " |", flush=True
        )


if __name__ == "__main__":
    typer.run(main)
