"""How well a retraining tells pictures of a new kind from those that its start model knows.

    python -m benchmarks.new_kinds DATA/loop/field_plants/all.json DATA/loop/nuclei/all.json DATA/pets/all.json \
        --known DATA/bsds500/val.json --known DATA/coco_mini/val.json

Of each new kind the line of `model.recogniser` is drawn with so many of its pictures, as `stages.new_kind` does. The
table says of the others of that kind, and of those of all other files, which share are taken for new. Those of KNOWN
should not be; what becomes of a third kind is nobody's promise. Pictures lie beside their file, or in a folder of its
name.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from torch import Tensor

from benchmarks.weight_importance import pictures_beside
from engine.known_pictures import describe_pictures, known_pictures_file, read_known_pictures
from engine.quality.gate_summary import wilson_share
from model.recogniser import count_recognised, fit_recogniser
from model.registry import model_roots
from model.sam import Sam
from model.storage import load_model
from stages.new_kind import FEWEST_RECOGNISED, LEVEL

COUNTS = (6, 18, 36, 100)


def described(sam: Sam, file: Path, *, most: int) -> Tensor:
    """Of a random `most` of a file's pictures, or of all, in random order."""
    pictures = pictures_beside(file)
    chosen = np.random.default_rng(0).permutation(len(pictures))[:most]
    return describe_pictures(sam, (pictures[int(index)].image for index in chosen))


def main(
    new: Annotated[list[Path], typer.Argument(help="COCO files, each of a new kind of pictures.")],
    known: Annotated[list[Path] | None, typer.Option(help="COCO file of pictures that the model knows.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Start model.")] = "nano",
    most: Annotated[int, typer.Option(min=2, help="Pictures of each file.")] = 150,
) -> None:
    """Print a table in Markdown."""
    sam, info = load_model(model, model_roots())
    file = known_pictures_file(info, model_roots())
    trained_on = None if file is None else read_known_pictures(file, sam)
    if trained_on is None:
        raise SystemExit(f"{info.folder}: nothing says what pictures this model knows; see train --keep-replay")
    sets = {each: described(sam, each, most=most) for each in (*new, *(known or []))}
    names = {each: f"{each.parent.name}/{each.stem}" for each in sets}
    heads = ["new kind", "pictures", "surely new", "others of it", *names.values()]
    for line in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(line) + " |")
    for kind in new:
        for count in COUNTS:
            some, others = sets[kind][:count], sets[kind][count:]
            if not len(others):
                break
            found = wilson_share(count_recognised(trained_on, some), count, level=LEVEL)
            recogniser = fit_recogniser(trained_on, some)
            shares = {each: float(recogniser(there).double().mean()) for each, there in sets.items()}
            cells = [names[kind], str(count), "yes" if found.low >= FEWEST_RECOGNISED else "no"]
            cells.append(f"{float(recogniser(others).double().mean()):.2f}")
            cells += ["-" if each == kind else f"{share:.2f}" for each, share in shares.items()]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
