"""What each retraining taught the model, as a table: on new pictures, and on what it knew before."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_SCORES = (("miou", "1 click"), ("miou_3", "3 clicks"), ("miou_box", "Box"))
_OLD_SCORES = (("old_miou", "Old: 1 click"), ("old_miou_3", "Old: 3 clicks"))
LEARNING_NOTE = (
    "mIoU before > after the retraining, with the paired 95 % interval of the change, on masks that training leaves "
    "out: ground truth of held-out images, or what people made on images that are set aside. Old: on the pictures that "
    "are replayed, beside the start model; training has seen these. Share: how much of the way from the start model "
    "was taken over, so that old knowledge is kept. IoU off by: mean absolute error of the predicted IoU at 1 click, "
    "before > after; after, it is calibrated on the same held-out masks. Left out: masks that no step learns from, "
    "since they are too small or too large. A model that is not used is registered; the next round goes on without it."
)


class Retraining(Protocol):
    """A round, as far as this table needs it. learned: metrics of its retraining, None where there was none."""

    @property
    def stage(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def learned(self) -> Mapping[str, Any] | None: ...


def learning_lines(reports: Sequence[Retraining]) -> list[str]:
    """The table in Markdown; nothing where no round was retrained."""
    rows = [
        f"| {report.stage.replace('_', ' ')} {report.round} | {' | '.join(_cells(report.learned))} |"
        for report in reports
        if report.learned is not None
    ]
    if not rows:
        return []
    titles = ["Round", *(title for _, title in (*_SCORES, *_OLD_SCORES)), "IoU off by", "Share", "Left out", "Used"]
    return [
        "",
        "# What the model learned",
        "",
        f"| {' | '.join(titles)} |",
        f"|{' --- |' * len(titles)}",
        *rows,
        "",
        LEARNING_NOTE,
    ]


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    left_out = metrics.get("left_out", {})
    too_small, too_large = left_out.get("too_small", 0), left_out.get("too_large", 0)
    guard = metrics.get("guard", {"accepted": True, "reason": ""})
    return [
        *(_change(metrics, name) for name, _ in (*_SCORES, *_OLD_SCORES)),
        _pair(metrics, "iou_error"),
        f"{metrics['share']:.0%}" if "share" in metrics else "-",
        f"{too_small} small, {too_large} large" if too_small or too_large else "-",
        "yes" if guard["accepted"] else f"no: {guard['reason']}",
    ]


def _change(metrics: Mapping[str, Any], name: str) -> str:
    if f"{name}_change" not in metrics:
        return _pair(metrics, name)
    low, high = metrics[f"{name}_change"]
    return f"{_pair(metrics, name)} ({low:+.3f} to {high:+.3f})"


def _pair(metrics: Mapping[str, Any], name: str) -> str:
    before, after = metrics.get(f"{name}_before"), metrics.get(f"{name}_after")
    return "-" if before is None or after is None else f"{before:.3f} > {after:.3f}"
