"""What each retraining taught the model, as a table: on new pictures, and on what it knew before."""

from collections.abc import Sequence
from typing import Protocol

from engine.analysis.markdown import table_section
from schemas.round_metrics import RoundMetrics, Score

_SCORES = (("miou", "1 click"), ("miou_3", "3 clicks"), ("miou_box", "Box"))
_OLD_SCORES = (("old_miou", "Old: 1 click"), ("old_miou_3", "Old: 3 clicks"))
LEARNING_NOTE = (
    "mIoU before > after the retraining, with the paired 95 % interval of the change, on masks that training leaves "
    "out: ground truth of held-out images, or what people made on images that are set aside. Old: on the pictures that "
    "are kept for replay, beside the start model; training has seen these, unless it keeps the start model inside. "
    "Share: how much of the way from the start model was taken over, so that old knowledge is kept. Beside the start "
    "model: that is kept inside, unchanged, and answers for pictures of the kinds that it knows. IoU off by: mean "
    "absolute error of the predicted IoU at 1 click, before > after; after, it is calibrated on the same held-out "
    "masks. Left out: masks that no step learns from, since they are too small or too large. A model that is not used "
    "is registered; the next round goes on without it."
)


class Retraining(Protocol):
    """A round, as far as this table needs it. learned: its metrics, None where it was not retrained."""

    @property
    def stage(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def learned(self) -> RoundMetrics | None: ...


def learning_lines(reports: Sequence[Retraining]) -> list[str]:
    """The table in Markdown; nothing where no round was retrained."""
    rows = [
        f"| {report.stage.replace('_', ' ')} {report.round} | {' | '.join(_cells(report.learned))} |"
        for report in reports
        if report.learned is not None
    ]
    columns = ["Round", *(title for _, title in (*_SCORES, *_OLD_SCORES)), "IoU off by", "Share", "Left out", "Used"]
    return table_section("What the model learned", columns, rows, LEARNING_NOTE)


def _cells(metrics: RoundMetrics) -> list[str]:
    too_small, too_large = metrics.left_out.too_small, metrics.left_out.too_large
    return [
        *(_change(metrics.score(name)) for name, _ in (*_SCORES, *_OLD_SCORES)),
        _pair(metrics.score("iou_error")),
        _share(metrics),
        f"{too_small} small, {too_large} large" if too_small or too_large else "-",
        "yes" if metrics.guard is None or metrics.guard.accepted else f"no: {metrics.guard.reason}",
    ]


def _share(metrics: RoundMetrics) -> str:
    if metrics.share is None:
        return "-"
    return f"{metrics.share:.0%}{', beside the start model' if metrics.new_kind else ''}"


def _change(score: Score) -> str:
    if score.change is None:
        return _pair(score)
    low, high = score.change
    return f"{_pair(score)} ({low:+.3f} to {high:+.3f})"


def _pair(score: Score) -> str:
    return "-" if score.before is None or score.after is None else f"{score.before:.3f} > {score.after:.3f}"
