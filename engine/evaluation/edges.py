"""Edge detection without having learned it: the model's edges beside Canny's and Sobel's, measured as on BSDS500."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from engine.analysis.overlays import contact_sheet, save_png
from engine.evaluation.edge_maps import Image, Map, canny_edges, model_edges, sobel_edges
from engine.evaluation.edge_scores import EdgeCounts, EdgeScores, count_edges, ods_difference, score_edges
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.partitions import Mask, annotated_boundaries
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.counted import counted
from schemas.errors import InputError

Detect = Callable[[Image], Map]
_MODEL = "model"


def edges(
    predictor: Predictor,
    samples: Samples,
    /,
    *,
    points_per_side: int = 16,
    baselines: bool = True,
    first: int = 0,
    pictures: str = "",
) -> Measured:
    """ODS, OIS, AP and R50 of edges from masks of a point grid, beside Canny and Sobel on the same pictures.

    points_per_side: of the grid. first: only so many pictures; 0 for all. pictures: a folder to draw each picture into,
    beside the model's edges and those that people drew.
    """
    if points_per_side < 1 or first < 0:
        raise InputError(f"points_per_side {points_per_side}, first {first}: a grid has points, and first is 0 or more")
    detect: dict[str, Detect] = {_MODEL: partial(model_edges, predictor, points_per_side=points_per_side)}
    detect |= {"canny": canny_edges, "sobel": sobel_edges} if baselines else {}
    counts: dict[str, list[EdgeCounts]] = {name: [] for name in detect}
    samples = samples.complete()
    samples = samples.first(first) if first else samples
    masks = 0
    for number, sample in enumerate(samples):
        if not sample.masks:
            continue
        masks += len(sample.masks)
        truths = annotated_boundaries(sample)
        found = {name: of(sample.image) for name, of in detect.items()}
        for name, of_picture in found.items():
            counts[name].append(count_edges(of_picture, truths))
        if pictures:
            _draw(sample, found[_MODEL], truths, Path(pictures) / f"{number:04d}-{Path(sample.name).stem}.png")
    return _measured(masks, counts)


def _measured(masks: int, counts: dict[str, list[EdgeCounts]]) -> Measured:
    scores = {name: score_edges(each) for name, each in counts.items()}
    values = {name: found.summary() for name, found in scores.items()}
    for name in scores.keys() - {_MODEL}:
        values[name]["model_better_by"] = ods_difference(counts[name], counts[_MODEL])
    return Measured(
        masks,
        {"pictures": len(counts[_MODEL]), "edges": values},
        f"edges of {counted(len(counts[_MODEL]), 'picture')}, with 95 % interval",
        ("edges", "ODS", "OIS", "AP", "R50"),
        tuple((name, *_cells(found)) for name, found in scores.items()),
    )


def _cells(found: EdgeScores) -> tuple[str, str, str, str]:
    ods = f"{found.ods:.3f} ({found.low:.3f} to {found.high:.3f})"
    return ods, f"{found.ois:.3f}", f"{found.ap:.3f}", f"{found.r50:.3f}"


def _draw(sample: Sample, found: Map, truths: list[Mask], file: Path) -> None:
    """Edges dark on white; those that people drew as dark as the share of people who drew them."""
    agreed = np.mean(truths, axis=0)
    drawn = [(255 - np.rint(255 * lines)).astype(np.uint8) for lines in (found, agreed)]
    tiles = [sample.image, *(np.repeat(lines[..., None], 3, axis=2) for lines in drawn)]
    titles = ("picture", "edges of the model", f"edges of {len(truths)} people")
    save_png(contact_sheet(list(zip(tiles, titles, strict=True)), 3), file)
