"""The report that comes with every round: what it cost, what it brought, and what the model learned from it.

The columns are those by which the SAM and SAM 2 papers describe their data engines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from engine.analysis.learning import learning_lines
from engine.analysis.markdown import table_section
from engine.analysis.rounds import RoundReport, round_reports
from engine.analysis.team import team_lines
from engine.masks.difference import MaskDifference
from engine.places import Place
from engine.store import Store
from schemas.labeling import SECONDS_PER_MASK_LIMIT

SIMULATED_NOTE = (
    "Seconds and clicks are simulated: the annotator is a program that clicks from ground truth and keeps a simulated "
    "clock (engine.yaml, section annotator). They show how the loop behaves, not what people would need."
)
MIOU_NOTE = (
    "mIoU: 1 click at the centre of each mask of images that are held out or set aside, most confident mask, no "
    "training on them."
)
_COLUMNS = (
    ("stage", "Stage"),
    ("round", "Round"),
    ("images", "Images"),
    ("masks", "Masks"),
    ("masks_per_image", "Masks / image"),
    ("seconds_per_mask", "s / mask"),
    ("clicks_per_mask", "Clicks / mask"),
    ("drawn", "Drawn by hand"),
    ("kept", "Kept"),
    ("edited", "Edited"),
    ("deleted", "Deleted"),
    ("miou_before", "mIoU before"),
    ("miou_after", "mIoU after"),
)
TITLES = tuple(title for _, title in _COLUMNS)
_TERMINAL_COLUMNS = ("stage", "images", "masks", "/image", "s/mask", "clicks", "kept/ed/del", "mIoU")


@dataclass(frozen=True)
class ReportFiles:
    markdown: Place
    curves: Place


def as_table(reports: Sequence[RoundReport]) -> Table:
    """A table for the terminal, narrow enough for 80 columns."""
    table = Table(title="Rounds", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for title in _TERMINAL_COLUMNS:
        table.add_column(title, justify="left" if title == "stage" else "right", no_wrap=True)
    for report in reports:
        cells = dict(zip((key for key, _ in _COLUMNS), round_cells(report), strict=True))
        prefilled = "/".join(cells[key].rstrip("%") for key in ("kept", "edited", "deleted"))
        table.add_row(
            f"{cells['stage']} {cells['round']}",
            *(cells[key] for key in ("images", "masks", "masks_per_image", "seconds_per_mask", "clicks_per_mask")),
            "-" if report.kept is None else prefilled,
            f"{cells['miou_before']} > {cells['miou_after']}",
        )
    notes = ["kept/ed/del: % of prefilled masks kept, edited, deleted", "mIoU: before > after the retraining"]
    if any(report.simulated for report in reports):
        notes.append("seconds and clicks are simulated")
    table.caption = "\n".join(notes)
    return table


def as_markdown(reports: Sequence[RoundReport]) -> str:
    """The same table as Markdown, with what its figures mean."""
    lines = ["# Rounds", "", f"| {' | '.join(TITLES)} |", f"|{' --- |' * len(TITLES)}"]
    lines += [f"| {' | '.join(round_cells(report))} |" for report in reports]
    lines += ["", MIOU_NOTE]
    lines += learning_lines(reports)
    lines += _annotator_lines(reports)
    lines += team_lines(reports)
    lines += _prefill_lines(reports)
    lines += _generation_lines(reports)
    lines += _left_out_lines(reports)
    if any(report.simulated for report in reports):
        lines += ["", SIMULATED_NOTE]
    return "\n".join(lines) + "\n"


def write_report(store: Store) -> ReportFiles:
    """Write reports/rounds.md and reports/rounds.png of the workspace.

    Each file is replaced whole: a reader never sees half of one.
    """
    reports = round_reports(store)
    files = ReportFiles(store.files.reports / "rounds.md", store.files.reports / "rounds.png")
    files.markdown.write(as_markdown(reports).encode())
    with files.curves.writing() as curves:
        draw_curves(reports).savefig(curves, dpi=120, format="png")
    return files


def draw_curves(reports: Sequence[RoundReport]) -> Figure:
    """Four curves over the rounds: seconds and clicks per mask, masks per image, mIoU before and after retraining."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    labels = [f"{report.stage.replace('_', ' ')}\n{report.round}" for report in reports]
    panels = (
        ("Seconds per mask" + _simulated_suffix(reports), {"": [report.seconds_per_mask for report in reports]}),
        ("Clicks per mask" + _simulated_suffix(reports), {"": [report.clicks_per_mask for report in reports]}),
        ("Masks per image", {"": [report.masks_per_image for report in reports]}),
        (
            "mIoU at 1 click, held-out images",
            {
                "before retraining": [report.miou_before for report in reports],
                "after": [report.miou_after for report in reports],
            },
        ),
    )
    for axes, (title, curves) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for name, values in curves.items():
            axes.plot(range(len(values)), [float("nan") if v is None else v for v in values], marker="o", label=name)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.set_xlim(-0.5, max(len(labels), 1) - 0.5)
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend(fontsize=8)
        else:
            axes.set_ylim(bottom=0)
    return figure


def _simulated_suffix(reports: Sequence[RoundReport]) -> str:
    return " (simulated)" if any(report.simulated for report in reports) else ""


def _annotator_lines(reports: Sequence[RoundReport]) -> list[str]:
    """What each annotator's masks took, as a table of its own."""
    rows = [
        f"| {_cell('stage', report.stage)} | {report.round} | {name} | {own.masks} | {own.seconds_per_mask:.1f} "
        f"| {own.clicks_per_mask:.1f} | {own.over_limit} ({own.over_limit / own.masks:.0%}) |"
        for report in reports
        for name, own in (report.by_annotator or {}).items()
    ]
    columns = (
        "Stage",
        "Round",
        "Annotator",
        "Masks",
        "s / mask",
        "Clicks / mask",
        f"Over {SECONDS_PER_MASK_LIMIT:g} s",
    )
    note = (
        f"Masks that annotators made or mended. After one that took over {SECONDS_PER_MASK_LIMIT:g} s an annotator is "
        "to go to the next image (SAM paper, section 4)."
    )
    return table_section("Annotators", columns, rows, note)


def _prefill_lines(reports: Sequence[RoundReport]) -> list[str]:
    """How the object detector's masks were chosen in each round that used one."""
    rows = [
        f"| {_cell('stage', report.stage)} | {report.round} | {found.threshold:.3f} "
        f"| {found.stated_precision:.0%} | {_share(found.precision)} | {_share(found.recall)} "
        f"| {found.masks} on {found.images} |"
        for report in reports
        if (found := report.prefill) is not None
    ]
    columns = ("Stage", "Round", "Threshold", "Precision asked for", "Precision", "Recall", "Masks on images")
    note = (
        "Measured on held-out images, or on a random fifth of those with masks, which the detector did not learn from."
    )
    return table_section("Prefilled by the object detector", columns, rows, note)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _generation_lines(reports: Sequence[RoundReport]) -> list[str]:
    """What the mask generator did in each round that used it, as a second table."""
    used = [(report, report.generation) for report in reports if report.generation is not None]
    if not used:
        return []
    lines = [
        "",
        "# Mask generation",
        "",
        "| Stage | Round | Images / s | Seconds | Masks dropped |",
        f"|{' --- |' * 5}",
    ]
    for report, generation in used:
        seconds = ", ".join(f"{phase.replace('_', ' ')} {spent:.1f}" for phase, spent in generation.seconds.items())
        reasons = generation.dropped.items()
        dropped = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in reasons if count)
        stage = report.stage.replace("_", " ")
        lines.append(f"| {stage} | {report.round} | {generation.images_per_s:.3g} | {seconds} | {dropped or '-'} |")
    for report, generation in used:
        for difference in generation.difference_to_exact:
            stage = f"{report.stage.replace('_', ' ')} {report.round}"
            lines += ["", f"{stage}, `fast` beside `exact` on a sample of points: {MaskDifference(**difference)}."]
    return lines


def _left_out_lines(reports: Sequence[RoundReport]) -> list[str]:
    """Pictures that a round had to do without."""
    rows = []
    for report in reports:
        where = f"| {_cell('stage', report.stage)} | {report.round}"
        if report.unreadable:
            first = "; ".join(report.why_unreadable[:3])
            rows.append(f"{where} | {report.unreadable} | cannot be read, the first: {first} |")
        if report.killing:
            ids = ", ".join(map(str, report.killing))
            rows.append(f"{where} | {len(report.killing)} | take their process down: images {ids} |")
    note = (
        "They have no masks of that round. Those that can be read again come in the next round that has room for them."
    )
    return table_section("Pictures left out", ("Stage", "Round", "Pictures", "Why"), rows, note)


def round_cells(report: RoundReport) -> list[str]:
    """What stands under `TITLES`."""
    return [_cell(key, getattr(report, key)) for key, _ in _COLUMNS]


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key == "stage":
        return str(value).replace("_", " ")
    if key in ("drawn", "kept", "edited", "deleted"):
        return f"{value:.0%}"
    if key.startswith("miou"):
        return f"{value:.3f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
