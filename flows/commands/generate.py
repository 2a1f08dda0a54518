"""`sam-engine generate`: masks of everything in pictures, without a workspace."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import typer

from flows.console import JsonFlag, emit, progress_bars
from flows.options import ModelName
from flows.rejects import check_something_was_good, ignored_line, report_rejected
from flows.settings import parse_settings, setting_error
from flows.weights import load_sam, text_of
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.images import DecodedImage
    from engine.masks.difference import MaskDifference
    from engine.masks.generator import GenerationResult
    from model.predictor import Predictor
    from schemas.presets import GeneratorConfig
    from stages.progress import Progress


class MaskMaker(Protocol):
    """What makes the masks of a picture: `MaskGenerator`, `TextMasks`, `AllProposed`."""

    def generate(self, image: Any, /) -> "GenerationResult": ...


def generate(
    images: Annotated[list[Path], typer.Argument(help="Pictures, folders, or .txt lists (one path a line).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; it is made if missing.")],
    model: ModelName = "nano",
    weights: Annotated[
        Path | None, typer.Option(help="Weights file of SAM or MobileSAM to use instead of a model.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="nano, library-default, or paper-sa1b with 20 crops; default: what fits the model."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: replace a setting of the preset; may be repeated.")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help='Mask what this says instead of everything, as in "car"; may be repeated.'),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option("--point", help="X,Y in pixels: on the one thing that --text means; may be repeated."),
    ] = None,
    min_iou: Annotated[
        float | None,
        typer.Option("--min-iou", min=0, max=1, help="--text: leave out masks that the model thinks less of (0.3)."),
    ] = None,
    proposals: Annotated[
        Path | None,
        typer.Option(help="Masks of all things by a YOLO-seg or FastSAM, COCO results: write or choose among these."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Half precision where it is faster; says on a sample how masks then differ.")
    ] = False,
    max_memory_mb: Annotated[
        int | None, typer.Option(help="Working memory in MiB, beside model, picture and result (default: no limit).")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write a picture with the masks drawn in.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that generate did not write.")] = False,
    bit_depth: Annotated[
        int | None,
        typer.Option(min=8, max=32, help="Of values in samples of more than 8 bits; default: by the largest value."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Find the masks of everything in pictures, or of what --text says, and write SA-1B json, one file a picture.

    Pictures that cannot be read are named, and the others are done. With --text there is one mask for each text, of
    everything in the picture that it says, or with --point of the one thing there; which words are known, and how well,
    is in docs/text.md.
    """
    from engine.analysis.generation import summarise
    from engine.own_output import check_overwrites
    from engine.sources import gather
    from model.predictor import Predictor
    from schemas.errors import InputError

    sam, model_name = load_sam(model, weights, device)
    if (texts or proposals) and (preset or settings):
        raise InputError("--preset and --set are for the point grid; leave them out with --text and --proposals")
    options: dict[str, Any] = {"contract": "fast"} if fast else {}
    options |= {} if max_memory_mb is None else {"max_memory_mb": max_memory_mb}
    config = _config(preset or sam.config.encoder.generator_preset, settings or [], options)
    gathered = gather(images, labels=False)
    rejected = [problem._asdict() for problem in gathered.problems]
    predictor = Predictor(sam, contract=config.contract, text=text_of(model, weights, device) if texts else None)
    if proposals is not None:
        model_name = f"the masks of {proposals.name}"
    generator, used = _maker(predictor, config, _Wanted(texts or [], points or [], min_iou, proposals))
    files = _output_files([candidate.path for candidate in gathered.candidates], output)
    if not force:
        targets = [target for _, target in files]
        check_overwrites(targets, [_overlay_of(target) for target in targets] if overlay else [])
    with progress_bars() as progress:
        written = _generate_all(generator, files, overlay, bit_depth, rejected, progress)
    report_rejected(rejected, listed_in="the same command with --json")
    summary = summarise((record["masks"], record["seconds"], record["dropped"]) for record in written)
    compared = [] if texts or proposals else [Path(record["image"]) for record in written]
    difference = _difference(predictor, config, compared, bit_depth)
    text = f"{counted(summary.masks, 'mask')} on {counted(len(written), 'picture')}, with {model_name}: {output}"
    text += f", {len(rejected)} rejected" if rejected else ""
    text += f"\n{summary}" if written else ""
    text += f"\n{ignored_line(gathered.ignored)}" if gathered.ignored else ""
    text += "".join(f"\n{note}" for note in (*gathered.notes, *_notes(written)))
    text += f"\n{predictor.contract}" if config.contract == "fast" else ""
    text += f"\nfast beside exact, on a sample of points: {difference}" if difference else ""
    result: dict[str, Any] = {
        "model": model_name,
        "settings": used,
        "contract": str(predictor.contract),
        "pictures": written,
        "notes": gathered.notes,
        "ignored_endings": dict(gathered.ignored),
        "rejected": rejected,
    }
    result |= {"summary": summary.to_dict(), "difference_to_exact": difference and asdict(difference)}
    emit(result, as_json=as_json, text=text)
    check_something_was_good(len(written), rejected)


class _Wanted(NamedTuple):
    """What was asked for in place of everything."""

    texts: list[str]
    points: list[str]
    min_iou: float | None
    proposals: Path | None


def _maker(predictor: "Predictor", config: "GeneratorConfig", wanted: _Wanted) -> tuple[MaskMaker, dict[str, Any]]:
    """What makes the masks, and its settings."""
    from engine.fast_sam import FastSam, ProposalFile
    from engine.fast_sam_texts import head_scores
    from engine.masks.generator import MaskGenerator
    from engine.masks.proposed_masks import AllProposed
    from engine.masks.text_masks import LEAST_IOU, TextMasks
    from model.predictor import Predictor
    from schemas.errors import InputError

    if not wanted.texts and (wanted.points or wanted.min_iou is not None):
        raise InputError("--point and --min-iou go with --text; without it there are masks of everything")
    used: dict[str, Any] = {"contract": config.contract}
    if wanted.proposals is not None:
        used["proposals"] = str(wanted.proposals)
        proposed = FastSam(ProposalFile(wanted.proposals), text_scores=head_scores(predictor))
        if not wanted.texts:
            return AllProposed(proposed), used
        predictor.check_texts(wanted.texts)
        predictor = Predictor(proposed)
    elif not wanted.texts:
        return MaskGenerator(predictor, config), config.model_dump()
    points = [_point(each) for each in wanted.points]
    least_iou = LEAST_IOU if wanted.min_iou is None else wanted.min_iou
    used |= {"texts": wanted.texts, "points": points, "min_iou": least_iou}
    return TextMasks(predictor, wanted.texts, points=points, least_iou=least_iou), used


def _point(text: str) -> tuple[float, float]:
    from schemas.errors import InputError

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--point {text}: expected X,Y in pixels, for example --point 120,80") from error
    return x, y


def _difference(
    predictor: "Predictor", config: "GeneratorConfig", pictures: Sequence[Path], bit_depth: int | None
) -> "MaskDifference | None":
    """How the masks of `fast` differ on the first picture; None for `exact`, or without a picture."""
    from engine.images import decode_image
    from engine.masks.comparison import difference_to_exact

    if config.contract == "exact" or not pictures:
        return None
    return difference_to_exact(predictor, config, decode_image(pictures[0], bit_depth=bit_depth))


def _notes(written: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each kind of thing that was assumed of the pixels."""
    found = Counter(note for record in written for note in record.get("notes", ()))
    return [f"{note}: {counted(count, 'picture')}" for note, count in sorted(found.items())]


def _config(preset: str, settings: list[str], options: dict[str, Any]) -> "GeneratorConfig":
    from schemas.presets import GeneratorConfig, generator_preset

    try:
        return generator_preset(preset, **(parse_settings(settings) | options))
    except ValueError as error:
        raise setting_error(error, GeneratorConfig) from error


def _output_files(pictures: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """A json file for each picture; pictures of one name in several folders get the numbers 2, 3, ..."""
    files: list[tuple[Path, Path]] = []
    taken: set[str] = set()
    for picture in dict.fromkeys(pictures):
        name, number = picture.stem, 1
        while name in taken:
            number += 1
            name = f"{picture.stem}-{number}"
        taken.add(name)
        files.append((picture, output / f"{name}.json"))
    return files


def _overlay_of(target: Path) -> Path:
    from engine.own_output import OVERLAY_SUFFIX

    return target.with_name(target.stem + OVERLAY_SUFFIX)


def _generate_all(
    generator: MaskMaker,
    files: list[tuple[Path, Path]],
    overlay: bool,
    bit_depth: int | None,
    rejected: list[dict[str, Any]],
    progress: "Progress",
) -> list[dict[str, Any]]:
    from engine.sources import page_problem
    from schemas.errors import InputError

    written = []
    for number, (picture, target) in enumerate(files):
        progress("pictures", number, len(files), picture.name)
        try:
            image = _decode(picture, bit_depth)
            rejected += [problem._asdict() for problem in page_problem(picture, image.decoded.pages)]
            written.append(_generate_one(generator, picture, target, overlay, image))
        except InputError as error:
            reason = str(error).removeprefix(f"{picture}: ")
            rejected.append({"source": str(picture), "kind": "image", "reason": reason})
    progress("pictures", len(files), len(files))
    return written


class _Opened(NamedTuple):
    """A picture that was read: the id of its content, what it holds, and how long that took."""

    image_id: int
    decoded: "DecodedImage"
    seconds: float


def _decode(picture: Path, bit_depth: int | None) -> _Opened:
    from engine.images import decode_image_file, read_bytes
    from schemas.content_ids import content_id

    data = read_bytes(picture)
    started = time.perf_counter()
    decoded = decode_image_file(data, name=str(picture), bit_depth=bit_depth)
    return _Opened(content_id(data), decoded, time.perf_counter() - started)


def _generate_one(generator: MaskMaker, picture: Path, target: Path, overlay: bool, opened: _Opened) -> dict[str, Any]:
    from engine.analysis.overlays import draw_masks, save_png
    from engine.files import write_atomic
    from engine.masks.records import sa1b_record
    from engine.own_output import OVERLAY_MARK

    image = opened.decoded.pixels
    result = generator.generate(image)
    height, width = image.shape[:2]
    record = sa1b_record(
        result.masks,
        image_id=opened.image_id,
        file_name=picture.name,
        height=height,
        width=width,
        parents=result.parents,
    )
    write_atomic(target, record.to_json())
    seconds = {phase: round(spent, 4) for phase, spent in (result.seconds | {"decode_image": opened.seconds}).items()}
    outcome: dict[str, Any] = {"image": picture, "json": target, "masks": len(record.annotations)}
    outcome |= {"notes": list(opened.decoded.notes)} if opened.decoded.notes else {}
    outcome |= {"coverage_frac": round(result.coverage_frac, 4), "dropped": result.dropped, "seconds": seconds}
    if overlay:
        drawn = outcome["overlay"] = _overlay_of(target)
        save_png(draw_masks(image, [mask.rle for mask in result.masks]), drawn, text=dict([OVERLAY_MARK]))
    return outcome
