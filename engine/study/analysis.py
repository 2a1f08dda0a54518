"""What a study found: the mean rating of each source, and how much better one is than another.

As in the paper (table 8): a paired t-test, and a paired bootstrap of 10,000 draws. What is drawn are objects that both
sources have a mask of, or pictures, each with the mean over its masks: masks of one picture are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.bootstrap import bootstrap_mean
from engine.evaluation.suite_report import difference_cell, estimate_cell, table_lines
from engine.quality.audit import Estimate, ratio_estimate
from engine.study.folder import Study
from engine.study.ratings import Rating
from schemas.counted import counted
from schemas.errors import WaitError
from schemas.labeling import QUESTIONS, RATINGS

DRAWS = 10_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OfSource:
    """rated: masks. mean: rating of a mask, its interval over pictures. histogram: (10,) how many masks have which
    rating, to the nearest where several people rated one. yes: share of the answers to each question that were yes, by
    name, of those that were answered. seconds: median that people took, None where that is not known."""

    rated: int
    mean: Estimate
    histogram: tuple[int, ...]
    yes: dict[str, float]
    seconds: float | None


@dataclass(frozen=True)
class Difference:
    """Of the first source from the second. units: objects or pictures that were drawn. p: of the paired t-test, two
    sides; None where there are too few, or all differences are alike."""

    first: str
    second: str
    units: int
    mean: Estimate
    p: float | None


@dataclass(frozen=True)
class Analysis:
    """sources: those of which masks were rated. skipped: ratings that people left out. raters: how many there were."""

    study: Study
    sources: dict[str, OfSource]
    differences: tuple[Difference, ...]
    skipped: int
    raters: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "study": self.study.name,
            "pairs": self.study.pairs,
            "raters": self.raters,
            "skipped": self.skipped,
            "sources": {name: vars(of) | {"mean": vars(of.mean)} for name, of in self.sources.items()},
            "differences": [vars(one) | {"mean": vars(one.mean)} for one in self.differences],
        }


def analyse(study: Study, ratings: Sequence[Rating], *, draws: int = DRAWS) -> Analysis:
    """All numbers of a study as far as it is. Raises WaitError where nothing was rated yet."""
    rated = _mean_ratings(ratings)
    by_source: dict[str, dict[str, float]] = {
        name: {item.item: rated[item.item] for item in study.items if item.source == name and item.item in rated}
        for name in study.sources
    }
    by_source = {name: found for name, found in by_source.items() if found}
    if not by_source:
        raise WaitError(f"study {study.name!r}: nothing is rated yet; run sam-engine study collect once people have")
    pictures = {item.item: item.picture for item in study.items}
    return Analysis(
        study,
        {name: _of_source(found, pictures, ratings) for name, found in by_source.items()},
        tuple(
            difference
            for first, second in combinations(by_source, 2)
            if (difference := _difference(study, first, second, by_source, draws)) is not None
        ),
        sum(one.rating is None for one in ratings),
        len({one.annotator for one in ratings}),
    )


def _mean_ratings(ratings: Sequence[Rating]) -> dict[str, float]:
    """Of each mask over those who rated it."""
    given: dict[str, list[int]] = {}
    for one in ratings:
        if one.rating is not None:
            given.setdefault(one.item, []).append(one.rating)
    return {item: float(np.mean(values)) for item, values in given.items()}


def _of_source(rated: dict[str, float], pictures: dict[str, str], ratings: Sequence[Rating]) -> OfSource:
    by_picture: dict[str, list[float]] = {}
    for item, value in rated.items():
        by_picture.setdefault(pictures[item], []).append(value)
    sums = np.array([sum(values) for values in by_picture.values()])
    counts = np.array([float(len(values)) for values in by_picture.values()])
    mean = ratio_estimate(sums, counts, limit=float(RATINGS[-1]))
    assert mean is not None  # at least one mask is rated
    nearest = np.rint(list(rated.values())).astype(int)
    mine = [one for one in ratings if one.item in rated and one.rating is not None]
    answers = {name: [one.answers[name] for one in mine if name in one.answers] for name in QUESTIONS}
    seconds = [one.seconds for one in mine if one.seconds is not None]
    return OfSource(
        len(rated),
        mean,
        tuple(int((nearest == value).sum()) for value in RATINGS),
        {name: float(np.mean(given)) for name, given in answers.items() if given},
        float(np.median(seconds)) if seconds else None,
    )


def _difference(
    study: Study, first: str, second: str, rated: dict[str, dict[str, float]], draws: int
) -> Difference | None:
    """None where the two have no rated mask in common."""
    of_first, of_second = (_by_unit(study, rated[name]) for name in (first, second))
    units = sorted(of_first.keys() & of_second.keys())
    if not units:
        return None
    differences = np.array([of_first[unit] - of_second[unit] for unit in units])
    low, high = bootstrap_mean(differences, draws=draws)
    return Difference(first, second, len(units), Estimate(float(differences.mean()), low, high), _p_value(differences))


def _by_unit(study: Study, rated: dict[str, float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for item in study.items:
        if item.item in rated:
            found.setdefault(item.unit(study.pairs), []).append(rated[item.item])
    return {unit: float(np.mean(values)) for unit, values in found.items()}


def _p_value(differences: Floats) -> float | None:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    from scipy import stats  # takes longer to import than most commands to run

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def study_markdown(analysis: Analysis) -> str:
    """The page: a table of sources, and one of their differences."""
    study = analysis.study
    asked = len(study.items) * study.people
    given = sum(of.rated for of in analysis.sources.values())
    unit = "objects that both have a mask of" if study.pairs == "objects" else "pictures on which both have some"
    lines = [
        f"# Study {study.name}",
        "",
        f"- {given} of {len(study.items)} masks are rated, by "
        f"{counted(analysis.raters, 'person', plural='people')}; {analysis.skipped} of {asked} "
        "ratings were skipped.",
        "- Rated from 1 (nonsense) to 10 (no visible error), in five views, without knowing whose a mask is (SAM "
        "paper, appendix G). In brackets 95 % intervals, over pictures.",
        f"- Differences are paired, over {unit}: {DRAWS:,} bootstrap draws; bold where the interval excludes 0. p: "
        "paired t-test.",
        "",
        f"![How many masks have which rating](study-{study.name}.png)",
        "",
        *table_lines(
            ("Source", "Masks", "Mean rating", "Rated 7 or better", *(_title(name) for name in QUESTIONS), "Seconds"),
            [_source_row(name, of) for name, of in analysis.sources.items()],
        ),
    ]
    if analysis.differences:
        rows = [
            (f"{one.first} − {one.second}", str(one.units), difference_cell(one.mean), _p(one.p))
            for one in analysis.differences
        ]
        lines += ["", *table_lines(("Difference", study.pairs.capitalize(), "Mean", "p"), rows)]
    return "\n".join([*lines, ""])


def _source_row(name: str, of: OfSource) -> tuple[str, ...]:
    good = sum(of.histogram[6:]) / of.rated
    yes = (f"{of.yes[question]:.0%}" if question in of.yes else "-" for question in QUESTIONS)
    seconds = "-" if of.seconds is None else f"{of.seconds:.0f}"
    return (name, str(of.rated), estimate_cell(of.mean), f"{good:.0%}", *yes, seconds)


def _title(question: str) -> str:
    return {"object": "Valid object", "boundary": "Clean boundary", "prompt": "Matches the point"}[question]


def _p(value: float | None) -> str:
    return "-" if value is None else "< .001" if value < 0.001 else f"{value:.3f}"
