"""The sections on how the masks of a release were made and how good they are: what release and workspace know."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.analysis.report import MIOU_NOTE, SIMULATED_NOTE, TITLES, round_cells
from engine.analysis.rounds import RoundReport, round_reports
from engine.quality.audit import PAPER_NOTE
from engine.release.report.released import ReleasedMasks
from engine.release.report.sections import Section, Table
from engine.store import Store
from schemas.counted import counted

_AUDITED = {
    "over_high": "IoU > 0.90",
    "over_fair": "IoU > 0.75",
    "mean_iou": "Mean IoU",
    "kept_high": "IoU > 0.90, of all",
    "deleted_frac": "Deleted",
    "added_frac": "Added",
}
_NO_WORKSPACE = "The workspace of this release is not known, so its rounds are not; name it with --workspace."


def quality_sections(release: ReleasedMasks, store: Store | None) -> list[Section]:
    """Stages and rounds, masks that were dropped, audits. Call it when the index was read.

    store: of the workspace that the release was built of, None where it is not at hand.
    """
    rounds = [] if store is None else round_reports(store)
    audits = [] if store is None else _audits(store)
    return [_stages(release, rounds, store), _dropped(release, rounds, store), _audit(audits, store)]


def _stages(release: ReleasedMasks, rounds: Sequence[RoundReport], store: Store | None) -> Section:
    made = {
        key: (its.masks, its.mean("predicted_iou"), its.mean("stability_score")) for key, its in release.made.items()
    }
    rows = tuple(
        (_named(key.stage), str(key.round), _named(key.origin), f"{masks:,}", _number(iou), _number(stability))
        for key, (masks, iou, stability) in made.items()
    )
    names = ("masks", "predicted_iou", "stability_score")
    tables = [Table(("Stage", "Round", "Origin", "Masks", "Predicted IoU", "Stability"), rows)]
    if rounds:
        tables.append(Table(TITLES, tuple(tuple(round_cells(one)) for one in rounds)))
    notes = ["Predicted IoU and stability are means over the masks that have one; those drawn by people have none."]
    notes += [_NO_WORKSPACE] if store is None else [MIOU_NOTE] if rounds else []
    notes += [SIMULATED_NOTE] if any(one.simulated for one in rounds) else []
    return Section(
        "stages",
        "Stages and rounds",
        "Which stage and round the masks of this release come from; then what each round of the workspace cost and "
        "brought.",
        {
            "masks": [{**key._asdict(), **dict(zip(names, its, strict=True))} for key, its in made.items()],
            "rounds": [_without_names(one) for one in rounds],
        },
        tables=tables,
        notes=notes,
    )


def _dropped(release: ReleasedMasks, rounds: Sequence[RoundReport], store: Store | None) -> Section:
    released = {(key.stage, key.round) for key in release.made}
    reasons: Counter[str] = Counter()
    kept = 0
    for one in rounds:
        if one.generation is not None and (one.stage, one.round) in released:
            reasons.update(one.generation.dropped)
            kept += one.generation.masks or 0
    candidates = kept + reasons.total()
    rows = [
        (_named(reason), f"{count:,}", f"{count / candidates:.1%}") for reason, count in reasons.most_common() if count
    ]
    lost, empty = release.manifest.masks_lost, release.manifest.images_without_masks
    notes = [
        f"Building the release: {counted(lost, 'mask')} {'was' if lost == 1 else 'were'} too thin to show at its size; "
        f"{counted(empty, 'picture')} {'has' if empty == 1 else 'have'} no masks and "
        f"{'was' if empty == 1 else 'were'} left out."
    ]
    if store is None:
        notes.append(_NO_WORKSPACE)
    elif not candidates:
        notes.append("No mask generator worked in the rounds of this release.")
    return Section(
        "dropped",
        "Masks dropped",
        "What the filters of the mask generator took away, by reason, of all masks that it made in the rounds of this "
        "release.",
        {"candidates": candidates, "kept": kept, "dropped": dict(reasons), "masks_lost": lost},
        tables=[Table(("Reason", "Masks", "Of all"), (*rows, ("kept", f"{kept:,}", f"{kept / candidates:.1%}")))]
        if candidates
        else [],
        notes=notes,
    )


def _audits(store: Store) -> list[dict[str, Any]]:
    """What the audit of each round found, where there was one."""
    return [
        {"stage": record.stage, "round": record.round, **found}
        for record in store.rounds()
        if (found := record.metrics.quality.get("audit"))
    ]


def _audit(audits: Sequence[dict[str, Any]], store: Store | None) -> Section:
    rows = tuple(
        (
            f"{_named(one['stage'])} {one['round']}",
            *(f"{one[name]:,}" for name in ("images", "masks", "pairs")),
            *(_estimate(one.get(name), number=name == "mean_iou") for name in _AUDITED),
        )
        for one in audits
    )
    none = [
        _NO_WORKSPACE
        if store is None
        else "No round was audited; experts correct a sample with: sam-engine labeling gate audit WORK"
    ]
    return Section(
        "audit",
        "Audit",
        "Experts correct all masks of a random sample of pictures; a pair is a mask and what they made of it. With "
        "95 % intervals, over pictures.",
        audits,
        tables=[Table(("Round", "Pictures", "Masks", "Pairs", *_AUDITED.values()), rows)] if rows else [],
        notes=[PAPER_NOTE] if rows else none,
    )


def _without_names(report: RoundReport) -> dict[str, Any]:
    """A report may be published: nobody's name is in it."""
    return {name: value for name, value in report.to_dict().items() if name not in ("by_annotator", "people")}


def _estimate(found: dict[str, float] | None, *, number: bool) -> str:
    if found is None:
        return "-"
    value, low, high = (f"{found[key]:.3f}" if number else f"{found[key]:.1%}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _named(name: str) -> str:
    return name.replace("_", " ")
