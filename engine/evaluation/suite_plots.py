"""Figure 9 of the SAM paper for any suite: how much better the first model is on each set, and mIoU over clicks."""

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.evaluation.peers import BOX
from engine.evaluation.suite import SuiteResult
from engine.evaluation.suite_report import Answers, excludes_zero
from engine.figures import COLOURS
from engine.quality.audit import Estimate

_BETTER, _WORSE, _MEAN = COLOURS[0], COLOURS[1], "#8C8C8C"
_PALE = 0.35  # opacity of bars whose interval includes 0
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_PANELS_A_ROW = 3


def deltas_figure(result: SuiteResult, answers: Sequence[Answers]) -> Figure | None:
    """Bars of the differences in mIoU, best first, a panel for each other peer; the mean over sets below.

    Each peer is compared at the first prompt that it was asked with, by its confident masks. None without other peers.
    """
    panels: dict[str, Answers] = {}
    for each in answers:
        for peer in each.mean.better_by:
            panels.setdefault(peer, each)
    if not panels:
        return None
    columns = min(len(panels), _PANELS_A_ROW)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, rows * (1.3 + 0.3 * (len(result.sets) + 1.5))), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for one, peer in zip(axes, sorted(panels, key=result.peers.index), strict=False):
        _draw_deltas(one, peer, panels[peer])
        one.set_title(f"{plain(result.peers[0])} − {plain(peer)}, {panels[peer].question.title}", fontsize=10)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    return figure


def clicks_figure(result: SuiteResult, answers: Sequence[Answers]) -> Figure:
    """Curves: mIoU of confident masks over the number of clicks, mean over sets, with their intervals as bands."""
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    by_clicks = {
        int(each.question.prompt): each.mean.miou
        for each in answers
        if each.question.prompt != BOX and each.question.answer == "confident"
    }
    for peer, colour, marker in zip(result.peers, cycle(COLOURS), cycle(MARKERS)):
        found = {clicks: miou[peer] for clicks, miou in by_clicks.items() if peer in miou}
        if found:
            _draw_curve(axes, found, colour=colour, marker=marker, label=plain(peer))
    axes.set_xticks(list(by_clicks))
    axes.set_xlim(min(by_clicks) - 0.4, max(by_clicks) + 0.4)
    axes.set_xlabel("clicks", fontsize=9)
    sets = "1 set" if len(result.sets) == 1 else f"mean over {len(result.sets)} sets"
    axes.set_ylabel(f"mIoU, {sets}, with 95 % intervals", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    axes.grid(alpha=0.25)
    return figure


def _draw_deltas(axes: Axes, peer: str, answers: Answers) -> None:
    ordered = sorted(answers.sets.items(), key=lambda item: -item[1].better_by[peer].value)
    bars = [(name, compared.better_by[peer]) for name, compared in ordered]
    places = [*range(len(bars)), len(bars) + 0.5]
    bars.append(("mean over sets", answers.mean.better_by[peer]))
    for place, (_, found) in zip(places, bars, strict=True):
        _draw_bar(axes, place, found, is_mean=place == places[-1])
    axes.set_yticks(places, [plain(name) for name, _ in bars])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    low, high = min(0, *(found.low for _, found in bars)), max(0, *(found.high for _, found in bars))
    left = any(found.value < 0 for _, found in bars)
    right = any(found.value >= 0 for _, found in bars)
    span = max(high - low, 0.01)
    axes.set_xlim(low - span * _room(low, left), high + span * _room(high, right))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("difference in mIoU with its 95 % interval; pale: 0 lies in it", fontsize=8)
    tidy(axes)
    axes.grid(axis="x", alpha=0.25)


def _room(end: float, has_numbers: bool) -> float:
    """Beyond the bars, as a share of what they span: for the numbers beside them, or so that intervals end in sight."""
    return 0.22 if has_numbers else 0.04 if end else 0.0


def _draw_bar(axes: Axes, place: float, found: Estimate, *, is_mean: bool) -> None:
    colour = _MEAN if is_mean else _BETTER if found.value >= 0 else _WORSE
    axes.barh(place, found.value, height=0.62, color=colour, alpha=1.0 if excludes_zero(found) else _PALE)
    axes.plot([found.low, found.high], [place, place], color="black", linewidth=1.2, solid_capstyle="butt")
    right = found.value >= 0
    axes.annotate(
        f"{found.value:+.3f}".replace("-", "−"),
        (max(found.high, 0) if right else min(found.low, 0), place),
        xytext=(4 if right else -4, 0),
        textcoords="offset points",
        va="center",
        ha="left" if right else "right",
        fontsize=8,
    )


def _draw_curve(axes: Axes, found: dict[int, Estimate], *, colour: str, marker: str, label: str) -> None:
    clicks, estimates = list(found), list(found.values())
    lows, highs = [each.low for each in estimates], [each.high for each in estimates]
    line = "-" if len(clicks) > 1 else "none"
    means = [each.value for each in estimates]
    axes.plot(clicks, means, linestyle=line, color=colour, marker=marker, markersize=5, label=label)
    if len(clicks) > 1:
        axes.fill_between(clicks, lows, highs, color=colour, alpha=0.15, linewidth=0)
    else:
        axes.vlines(clicks, lows, highs, color=colour, linewidth=1.2)


def tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plain(name: str) -> str:
    """A name that is not taken for a formula."""
    return name.replace("$", r"\$")
