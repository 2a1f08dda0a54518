"""Instance segmentation from the boxes of a detector (SAM paper, section 7.4 and appendix D.4): mask AP of COCO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import rle as rle_codec
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.mask_ap import MEASURES, Detection, GroundTruth
from engine.prompt_files import MaskPrompt, name_by_id, read_prompt_file
from engine.prompted_masks import PromptedMask, masks_of_prompts
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.counted import counted
from schemas.errors import InputError

_NAMED = 5  # of unknown ids, and of problems
_NAMES = {"from_boxes": "from boxes", "own": "the detector's own"}
_HEADINGS = ("masks", "AP", "AP50", "AP75", "small", "medium", "large")


def instances(
    predictor: Predictor,
    samples: Samples,
    /,
    *,
    boxes: str = "",
    categories: bool = True,
    refine: bool = True,
) -> Measured:
    """Mask AP of what the model makes of a detector's boxes, beside the detector's own masks where it has some.

    boxes: its results in COCO's form, a list of image_id, category_id, bbox and score. categories: a mask finds objects
    of its category alone. refine: give each mask to the model once more, beside its box.
    Raises InputError where no detection is of a picture of the ground truth.
    """
    if not boxes:
        raise InputError("instances: which boxes? --set boxes=RESULTS.json, a detector's results in COCO's form")
    asked = read_prompt_file(Path(boxes))
    run = _Run([f"{problem.source}: {problem.reason}" for problem in asked.problems])
    for sample in samples.complete():
        run.add(predictor, sample, asked.prompts.pop(name_by_id(sample.image_id), []), refine=refine)
    left = [prompt for prompts in asked.prompts.values() for prompt in prompts]
    if not run.prompted:
        raise InputError(
            f"{boxes}: no detection is on a picture of the ground truth ({_of_images(left)}); give results with the "
            "image ids of that file"
        )
    notes = [f"{boxes}: on no picture of the ground truth: {_of_images(left)}"] if left else []
    return run.measured(boxes, notes, {"unknown_detections": len(left)}, by_category=categories)


class _Run:
    """What was found picture by picture."""

    def __init__(self, problems: list[str]) -> None:
        self.prompted = 0
        self._problems = problems
        self._truth = GroundTruth()
        self._masks: list[Detection] = []
        self._own: list[Detection] = []

    def add(self, predictor: Predictor, sample: Sample, prompts: Sequence[MaskPrompt], *, refine: bool) -> None:
        picture = self._truth.add(sample)
        self.prompted += len(prompts)
        for answer in masks_of_prompts(predictor, sample.image, prompts, refine=refine) if prompts else ():
            try:
                self._add_detection(answer, picture, (sample.image.shape[0], sample.image.shape[1]))
            except InputError as error:
                self._problems.append(f"{answer.prompt.source}: {error}")

    def _add_detection(self, answer: PromptedMask, picture: int, image_hw: tuple[int, int]) -> None:
        category, score = answer.prompt.fields.get("category_id"), _score(answer.prompt)
        if not isinstance(category, int | str):
            raise InputError("it has no category_id")
        if answer.prompt.mask:
            own = rle_codec.from_coco(answer.prompt.mask, *image_hw)
            self._own.append(Detection(picture, category, own, score))
        if answer.mask is None:
            raise InputError(answer.reason)
        self._masks.append(Detection(picture, category, answer.mask, score))

    def measured(self, boxes: str, notes: Sequence[str], values: dict[str, int], *, by_category: bool) -> Measured:
        found = {"from_boxes": self._masks} | ({"own": self._own} if self._own else {})
        ap = {name: self._truth.mask_ap(masks, by_category=by_category) for name, masks in found.items()}
        strange = {each.category_id for each in self._masks} - self._truth.categories if by_category else set()
        notes = [*notes, *self._told(boxes)]
        if strange:
            ids = ", ".join(map(str, sorted(strange, key=str)[:_NAMED]))
            notes.append(f"{boxes}: no object has the categories {ids}; --set categories=false compares without them")
        return Measured(
            self._truth.objects,
            {"instances": ap, "detections": len(self._masks), **values, "problems": len(self._problems)},
            f"mask AP of {counted(len(self._masks), 'detection')}",
            _HEADINGS,
            tuple((_NAMES[name], *(_cell(summary[measure]) for measure in MEASURES)) for name, summary in ap.items()),
            tuple(notes),
        )

    def _told(self, boxes: str) -> list[str]:
        if not self._problems:
            return []
        more = len(self._problems) - _NAMED
        listed = "; ".join(self._problems[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        return [f"{boxes}: detections without a mask: {len(self._problems)}: {listed}"]


def _score(prompt: MaskPrompt) -> float:
    score: Any = prompt.fields.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise InputError(f"its score must be a number, found {score!r}")
    return float(score)


def _of_images(prompts: Sequence[MaskPrompt]) -> str:
    """How many there are, and the first ids of their pictures."""
    ids = sorted({str(prompt.image_id) for prompt in prompts if prompt.image_id is not None})
    listed = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    return f"detections: {len(prompts)}, image ids: {len(ids)}" + (f": {listed}" if ids else "")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
