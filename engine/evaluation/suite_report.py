"""What a suite found: mIoU of each peer by set and as the mean over sets, and how much better the first model is.

Intervals are 95 % bootstrap intervals; masks are drawn within each set, while the sets stay those that they are.
Differences are paired: both peers were asked for the same masks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.evaluation.bootstrap import bootstrap_mean_of_means
from engine.evaluation.peers import BOX
from engine.evaluation.suite import SuiteResult
from engine.quality.audit import Estimate
from schemas.counted import counted
from schemas.suite import Suite

_THREE_MASKS = ("1", BOX)  # prompts that get three masks; others get one, which is confident and oracle alike


@dataclass(frozen=True)
class Question:
    """prompt: a number of clicks as text, or "box". answer: the mask that counts."""

    prompt: str
    answer: Literal["confident", "oracle"]

    @property
    def title(self) -> str:
        clicks = "box" if self.prompt == BOX else counted(int(self.prompt), "click")
        return clicks if self.answer == "confident" else f"{clicks}, oracle"


@dataclass(frozen=True)
class Compared:
    """Of one set, or of all. miou: of each peer that was asked. better_by: the first model than each other; by name."""

    miou: dict[str, Estimate]
    better_by: dict[str, Estimate]


@dataclass(frozen=True)
class Answers:
    """What came of one question. mean: over the sets."""

    question: Question
    sets: dict[str, Compared]
    mean: Compared


def suite_answers(suite: Suite, result: SuiteResult) -> list[Answers]:
    """One a question: numbers of clicks, then boxes. Raises ValueError where the result has no set."""
    return [
        Answers(
            question,
            {name: _compared(result, question, [name]) for name in result.sets},
            _compared(result, question, list(result.sets)),
        )
        for question in questions_of(suite)
    ]


def excludes_zero(difference: Estimate) -> bool:
    """Whether 0 lies outside its interval."""
    return difference.low > 0 or difference.high < 0


def suite_values(suite: Suite, result: SuiteResult, answers: Sequence[Answers]) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "peers": list(result.peers),
        "first_point": suite.first_point,
        "seed": suite.seed,
        "sets": {
            name: {"masks": each.masks, "pictures": each.pictures, "note": each.note}
            for name, each in result.sets.items()
        },
        "left_out": result.left_out,
        "results": [
            {
                "prompt": each.question.prompt,
                "answer": each.question.answer,
                "sets": {name: _values(compared) for name, compared in each.sets.items()},
                "mean": _values(each.mean),
            }
            for each in answers
        ],
    }


def mean_table(result: SuiteResult, answers: Sequence[Answers]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: the mean over sets of each peer, a row a question."""
    rows = [
        (each.question.title, *(estimate_cell(each.mean.miou.get(peer)) for peer in result.peers)) for each in answers
    ]
    return ("Prompt", *result.peers), rows


def suite_lines(suite: Suite, result: SuiteResult) -> list[str]:
    """What has to be known beside the tables, a line each."""
    point = "the pixel farthest from the boundary" if suite.first_point == "centre" else "any pixel"
    over = f", mean over {len(result.sets)} sets" if len(result.sets) > 1 else " of one set"
    lines = [
        f"mIoU{over}; in brackets 95 % bootstrap intervals: masks are drawn within each set.",
        f"First click: {point} of the mask; each further one corrects, in the middle of the error.",
        "Confident: the mask with the highest predicted IoU; oracle: the best of the three that 1 click or a box gets.",
    ]
    lines += [f"{name}: a single mask, whose interval says nothing." for name, s in result.sets.items() if s.masks == 1]
    return lines + [f"{name}: left out: {reason}" for name, reason in result.left_out.items()]


def suite_markdown(suite: Suite, result: SuiteResult, answers: Sequence[Answers]) -> str:
    """A page: the mean over sets, then a table of all sets for each question."""
    lines = ["# Suite", "", *table_lines(*mean_table(result, answers)), ""]
    lines += [f"- {line}" for line in suite_lines(suite, result)]
    lines += [
        "",
        "## Sets",
        "",
        *table_lines(
            ("Set", "Masks", "Pictures", "Measured"),
            [(name, f"{s.masks:,}", f"{s.pictures:,}", s.note) for name, s in result.sets.items()],
        ),
    ]
    if len(result.peers) > 1:
        bold = "bold where the interval excludes 0"
        lines += ["", f"Differences are of {result.peers[0]} from the other, on the same masks; {bold}."]
    for each in answers:
        lines += ["", f"## {each.question.title[0].upper()}{each.question.title[1:]}", "", *_of_sets(result, each)]
    return "\n".join([*lines, ""])


def questions_of(suite: Suite) -> Iterator[Question]:
    """In the order of reports: numbers of clicks, then boxes."""
    for prompt in (*map(str, suite.clicks), *([BOX] if suite.boxes else [])):
        yield Question(prompt, "confident")
        if prompt in _THREE_MASKS:
            yield Question(prompt, "oracle")


def _compared(result: SuiteResult, question: Question, names: Sequence[str]) -> Compared:
    """Of these sets together."""
    ious = {
        peer: [ious_of(result, name, peer, question) for name in names]
        for peer in result.peers
        if all(question.prompt in result.sets[name].scores[peer] for name in names)
    }
    first = ious[result.peers[0]]
    better = {
        peer: [ours - theirs for ours, theirs in zip(first, others, strict=True)]
        for peer, others in ious.items()
        if peer != result.peers[0]
    }
    return Compared(
        {peer: estimate_of(groups) for peer, groups in ious.items()},
        {peer: estimate_of(groups) for peer, groups in better.items()},
    )


def ious_of(result: SuiteResult, name: str, peer: str, question: Question) -> npt.NDArray[np.float64]:
    """(N,) of the N masks of a set."""
    scores = result.sets[name].scores[peer][question.prompt]
    return scores.confident if question.answer == "confident" else scores.oracle


def estimate_of(groups: Sequence[npt.NDArray[np.float64]]) -> Estimate:
    """The mean over groups of the mean of each, with its interval. groups: values of each set."""
    low, high = bootstrap_mean_of_means(groups)
    return Estimate(float(np.mean([values.mean() for values in groups])), low, high)


def _values(compared: Compared) -> dict[str, Any]:
    return {
        "miou": {peer: {"miou": it.value, "low": it.low, "high": it.high} for peer, it in compared.miou.items()},
        "better_by": {
            peer: {"difference": it.value, "low": it.low, "high": it.high, "excludes_zero": excludes_zero(it)}
            for peer, it in compared.better_by.items()
        },
    }


def _of_sets(result: SuiteResult, answers: Answers) -> list[str]:
    """A table: a row a set and one of the mean, with the peers that were asked and their differences."""
    asked, others = list(answers.mean.miou), list(answers.mean.better_by)
    columns = ("Set", *asked, *(f"{result.peers[0]} − {peer}" for peer in others))
    rows = [
        (
            name,
            *(estimate_cell(compared.miou[peer]) for peer in asked),
            *(difference_cell(compared.better_by[peer]) for peer in others),
        )
        for name, compared in (*answers.sets.items(), ("mean over sets", answers.mean))
    ]
    return table_lines(columns, rows)


def estimate_cell(found: Estimate | None) -> str:
    """For a table: the value and its interval, "-" for none."""
    return "-" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def difference_cell(found: Estimate) -> str:
    """For a table: with its sign, bold where the interval excludes 0."""
    value = f"**{found.value:+.3f}**" if excludes_zero(found) else f"{found.value:+.3f}"
    return f"{value} ({found.low:+.3f} to {found.high:+.3f})"


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [_row(columns), _row(["---"] * len(columns)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
