"""The datasheet of a release, `DATASHEET.md`: the questions of "Datasheets for Datasets" (Gebru et al., 2021).

Numbers come from the release itself, words on why and by whom from the user (`release.card` in engine.yaml). What
nobody said is called so.
"""

from collections.abc import Iterator, Mapping

from engine.release.licences import known_licence
from engine.release.statistics import Histogram, Spread, Statistics
from schemas.config import SIMULATED, ReleaseConfig
from schemas.counted import counted
from schemas.release import Manifest
from schemas.stages import ANNOTATED_STAGES

DATASHEET_FILE = "DATASHEET.md"
_LABELS = 20  # that are named
_ANNOTATOR = {
    "": "not known",
    "generator": "the mask generator, from a grid of points, without people",
    "label_studio": "people in Label Studio, with the model's help",
    "person": "people",
    "imported": "came with the pictures",
    SIMULATED: "a program that knows the ground truth and clicks, in place of people",
}


def datasheet_text(manifest: Manifest, statistics: Statistics) -> str:
    """The whole file."""
    card = manifest.config.card
    sections = {
        "Motivation": _said(card.motivation, "for what purpose, by whom and with whose money the dataset was made"),
        "Composition": "\n".join(_composition(manifest, statistics)),
        "Collection": _said(card.pictures, "how the pictures were obtained, and who is on them"),
        "Stages": "\n".join(_stages(manifest, statistics)),
        "Annotators": "\n".join(_annotators(manifest, statistics)),
        "Preprocessing": "\n".join(_preprocessing(manifest)),
        "Privacy": "\n".join(_privacy(manifest, statistics)),
        "Uses": _said(card.uses, "what the dataset is for, and what it is not to be used for"),
        "Limits": "\n".join(_limits(manifest, statistics)),
        "Distribution": "\n".join(_distribution(manifest)),
        "Maintenance": "\n\n".join(_maintenance(manifest)),
    }
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items())
    return f"# Datasheet: {card.name or manifest.name}\n\n{body}"


def _said(words: str, what: str) -> str:
    return words.strip() or f"*Not stated: {what}.*"


def _composition(manifest: Manifest, statistics: Statistics) -> Iterator[str]:
    yield (
        f"{counted(statistics.pictures, 'picture')} (JPEG) and "
        f"{counted(statistics.masks, 'mask')} on them (COCO's run lengths)."
    )
    yield ""
    yield "| | least | median | mean | most |"
    yield "| --- | --: | --: | --: | --: |"
    yield _row("masks per picture", statistics.masks_per_picture)
    yield _row("width, px", statistics.width_px)
    yield _row("height, px", statistics.height_px)
    yield ""
    yield "| mask's size, √(mask area / picture area) | masks |"
    yield "| --- | --: |"
    yield from _bins(statistics.relative_size)
    yield ""
    for name in ("predicted_iou", "stability_score"):
        yield _score(name, getattr(statistics, name))
    yield f"- Splits, in pictures: {_listed(statistics.pictures_by_split, none='none')}."
    yield f"- {_labels(statistics)}"
    if any(statistics.pictures_by_country):
        countries = sorted(statistics.pictures_by_country.items(), key=lambda found: (-found[1], found[0]))
        yield f"- Countries, by the place in photographs' EXIF, in pictures: {_listed(dict(countries))}."
    if manifest.withheld:
        yield "- These pictures were withheld from all other releases of the same workspace, as a test set."
    if manifest.images_without_masks:
        yield f"- Pictures that were chosen and had no mask are not in it: {manifest.images_without_masks:,}."
    yield "- Equal pictures, byte for byte, are one picture."
    if manifest.merged:
        yield ""
        yield from merged_table(manifest)
        yield ""
    yield f"- {_bytes(statistics)} of tars. `statistics.json` has these numbers and more."


def merged_table(manifest: Manifest) -> Iterator[str]:
    """What a merged release was merged of, as Markdown."""
    yield "Merged of these releases, in this order; a picture that several have is as the first has it, with all masks:"
    yield ""
    yield "| release | key | pictures | of which were there | masks | left out (other size) |"
    yield "| --- | --- | --: | --: | --: | --: |"
    for each in manifest.merged:
        counts = (each.images, each.images_known, each.masks, each.masks_left_out)
        yield f"| {each.name} | `{each.key}` | " + " | ".join(f"{count:,}" for count in counts) + " |"


def _row(what: str, spread: Spread) -> str:
    return f"| {what} | {spread.least:,} | {spread.median:,} | {spread.mean:,.1f} | {spread.most:,} |"


def _bins(histogram: Histogram) -> Iterator[str]:
    for low, high, masks in zip(histogram.edges, histogram.edges[1:], histogram.masks, strict=False):
        yield f"| {low:g} to {high:g} | {masks:,} |"


def _score(name: str, histogram: Histogram) -> str:
    known = sum(histogram.masks)
    text = (
        f"- `{name}`: measured on {counted(known, 'mask')}, on {histogram.unknown:,} not (masks "
        "that people drew have none)"
    )
    at_least = sum(
        masks for low, masks in zip(histogram.edges, histogram.masks, strict=False) if low >= 0.9
    )  # the edges are steps of .05
    return f"{text}; at least .9 on {at_least / known:.0%}." if known else f"{text}."


def _labels(statistics: Statistics) -> str:
    named = {label or "(none)": count for label, count in list(statistics.labels.items())[:_LABELS]}
    if not statistics.different_labels:
        return "Masks have no labels: they say where something is, not what it is."
    more = " (the most frequent)" if statistics.different_labels >= _LABELS else ""
    return f"{counted(statistics.different_labels, 'different label')}{more}, in masks: {_listed(named)}."


def _bytes(statistics: Statistics) -> str:
    size, units = float(statistics.bytes_of_tars), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _stages(manifest: Manifest, statistics: Statistics) -> Iterator[str]:
    yield "Masks were made in stages, as for SA-1B (Segment Anything, section 4):"
    yield ""
    yield "| stage | how | masks | rounds |"
    yield "| --- | --- | --: | --: |"
    for stage in manifest.stages:
        people = stage in ANNOTATED_STAGES
        how = "annotators with the model's help; it learned from each round" if people else "the model alone, filtered"
        rounds = sum(name.rpartition(" ")[0] == stage for name in statistics.rounds)
        yield f"| `{stage}` | {how} | {statistics.stages.get(stage, 0):,} | {rounds} |"
    yield ""
    models = len([model for model in statistics.models if model])
    yield f"Models that took part: {models}; the index names each mask's (`model_id`)."


def _annotators(manifest: Manifest, statistics: Statistics) -> Iterator[str]:
    yield "| who | masks |"
    yield "| --- | --: |"
    for name, count in statistics.annotators.items():
        tool = name.removeprefix("imported-") if name not in _ANNOTATOR else name
        yield f"| {_ANNOTATOR.get(tool, tool)} (`{name}`) | {count:,} |"
    yield ""
    people = any(stage in ANNOTATED_STAGES for stage in manifest.stages) and set(statistics.annotators) - {SIMULATED}
    what = "who the annotators were, how they were chosen, instructed and paid"
    if manifest.config.card.annotators or people:
        yield _said(manifest.config.card.annotators, what)
        yield ""
    yield "No name and no account of an annotator is in the release."


def _preprocessing(manifest: Manifest) -> Iterator[str]:
    config = manifest.config
    yield "- Pictures were turned upright and converted to sRGB with 8 bits; nothing else of their files is kept."
    yield (
        f"- They were scaled so that the shortest side has at most {config.shortest_side_px:,} px, and written as JPEG "
        f"of quality {config.jpeg_quality}. The index has the size before."
    )
    lost = f"; those too thin to show are left out: {manifest.masks_lost:,}" if manifest.masks_lost else ""
    yield f"- Masks were scaled with them{lost}."
    chosen = config.masks.model_dump(exclude_defaults=True)
    if chosen:
        yield "- Of the masks, those with: " + ", ".join(f"{name} {value}" for name, value in chosen.items()) + "."
    if config.splits is not None:
        yield f"- Of the pictures, those of the splits {', '.join(config.splits)}."
    for each in manifest.merged:
        if others := _other_settings(each.config, config):
            yield f"- `{each.name}` was made with other settings: {', '.join(others)}."
    yield "- A mask that stands in two stages, pixel for pixel, is in it once. The pictures as they came are not in it."


def _other_settings(config: ReleaseConfig, first: ReleaseConfig) -> list[str]:
    left_out = {"card", "images_per_tar", "blur", "blur_detectors"}
    mine, theirs = (each.model_dump(mode="json", exclude=left_out) for each in (config, first))
    return [f"{name} {value}" for name, value in mine.items() if value != theirs[name]]


def _privacy(manifest: Manifest, statistics: Statistics) -> Iterator[str]:
    if not manifest.blur_versions:
        yield "Nothing was looked for and nothing was blurred: faces and licence plates are as they were photographed."
    else:
        share = statistics.pictures_blurred / statistics.pictures if statistics.pictures else 0
        yield "Looked for and blurred where found, before anything was written:"
        yield ""
        yield "| detector | version | parts blurred |"
        yield "| --- | --- | --: |"
        for name, version in manifest.blur_versions.items():
            yield f"| {name} | {version} | {statistics.blurred.get(name, 0):,} |"
        yield ""
        yield (
            f"On {counted(statistics.pictures_blurred, 'picture')} ({share:.1%}) something was "
            "blurred. No detector finds all:"
        )
        yield "small, turned, covered or cut-off faces and most licence plates can remain. The index has each box with"
        yield "its score (`blurred`). Masks were made on the pictures before, so outlines of people remain."
    yield ""
    if any(statistics.pictures_by_country):
        yield "Of the place where a photograph was taken, the index has the country and nothing else."
    yield "Pictures carry no EXIF, place, thumbnail or comment. `source` in the index is a file's name without folder."


def _limits(manifest: Manifest, statistics: Statistics) -> Iterator[str]:
    if any(stage not in ANNOTATED_STAGES for stage in manifest.stages):
        yield "- Automatic masks were not looked at one by one; parts and wholes may both be there."
    if simulated := statistics.annotators.get(SIMULATED, 0):
        yield f"- {simulated:,} masks come from a simulated annotator: they do not show what people would have drawn."
    yield "- What no mask shows is not background: pictures need not be annotated to the last object."
    yield "- Masks made with a model share its faults: fine structures, small parts and see-through things."
    yield ""
    yield _said(manifest.config.card.limits, "what is known to be missing or skewed in what the pictures show")


def _distribution(manifest: Manifest) -> Iterator[str]:
    card, known = manifest.config.card, known_licence(manifest.config.card)
    if card.license:
        yield f"- Licence: {known.spdx if known else card.license}; see `LICENSE`."
    else:
        yield "- No licence was stated."
    for what, words in (("Rights holder", card.holder), ("Page", card.url), ("Version", card.version)):
        if words:
            yield f"- {what}: {words}"
    if card.published:
        yield f"- Published: {card.published}"
    yield f"- Release `{manifest.name}`, key `{manifest.key}`: equal keys are the same data."
    yield "- `manifest.json` has the sha256 of every other file; `sam-engine release verify` reads them all again."


def _maintenance(manifest: Manifest) -> Iterator[str]:
    card = manifest.config.card
    yield _said(card.maintenance, "who mends what is wrong, and how a picture is taken out on request")
    yield f"Contact: {card.contact}" if card.contact else "*No contact was stated.*"
    if manifest.merged:
        yield "Pictures and masks keep their numbers in merges of the same releases with others behind them."
        return
    text = "Pictures and masks keep their numbers in later releases of the same workspace"
    yield f"{text}; `changes.json` tells what changed since `{manifest.previous}`." if manifest.changes else f"{text}."


def _listed(counts: Mapping[str, int], *, none: str = "") -> str:
    return ", ".join(f"{name or '(none)'} {count:,}" for name, count in counts.items()) or none
