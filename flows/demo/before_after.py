"""What the demo's model learned: the model it began with beside the one that made the masks, on pictures held out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.table import Table

from engine import rle as rle_codec
from engine.analysis.overlays import contact_sheet, draw_masks, save_png
from engine.delta import rows_where
from engine.evaluation.automatic import generated_by
from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.matching import match_masks
from engine.evaluation.model_scores import score_model
from engine.evaluation.points import centre_point
from engine.keys import content_key
from engine.masks.generator import MaskGenerator
from engine.store import Store
from model.predictor import Predictor
from model.storage import load_model
from model.training.samples import Sample
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from stages.progress import Progress

Pixels = npt.NDArray[np.uint8]
_DRAWN_AT = 3  # times the size of the pictures, so that outlines are thin
_COLUMNS = 6
_SCORES = {"miou": "bricks, one click", "miou_3": "bricks, three clicks", "miou_box": "bricks, a box"}


@dataclass(frozen=True)
class Change:
    """One figure of both models on the same things, each counted once.

    before, after: means over `count` things. low, high: 95 % interval of after - before, from paired bootstrap.
    """

    what: str
    count: int
    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True)
class BeforeAfter:
    """picture: the path of the sheet. first, last: names of the models.

    masks: how many each makes alone, from a grid of points; shown: how many of them show a brick. old: mIoU of both at
    one click on the photographs that training replays, None where it replays none.
    """

    picture: Path
    first: str
    last: str
    masks: tuple[int, int]
    shown: tuple[int, int]
    old: tuple[float, float] | None
    changes: Sequence[Change]

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self)) | {"changes": [dict(vars(change)) for change in self.changes]}


@dataclass(frozen=True)
class _HeldOut:
    """A picture that no model learned from. alone: the masks that the last model made of it in the third stage."""

    name: str
    pixels: Pixels
    truth: Sequence[Rle]
    alone: Sequence[Rle]

    @property
    def sample(self) -> Sample:
        return Sample(self.pixels, [rle.coco() for rle in self.truth])


@dataclass(frozen=True)
class _Measured:
    """IoU of every mask by prompt, and for each held-out picture the masks of one click each, and those made alone."""

    ious: dict[str, npt.NDArray[np.float64]]
    clicked: Sequence[Sequence[npt.NDArray[np.bool_]]]
    alone: Sequence[Sequence[Rle]]


def before_after(store: Store, progress: Progress) -> BeforeAfter:
    """Measure both models and draw their masks; the files' names follow from models and masks, so that is done once.

    The last model is the one that made the masks of the third stage.
    """
    pictures = _held_out(store)
    first, last = store.rounds()[0].model_before, store.rounds("fully_automatic")[-1].model_before
    key = content_key("before and after", first, last, [(p.name, p.truth, p.alone) for p in pictures])
    sheet = store.files.reports / f"before_after-{key[:6]}.png"
    figures = store.files.reports / f"before_after-{key[:6]}.json"
    if not (sheet.exists() and figures.exists()):
        before = _measure(store, first, pictures, None, progress)
        after = _measure(store, last, pictures, [picture.alone for picture in pictures], progress)
        save_png(_drawn(pictures, before, after), sheet)
        found = _figures(store, (first, last), pictures, before, after)
        figures.write(json.dumps(found, indent=1).encode())
    found = json.loads(figures.read())
    changes = [Change(**change) for change in found["changes"]]
    pairs = {name: found[name] and tuple(found[name]) for name in ("masks", "shown", "old")}
    return BeforeAfter(
        sheet.local_path("the picture of a demo"), found["first"], found["last"], changes=changes, **pairs
    )


def as_table(found: BeforeAfter) -> Table:
    """A table for the terminal, narrow enough for 80 columns."""
    table = Table(title="Before and after", box=SIMPLE_HEAD, padding=0, show_edge=False)
    for title in ("on pictures held out", "masks", "before", "after", "difference (95 %)"):
        table.add_column(title, justify="left" if title.startswith("on ") else "right", no_wrap=True)
    for change in found.changes:
        difference = f"{change.after - change.before:+.3f} ({change.low:+.2f} to {change.high:+.2f})"
        table.add_row(change.what, str(change.count), f"{change.before:.3f}", f"{change.after:.3f}", difference)
    table.caption = (
        "mIoU; without a click: share of the bricks shown at IoU .5\n"
        f"before: {found.first}, after: {found.last}\n"
        f"masks made without a click: {found.masks[0]} before ({found.shown[0]} show a brick), "
        f"{found.masks[1]} after ({found.shown[1]})"
    )
    if found.old is not None:
        old = f"{found.old[0]:.3f} before, {found.old[1]:.3f} after"
        table.caption += f"\nold photographs, one click: {old}"
    return table


def _held_out(store: Store) -> list[_HeldOut]:
    images = rows_where(store.images(), split="holdout").sort_by("source").to_pylist()
    truth, alone = store.read_table(GROUND_TRUTH), store.read_table("fully_automatic")
    return [
        _HeldOut(
            Path(image["source"]).stem,
            store.load_image(image["image_id"]),
            _rles(rows_where(truth, image_id=image["image_id"]), "area"),
            _rles(rows_where(alone, image_id=image["image_id"]), "predicted_iou"),
        )
        for image in images
    ]


def _rles(masks: pa.Table, best_by: str) -> list[Rle]:
    return [Rle.of_row(row) for row in masks.sort_by([(best_by, "descending"), ("mask_id", "ascending")]).to_pylist()]


def _measure(
    store: Store, model: str, pictures: Sequence[_HeldOut], alone: Sequence[Sequence[Rle]] | None, progress: Progress
) -> _Measured:
    """alone: the masks that the model made without prompts; None where it has yet to make them."""
    sam, info = load_model(model, store.files.model_roots())
    predictor = Predictor(sam)
    config = store.files.settings().fully_automatic.generator_config()
    find = generated_by(MaskGenerator(predictor, config))
    clicked, generated = [], []
    for number, picture in enumerate(pictures, start=1):
        predictor.set_image(picture.pixels)
        clicked.append(_one_click_each(predictor, picture.truth))
        if alone is None:
            generated.append(find(picture.pixels))
        progress(f"measuring {info.name}", number, len(pictures) + 1)
    ious = _ious(predictor, pictures)
    progress(f"measuring {info.name}", len(pictures) + 1, len(pictures) + 1)
    return _Measured(ious, clicked, generated if alone is None else alone)


def _ious(predictor: Predictor, pictures: Sequence[_HeldOut]) -> dict[str, npt.NDArray[np.float64]]:
    scores = score_model(predictor, [picture.sample for picture in pictures])
    found = scores.by_name() if scores else {}
    return {what: found[name] for name, what in _SCORES.items() if name in found}


def _one_click_each(predictor: Predictor, truth: Sequence[Rle]) -> list[npt.NDArray[np.bool_]]:
    """The most confident mask of a click at the centre of each true one."""
    shown = []
    for rle in truth:
        masks, predicted_iou, _ = predictor.predict(np.array([centre_point(rle_codec.decode(rle))]), np.ones(1))
        shown.append(masks[int(np.argmax(predicted_iou))])
    return shown


def _figures(
    store: Store, models: tuple[str, str], pictures: Sequence[_HeldOut], before: _Measured, after: _Measured
) -> dict[str, Any]:
    changes = [_change(what, values, after.ious[what]) for what, values in before.ious.items()]
    objects = [_objects_found(pictures, measured) for measured in (before, after)]
    changes.append(_change("bricks found without a click", *objects))
    first, last = (load_model(model, store.files.model_roots())[1].name for model in models)
    return {
        "first": first,
        "last": last,
        "masks": [sum(map(len, measured.alone)) for measured in (before, after)],
        "shown": [int(found.sum()) for found in objects],
        "old": _old(store, models[1]),
        "changes": [dict(vars(change)) for change in changes],
    }


def _old(store: Store, model: str) -> list[float | None] | None:
    """What the retraining that made this model measured on the photographs that it replays; none if it replays none."""
    made = [record.metrics.score("old_miou") for record in store.rounds() if record.model_after == model]
    return [made[-1].before, made[-1].after] if made and made[-1].before is not None else None


def _change(what: str, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Change:
    low, high = bootstrap_difference(before, after)
    return Change(what, len(before), float(before.mean()), float(after.mean()), low, high)


def _objects_found(pictures: Sequence[_HeldOut], measured: _Measured) -> npt.NDArray[np.float64]:
    """1 for each object that a mask made alone shows at IoU .5, else 0."""
    found = []
    for picture, masks in zip(pictures, measured.alone, strict=True):
        # Matching is symmetric but for who chooses first: objects, largest first, each take the mask they overlap most.
        found += match_masks(picture.truth, masks)
    return np.array(found, dtype=np.float64)


def _drawn(pictures: Sequence[_HeldOut], before: _Measured, after: _Measured) -> Pixels:
    """A row a picture: as it is, ground truth, one click each before and after, made alone before and after."""
    tiles: list[tuple[Pixels, str]] = []
    for number, picture in enumerate(pictures):
        tiles.append((_tile(picture, []), picture.name))
        tiles.append((_tile(picture, picture.truth), f"ground truth: {len(picture.truth)} bricks"))
        for when, measured in (("before", before), ("after", after)):
            masks = [rle_codec.encode(mask) for mask in measured.clicked[number]]
            iou = rle_codec.iou_matrix(masks, picture.truth).diagonal().mean()
            tiles.append((_tile(picture, masks, clicks=True), f"{when}, one click each: mIoU {iou:.2f}"))
        for when, measured in (("before", before), ("after", after)):
            made = measured.alone[number]
            shown = sum(match_masks(picture.truth, made))
            tiles.append((_tile(picture, made), f"{when}, alone: {shown} of {len(picture.truth)} found"))
    return contact_sheet(tiles, columns=_COLUMNS, tile_px=_DRAWN_AT * 120)


def _tile(picture: _HeldOut, masks: Sequence[Rle], *, clicks: bool = False) -> Pixels:
    height, width = (side * _DRAWN_AT for side in picture.pixels.shape[:2])

    def enlarged(pixels: npt.NDArray[Any], how: int) -> npt.NDArray[Any]:
        return cv2.resize(pixels, (width, height), interpolation=how)

    large = [enlarged(rle_codec.decode(mask).astype(np.uint8), cv2.INTER_NEAREST).astype(bool) for mask in masks]
    tile = draw_masks(enlarged(picture.pixels, cv2.INTER_CUBIC), large)
    for rle in picture.truth if clicks else ():
        x, y = (round((at + 0.5) * _DRAWN_AT) for at in centre_point(rle_codec.decode(rle)))
        cv2.circle(tile, (x, y), 5, (20, 20, 20), -1, cv2.LINE_AA)
        cv2.circle(tile, (x, y), 3, (255, 255, 255), -1, cv2.LINE_AA)
    return tile
