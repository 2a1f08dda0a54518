"""What the verdicts of a gate come to, round by round: shares with intervals, by annotator, and the report's table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from engine.quality.verdicts import ACCEPTED, ANSWERS, Answers, AnyVerdict, Subject
from schemas.labeling import Gate
from schemas.stages import STAGES, Stage


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the bounds of its Wilson interval (in [0, 1])."""

    count: int
    total: int
    low: float
    high: float

    @property
    def frac(self) -> float:
        return self.count / self.total

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "frac": self.frac}


@dataclass(frozen=True)
class GateSummary:
    """What a gate said about one round.

    shares: of each answer among all. accepted_by: of good or complete among the answers of each annotator.
    seconds_per_answer: mean over the answers whose time is known, None where none is.
    """

    gate: Gate
    stage: Stage
    round: int
    answers: int
    shares: dict[str, Share]
    accepted_by: dict[str, Share]
    seconds_per_answer: float | None
    skipped: int
    unanswered: int
    unreadable: int

    def to_dict(self) -> dict[str, Any]:
        shares = {
            name: {key: share.to_dict() for key, share in getattr(self, name).items()}
            for name in ("shares", "accepted_by")
        }
        return {**vars(self), **shares}


def summaries(answers: Answers[AnyVerdict]) -> list[GateSummary]:
    """One summary for each round that tasks are of, in the order of stages and rounds."""
    rounds = {(one.stage, one.round) for one in answers.verdicts}
    rounds |= {(one.stage, one.round) for one in (*answers.skipped, *answers.unanswered)}
    return [_summary(answers, *key) for key in sorted(rounds, key=lambda key: (STAGES.index(key[0]), key[1]))]


def wilson_share(count: int, total: int, *, level: float = 0.95) -> Share:
    """A share with its Wilson score interval, which stays in [0, 1] and has a width for 0 of N and N of N too.

    Masks drawn by strata in proportion vary a little less than the interval says. Raises ValueError if total is 0 or
    count not in [0, total].
    """
    if total < 1 or not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is no share")
    from scipy.special import ndtri  # a gate that only asks has no use for it

    z = float(ndtri((1 + level) / 2))
    frac, weight = count / total, z * z / total
    centre = (frac + weight / 2) / (1 + weight)
    half = z * (frac * (1 - frac) / total + weight / (4 * total)) ** 0.5 / (1 + weight)
    return Share(count, total, max(0.0, centre - half), min(1.0, centre + half))


def gate_lines(found: Sequence[GateSummary]) -> list[str]:
    """The section of the report about the gates, as Markdown; no lines without summaries."""
    if not found:
        return []
    titles = (
        "Gate",
        "Stage",
        "Round",
        "Answers",
        "Shares",
        "Accepted, by annotator",
        "s / answer",
        "Skipped",
        "Unread",
    )
    lines = ["", "# Gates of quality", "", f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for one in found:
        shares = ", ".join(f"{answer} {percent(share)}" for answer, share in one.shares.items())
        by_annotator = ", ".join(
            f"{who or '?'} {share.frac:.0%} of {share.total}" for who, share in one.accepted_by.items()
        )
        seconds = "-" if one.seconds_per_answer is None else f"{one.seconds_per_answer:.1f}"
        cells = (one.gate, one.stage.replace("_", " "), one.round, one.answers, shares or "-", by_annotator or "-")
        lines.append(f"| {' | '.join(map(str, (*cells, seconds, one.skipped, one.unreadable)))} |")
    lines += ["", "Shares: of the answers, in brackets the 95 % Wilson interval. Masks and images are random samples."]
    return lines


def _summary(answers: Answers[AnyVerdict], stage: Stage, round: int) -> GateSummary:
    here = [one for one in answers.verdicts if (one.stage, one.round) == (stage, round)]
    given = Counter(one.answer for one in here)
    by_annotator = Counter(one.annotator for one in here)
    accepted = Counter(one.annotator for one in here if one.answer == ACCEPTED[answers.gate])
    seconds = [one.seconds for one in here if one.seconds is not None]

    def count(subjects: Iterable[Subject]) -> int:
        return sum((one.stage, one.round) == (stage, round) for one in subjects)

    return GateSummary(
        gate=answers.gate,
        stage=stage,
        round=round,
        answers=len(here),
        shares={answer: wilson_share(given[answer], len(here)) for answer in ANSWERS[answers.gate]} if here else {},
        accepted_by={who: wilson_share(accepted[who], total) for who, total in sorted(by_annotator.items())},
        seconds_per_answer=fmean(seconds) if seconds else None,
        skipped=count(answers.skipped),
        unanswered=count(answers.unanswered),
        unreadable=count(answers.unreadable),
    )


def percent(share: Share) -> str:
    """A share and its interval, for people."""
    return f"{share.frac:.0%} ({share.low:.0%} to {share.high:.0%})"
