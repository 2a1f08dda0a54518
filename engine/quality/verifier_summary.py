"""What the verifier did at a verification gate: questions that it saved people, and how often it was right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.quality.gate_sample import GateSample
from engine.quality.gate_summary import Share, percent, wilson_share
from schemas.counted import counted
from schemas.labeling import Verdict


@dataclass(frozen=True)
class VerifierSummary:
    """What the verifier did at one gate.

    questions: masks of the sample. asked: those that people see. pre_answered: by what the verifier said of the others.
    learnt_from: answers of earlier gates. out_of_fold: of these, how many it had right among those it was sure of, on
    images that it did not learn from. audit: of masks that it answered and people did too, how many they answer alike,
    None before the first. reason: why people are asked everything, "" where they are not. id: "" where no verifier was
    trained. unreadable: pictures, also of earlier gates, that could not be read; it said nothing of their masks.
    """

    id: str
    reason: str
    learnt_from: int
    stated_precision: float
    questions: int
    asked: int
    pre_answered: dict[str, int]
    out_of_fold: dict[str, Share]
    audit: Share | None
    unreadable: int = 0

    def to_dict(self) -> dict[str, Any]:
        shares = {kind: share.to_dict() for kind, share in self.out_of_fold.items()}
        return {**vars(self), "out_of_fold": shares, "audit": self.audit.to_dict() if self.audit else None}

    def sentence(self) -> str:
        """One sentence for people."""
        if self.reason:
            return f"people are asked all {counted(self.questions, 'question')}: {self.reason}"
        given = ", ".join(f"{count} {kind}" for kind, count in self.pre_answered.items())
        unread = f"; {counted(self.unreadable, 'picture')} cannot be read" if self.unreadable else ""
        return (
            f"the verifier answers {self.questions - self.asked} of "
            f"{counted(self.questions, 'question')} ({given}){unread}"
        )


def verifier_summary(sample: GateSample, answers: Mapping[int, Verdict]) -> VerifierSummary | None:
    """Of a sample and what people said so far; None where the workspace wants no verifier."""
    card = sample.verifier
    if not card:
        return None
    left_out = [verdict for each, verdict in sample.pre_answers.items() if each not in sample.audited]
    sides = card.get("out_of_fold", {})
    return VerifierSummary(
        id=card.get("id", ""),
        reason=card.get("reason", ""),
        learnt_from=card["learnt_from"],
        stated_precision=card["stated_precision"],
        questions=len(sample.masks),
        asked=len(sample.asked),
        pre_answered={kind: left_out.count(kind) for kind in ("good", "bad")},
        out_of_fold={kind: wilson_share(side["right"], side["masks"]) for kind, side in sides.items() if side["masks"]},
        audit=audit_of(sample, answers),
        unreadable=card.get("unreadable", 0),
    )


def audit_of(sample: GateSample, answers: Mapping[int, Verdict]) -> Share | None:
    """How many of the audited masks people answered as the verifier did: good, or not good. None before the first."""
    judged = sorted(sample.audited & answers.keys())
    alike = sum((answers[each] == "good") == (sample.pre_answers[each] == "good") for each in judged)
    return wilson_share(alike, len(judged)) if judged else None


def verifier_lines(found: VerifierSummary | None) -> list[str]:
    """The section of the report about the verifier, as Markdown; no lines where the workspace wants none."""
    if found is None:
        return []
    sentence = found.sentence()
    lines = ["", "# Verifier", "", f"{sentence[0].upper()}{sentence[1:]}."]
    if found.unreadable:
        lines += ["", f"Pictures that cannot be read, of whose masks it says nothing: {found.unreadable}."]
    if found.reason:
        return lines
    measured = [f"{kind} {percent(share)} of {share.total}" for kind, share in found.out_of_fold.items()]
    audit = f"{percent(found.audit)}, {found.audit.count} of {found.audit.total}" if found.audit else "no answer yet"
    return [
        *lines,
        "",
        f"- Verifier {found.id}, which learnt from {found.learnt_from} answers of earlier gates.",
        f"- Stated precision {found.stated_precision:g}; out of fold, on those answers: {'; '.join(measured) or '-'}.",
        f"- Audit, sure answers that people gave too and that are the same: {audit}.",
        "- In brackets the 95 % Wilson interval. The shares of the gate count its answers; it is an annotator there.",
    ]
