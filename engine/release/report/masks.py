"""The sections on what masks are like, a release beside reference sets (SAM paper, section 5, figures 5 and 6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.release.report.plots import (
    centres_figure,
    concavity_figure,
    per_picture_figure,
    per_picture_labels,
    sizes_figure,
)
from engine.release.report.properties import Dataset, MaskProperties, grid_side, sample_concavities
from engine.release.report.sections import Section, Table
from engine.release.report.strata import SIZE_EDGES, common_counts

_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class MaskComparison:
    """Datasets side by side, the release first.

    counts: how many masks of each bin of sizes (`SIZE_EDGES`) every dataset gives to `concavities`, one array each.
    """

    datasets: tuple[MaskProperties, ...]
    counts: tuple[int, ...]
    concavities: tuple[npt.NDArray[np.float64], ...]


def compare_masks(datasets: Sequence[Dataset]) -> MaskComparison:
    """Read the datasets, the release first. Raises InputError for one that cannot be read."""
    found = tuple(dataset.properties() for dataset in datasets)
    counts = common_counts([one.sample for one in found])
    pairs = zip(datasets, found, strict=True)
    return MaskComparison(found, counts, tuple(sample_concavities(one, its.sample, counts) for one, its in pairs))


def mask_sections(found: MaskComparison) -> list[Section]:
    """Centres, masks per picture, relative sizes and concavity."""
    return [_centres(found), _per_picture(found), _sizes(found), _concavity(found)]


def _centres(found: MaskComparison) -> Section:
    values = {
        one.name: {"corner_frac": one.corner_frac, "density": one.density(grid_side(one.masks)).tolist()}
        for one in found.datasets
    }
    return Section(
        "centres",
        "Where masks lie",
        "Centres of the masks' boxes, each picture scaled to a unit square. Photographers put things in the middle; "
        "masks of everything reach into the corners.",
        values,
        figures={"mask_centres": (centres_figure(found.datasets), "Figure 5 of the SAM paper.")},
        tables=[
            Table(
                ("Dataset", "Centres in the corners"),
                tuple((one.name, f"{one.corner_frac:.1%}") for one in found.datasets),
            )
        ],
        notes=[
            "Corners: a quarter of width and height each. They would hold 25 % of masks that are evenly spread.",
            "Masks that reach from edge to edge have their centre on the middle line.",
        ],
    )


def _per_picture(found: MaskComparison) -> Section:
    labels = per_picture_labels()
    values = {
        one.name: {
            "pictures": one.pictures,
            "masks": one.masks,
            "mean": one.masks_per_picture,
            "median": one.median_per_picture(),
            "share_of_pictures": dict(zip(labels, one.per_picture().tolist(), strict=True)),
            "left_out": dict(one.left_out),
        }
        for one in found.datasets
    }
    rows = tuple(
        (name, f"{its['pictures']:,}", f"{its['masks']:,}", f"{its['mean']:.1f}", f"{its['median']:g}")
        for name, its in values.items()
    )
    left_out = [
        f"{one.name}: left out {', '.join(f'{count:,} {why}' for why, count in sorted(one.left_out.items()))}."
        for one in found.datasets
        if one.left_out
    ]
    return Section(
        "masks_per_picture",
        "Masks per picture",
        "How many masks a picture has. Pictures without masks count in reference sets; a release holds none.",
        values,
        figures={"masks_per_picture": (per_picture_figure(found.datasets), "Figure 6, left, of the SAM paper.")},
        tables=[Table(("Dataset", "Pictures", "Masks", "Masks / picture", "Median"), rows)],
        notes=left_out,
    )


def _sizes(found: MaskComparison) -> Section:
    values = {one.name: {f"q{share:g}": one.size_quantile(share) for share in _QUANTILES} for one in found.datasets}
    rows = tuple((one.name, *(f"{one.size_quantile(share):.3f}" for share in _QUANTILES)) for one in found.datasets)
    return Section(
        "relative_size",
        "Relative size",
        "The root of mask area / picture area: 1 is the whole picture, 0.5 a quarter of it. The table says below which "
        "size a tenth, half and nine tenths of the masks are.",
        values,
        figures={"relative_size": (sizes_figure(found.datasets), "Figure 6, middle, of the SAM paper.")},
        tables=[Table(("Dataset", "10 %", "Median", "90 %"), rows)],
    )


def _concavity(found: MaskComparison) -> Section:
    names = [one.name for one in found.datasets]
    by_name = dict(zip(names, found.concavities, strict=True))
    sampled = sum(found.counts)
    bins = [f"{low:g}–{high:g}" for low, high in pairwise(SIZE_EDGES)]
    means = {name: float(values.mean()) if len(values) else None for name, values in by_name.items()}
    rows = tuple(
        (name, *(f"{one:.3f}" for one in (values.mean(), *np.quantile(values, _QUANTILES))))
        for name, values in by_name.items()
        if len(values)
    )
    per_bin = ", ".join(f"{count:,} of {name}" for name, count in zip(bins, found.counts, strict=True) if count)
    return Section(
        "concavity",
        "Concavity",
        "1 − mask area / area of its convex hull: 0 for a rectangle, higher the more dents and holes a mask has. Shape "
        "goes with size, so every dataset gives the same number of random masks from each bin of relative sizes.",
        {"masks_per_bin": dict(zip(bins, found.counts, strict=True)), "mean": means},
        figures={"concavity": (concavity_figure(by_name), "Figure 6, right, of the SAM paper.")},
        tables=[Table(("Dataset", "Mean", "10 %", "Median", "90 %"), rows)] if rows else [],
        notes=[
            f"{sampled:,} masks of each dataset by relative size: {per_bin}."
            if sampled
            else "The datasets have no bin of sizes in common, so their masks cannot be compared."
        ],
    )
