"""What people did on an image, read from the annotations of its task in Label Studio.

Untouched, edited and deleted prefilled masks are told apart by the ids of their regions and by their pixels; what the
model backend put into the `meta` of a region (`prompting`) says what a mask cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from engine.labeling.published import Prefilled, PublishedImage
from engine.labeling.regions import region_mask, scale_down, scale_up, with_edits
from engine.rle import area, measured
from schemas.errors import InputError
from schemas.labeling import META, SECONDS_PER_MASK_LIMIT
from schemas.mask import Mask, Prompt
from schemas.rle import Rle

_PROMPTS = ("keypointlabels", "rectanglelabels")
_BRUSH = "brushlabels"
# Seconds of a mask: of its own acts; from its first prompt to its last; its share of what is left of the time that the
# annotation was open. Nothing: nobody touched it.
Timed = Literal["acts", "prompts", "share", "nothing"]


@dataclass(frozen=True)
class CollectedMask:
    """A mask that a person submitted, of the full picture, and how it came about.

    prefilled: the mask that it was at first, None for one that was not there before. untouched: it still is that one.
    first_prompt_s, last_prompt_s: Unix time, NaN for a mask that no prompt made. acts_s: seconds from its first act to
    its last, another mask's turn left out; None where the page was not our server's, which alone tells. timed: what its
    seconds rest on.
    """

    mask: Mask
    prefilled: Prefilled | None = None
    untouched: bool = False
    first_prompt_s: float = math.nan
    last_prompt_s: float = math.nan
    acts_s: float | None = None
    timed: Timed = "nothing"

    @property
    def made_by_prompts(self) -> bool:
        return self.mask.clicks > 0

    @property
    def over_limit(self) -> bool:
        return self.mask.seconds > SECONDS_PER_MASK_LIMIT


class PromptRecord(NamedTuple):
    """What the model backend wrote down about the prompts of a region. first_s, last_s: Unix time."""

    prompt: Prompt = Prompt()
    first_s: float = math.nan
    last_s: float = math.nan
    predicted_iou: float = math.nan
    model_id: str = ""

    @property
    def clicks(self) -> int:
        return len(self.prompt.points) + (1 if self.prompt.box else 0)


@dataclass(frozen=True)
class CollectedImage:
    """What an annotation of an image holds; from `read_task` the valid one, with the others beside it.

    annotation: its number, 0 where nobody was there yet. done: submitted or skipped, without a problem. deleted:
    prefilled masks that are gone. unaccepted_prompts: prompts whose mask was never accepted. others: annotations that
    are not valid, oldest first. missing_people: how many more are to annotate the image. lead_time_s: that the
    annotation was open. problems: one line each, for people.
    """

    image_id: int
    annotation: int = 0
    annotator: str = ""
    done: bool = False
    skipped: bool = False
    masks: tuple[CollectedMask, ...] = ()
    deleted: tuple[Prefilled, ...] = ()
    unaccepted_prompts: int = 0
    others: tuple["CollectedImage", ...] = ()
    missing_people: int = 0
    lead_time_s: float = 0.0
    submitted_s: float = 0.0
    problems: tuple[str, ...] = field(default=())


def read_task(task: dict[str, Any], published: PublishedImage) -> CollectedImage:
    """What people made of an image; task: with its annotations, as the API gives it.

    Of several annotations the one that was changed last is valid; one that was submitted goes before a skipped one.
    """
    annotations = sorted(task.get("annotations") or (), key=_changed_at)
    read = [_read_annotation(annotation, published) for annotation in annotations]
    if not read:
        return CollectedImage(published.image_id)
    valid = ([one for one in read if not one.skipped] or read)[-1]
    people = {one.annotator for one in read if one.done}
    return replace(
        valid,
        others=tuple(one for one in read if one is not valid),
        missing_people=max(0, published.people - len(people)),
    )


def _read_annotation(annotation: dict[str, Any], published: PublishedImage) -> CollectedImage:
    found = CollectedImage(
        published.image_id,
        annotation=int(annotation.get("id") or 0),
        annotator=f"label_studio:{_account(annotation)}",
        lead_time_s=max(0.0, float(annotation.get("lead_time") or 0.0)),
        submitted_s=_unix_time(_changed_at(annotation)),
    )
    if annotation.get("was_cancelled"):
        return replace(found, done=True, skipped=True)
    return _read_result(found, annotation, published)


def _read_result(found: CollectedImage, annotation: dict[str, Any], published: PublishedImage) -> CollectedImage:
    where = f"task {published.task} (image {published.image_id}), annotation {annotation.get('id')}"
    masks: list[CollectedMask] = []
    problems: list[str] = []
    seen: set[str] = set()
    prompts = 0
    for region in annotation.get("result") or ():
        kind = region.get("type")
        if kind in _PROMPTS:
            prompts += 1
        elif kind == _BRUSH:
            try:
                masks += _read_mask(region, published, seen)
            except InputError as error:
                problems.append(f"{where}: region {region.get('id')}: {error}")
        elif kind is not None:  # relations have no type
            problems.append(
                f"{where}: region {region.get('id')} is of type {kind}, and only brush masks are read; it was made "
                "with another labelling config: put back the project's with sam-engine labeling setup and draw it anew"
            )
    deleted = tuple(one for one in published.prefilled if one.region_id not in seen)
    return replace(
        found,
        done=not problems,
        masks=_with_seconds(masks, found),
        deleted=() if problems else deleted,
        unaccepted_prompts=prompts,
        problems=tuple(problems),
    )


def _read_mask(region: dict[str, Any], published: PublishedImage, seen: set[str]) -> list[CollectedMask]:
    """The mask of a brush region; none where people rubbed it out to nothing, or where it is there twice."""
    size = (region.get("original_height"), region.get("original_width"))
    if size != published.shown_hw:
        raise InputError(
            f"made on a picture of {size[1]}x{size[0]} px, and the one that was published has "
            f"{published.shown_hw[1]}x{published.shown_hw[0]}; delete the task and publish the image again"
        )
    shown = region_mask(region, shown_hw=published.shown_hw)
    region_id = str(region.get("id"))
    if area(shown) == 0 or region_id in seen:
        return []
    seen.add(region_id)
    prefilled = next((one for one in published.prefilled if one.region_id == region_id), None)
    noted, acts_s = _read_prompts(region, published), _read_acts(region)
    if prefilled is None:
        made = _new_mask(scale_up(shown, published.full_hw), noted)
        return [CollectedMask(made, first_prompt_s=noted.first_s, last_prompt_s=noted.last_s, acts_s=acts_s)]
    before = scale_down(prefilled.mask.rle, published.shown_hw)
    untouched = shown == before
    made = replace(prefilled.mask, seconds=0.0, clicks=0)
    if not untouched:
        made = _mended(prefilled.mask, with_edits(prefilled.mask.rle, before, shown), noted)
    return [CollectedMask(made, prefilled, untouched, noted.first_s, noted.last_s, None if untouched else acts_s)]


def _new_mask(pixels: Rle, noted: PromptRecord) -> Mask:
    return replace(
        measured(pixels),
        prompt=noted.prompt,
        predicted_iou=noted.predicted_iou,
        model_id=noted.model_id if noted.clicks else "",
        clicks=noted.clicks,
    )


def _mended(before: Mask, pixels: Rle, noted: PromptRecord) -> Mask:
    """A mask that was there already and that a person changed."""
    counted = measured(pixels)
    return replace(
        before,
        rle=pixels,
        area=counted.area,
        box=counted.box,
        prompt=replace(noted.prompt, mask=before.rle),
        origin="manual" if before.origin == "manual" else "automatic_corrected",
        seconds=0.0,
        clicks=noted.clicks,
    )


def _read_prompts(region: dict[str, Any], published: PublishedImage) -> PromptRecord:
    """Percent of the picture become pixels."""
    meta = region.get("meta")
    noted = meta.get(META) if isinstance(meta, dict) else None
    if not isinstance(noted, dict) or "t_first" not in noted:
        return PromptRecord()
    height, width = published.full_hw
    points = tuple((x * width / 100, y * height / 100, int(label)) for x, y, label in noted.get("points") or ())
    x0, y0, x1, y1 = noted.get("box") or (0.0,) * 4
    box = (x0 * width / 100, y0 * height / 100, x1 * width / 100, y1 * height / 100) if noted.get("box") else None
    return PromptRecord(
        Prompt(points, box),
        first_s=float(noted["t_first"]),
        last_s=float(noted["t_last"]),
        predicted_iou=float(noted.get("predicted_iou", "nan")),
        model_id=str(noted.get("model_id") or published.model_id),
    )


def _read_acts(region: dict[str, Any]) -> float | None:
    """Seconds of the pairs of Unix times that our server's page noted; None where there are none, or damaged ones."""
    meta = region.get("meta")
    noted = meta.get(META) if isinstance(meta, dict) else None
    acts = noted.get("acts") if isinstance(noted, dict) else None
    try:
        spent = [float(end) - float(first) for first, end in acts or ()]
    except (TypeError, ValueError):
        return None
    return sum(spent) if spent and all(0 <= each < math.inf for each in spent) else None


def _with_seconds(masks: Sequence[CollectedMask], image: CollectedImage) -> tuple[CollectedMask, ...]:
    """Each mask takes the time of its own acts, as far as they are known; what nobody touched takes none.

    Where the page did not note them, a mask from prompts takes from its first prompt to its last, and those drawn or
    edited by hand share alike what is then left of the time that the annotation was open.
    """
    known = [_own_time(mask) for mask in masks]
    sharing = [timed == "share" for timed, _ in known]
    rest = max(0.0, image.lead_time_s - sum(seconds for _, seconds in known))
    share = rest / max(1, sum(sharing))
    return tuple(
        replace(mask, timed=timed, mask=replace(mask.mask, seconds=share if timed == "share" else seconds))
        for mask, (timed, seconds) in zip(masks, known, strict=True)
    )


def _own_time(mask: CollectedMask) -> tuple[Timed, float]:
    if mask.acts_s is not None:
        return "acts", mask.acts_s
    if mask.made_by_prompts:
        # A clock that was set back while somebody clicked says nothing.
        return "prompts", max(0.0, mask.last_prompt_s - mask.first_prompt_s)
    return ("nothing" if mask.untouched else "share"), 0.0


def _account(annotation: dict[str, Any]) -> str:
    """The number of the account; names are not collected (SAM paper, section 4)."""
    account = annotation.get("completed_by")
    return str(account.get("id") if isinstance(account, dict) else account)


def _changed_at(annotation: dict[str, Any]) -> str:
    """ISO 8601 in UTC, which sorts as text."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _unix_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
