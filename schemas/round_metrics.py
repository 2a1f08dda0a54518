"""What was counted and measured of a round, typed; on disk one JSON object, the column `metrics` of the table `rounds`.

Only what was written is written again: a key that is missing stays missing, and one that this version does not know
(a later version's, a plugin's) is kept as it is.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import InputError
from schemas.problems import first_problem

NOTHING_PASSES = 2.0  # a threshold above every score
NOTHING_PREFILLED = (
    "nothing is prefilled; lower semi_automatic.prefill_precision, or set semi_automatic.prefill to generator"
)
_SCORE_KEY = re.compile(r"((?:old_)?(?:miou(?:_\w+)?|iou_error))_(before|after|change)")


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by the keys that were given."""
        return self.model_dump(exclude_unset=True)


class AnnotatorMetrics(_Part):
    """What one annotator's masks took; see `RoundMetrics`."""

    masks: int
    seconds_per_mask: float
    clicks_per_mask: float
    over_limit: int


class PersonMetrics(_Part):
    """What one annotator gave, images kept as they were shown among it.

    images: whose valid annotation is theirs, skipped ones among them. unaccepted_prompts: left when they submitted.
    superseded: annotations of theirs that do not count, since another one of the image does; with their masks and the
    seconds that they were open.
    """

    images: int
    skipped: int
    unaccepted_prompts: int
    superseded: int
    superseded_masks: int
    superseded_s: float


class AgreementMetrics(_Part):
    """How far people agree on images that more than one of them annotated; each other person beside the valid one.

    images: such pairs of people, planned ones among them. pairs: of masks that show the same object, of all objects
    that either of the two marked. Intervals: 95 %, over images. None where there is nothing to take a mean of.
    """

    images: int
    planned: int
    pairs: int
    objects: int
    mean_iou: float | None
    mean_iou_interval: tuple[float, float] | None
    found_by_both_frac: float | None
    found_by_both_interval: tuple[float, float] | None


class GenerationMetrics(_Part):
    """What the mask generator took and threw away.

    seconds: of each phase. dropped: masks for each reason. difference_to_exact: of each sample on which the contract
    `fast` was compared with `exact` (`engine.masks.difference.MaskDifference`).
    """

    images: int | None = None
    masks: int | None = None
    images_per_s: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    difference_to_exact: tuple[dict[str, Any], ...] = ()


class PrefillThreshold(_Part):
    """The threshold for a stated precision, and what was measured with it.

    masks: of `images` images, those at or above the threshold; right: of these, those that show one of the `objects`,
    each shown at most once, at `iou`. precision: right / masks, None without masks; recall: right / objects, None
    without objects. measured_on: images held out, or, where there are none with ground truth, a random fifth of those
    with masks, which the detector then did not learn from.
    """

    threshold: float
    stated_precision: float
    precision: float | None
    recall: float | None
    masks: int
    right: int
    objects: int
    images: int
    iou: float
    measured_on: Literal["holdout", "training_fifth"]

    @property
    def reached(self) -> bool:
        """Whether any threshold surely has the stated precision; if not, nothing is prefilled."""
        return self.threshold < NOTHING_PASSES

    def summary(self, nothing: str = NOTHING_PREFILLED) -> str:
        """One line for people. nothing: what follows where no threshold surely has it, and the way out."""
        where = "held-out images" if self.measured_on == "holdout" else "images with masks that were set aside"
        if not self.reached:
            return (
                f"no threshold surely has precision {self.stated_precision:g} at IoU {self.iou:g} on {self.images} "
                f"{where}: {nothing}"
            )
        recall = "" if self.recall is None else f", recall {self.recall:.2f}"
        precision = f"precision {self.precision:.2f} at IoU {self.iou:g}"
        return f"threshold {self.threshold:.3f}: {precision}{recall} on {self.images} {where}"


class Guard(_Part):
    """Whether later rounds may use a retrained model. reason: why not, or why that was not looked at."""

    accepted: bool
    reason: str = ""


class LeftOut(_Part):
    """Masks that no step of a retraining learns from."""

    too_small: int = 0
    too_large: int = 0


class Score(_Part):
    """A score before and after a retraining. change: the paired 95 % interval of after - before."""

    before: float | None = None
    after: float | None = None
    change: tuple[float, float] | None = None


class RoundMetrics(_Part):
    """What is known of a round so far; None, or nothing, where it is not.

    Of its masks and events (`engine.analysis.statistics`): images to prefilled_deleted_frac. annotators: their ids.
    by_annotator: what the masks of each took. drawn: masks that annotators had to finish with the brush.
    people, agreement: what each annotator gave, also where it does not count, and how far they agree
    (`engine.analysis.team`); None where nothing says so.
    generation: of the mask generator; prefill: how the object detector's threshold was chosen, and
    generator_threshold how the mask generator's was.
    Of its retraining: trained_images to scores. skipped: pictures that it could not use
    (`model.training.bad_samples`). guard: None before it. share: of the way from the start model to the trained one.
    new_kind: whether the model keeps the start model inside, for pictures of other kinds (`model.remembering`).
    scores: by name (`engine.evaluation.model_scores`), "old_..." of what the start model knew; on disk
    each is up to three keys, NAME_before, NAME_after and NAME_change. calibration: of the predicted IoUs.
    quality: what each gate found. images_left_out: ids of those without rows, since they take the process down that
    works on them; images_unreadable: of those whose picture could not be read, why_unreadable: a line on the first.
    """

    images: int | None = None
    images_left_out: tuple[int, ...] = ()
    images_unreadable: tuple[int, ...] = ()
    why_unreadable: tuple[str, ...] = ()
    masks: int | None = None
    masks_per_image: float | None = None
    seconds_per_mask: float | None = None
    clicks_per_mask: float | None = None
    over_limit: int | None = None
    annotator_s: float | None = None
    drawn: int | None = None
    annotators: tuple[str, ...] = ()
    by_annotator: dict[str, AnnotatorMetrics] | None = None
    people: dict[str, PersonMetrics] | None = None
    agreement: AgreementMetrics | None = None
    prefilled: int | None = None
    prefilled_kept_frac: float | None = None
    prefilled_edited_frac: float | None = None
    prefilled_deleted_frac: float | None = None
    generation: GenerationMetrics | None = None
    prefill: PrefillThreshold | None = None
    generator_threshold: PrefillThreshold | None = None
    trained_images: int | None = None
    trained_masks: int | None = None
    left_out: LeftOut = LeftOut()
    skipped: dict[str, Any] = Field(default_factory=dict)
    share: float | None = None
    new_kind: bool = False
    guard: Guard | None = None
    measured_on: str = ""
    measured_images: int | None = None
    measured_masks: int | None = None
    calibration: dict[str, dict[str, float]] = Field(default_factory=dict)
    scores: dict[str, Score] = Field(default_factory=dict)
    quality: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Of the keys that are on disk. Raises InputError naming the first value that cannot be one of its key."""
        known: dict[str, Any] = {}
        scores: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            if found := _SCORE_KEY.fullmatch(key):
                scores.setdefault(found[1], {})[found[2]] = value
            else:
                known[key] = value
        try:
            return cls.model_validate(known | ({"scores": scores} if scores else {}))
        except ValidationError as error:
            problem = first_problem(error)
            raise InputError(f"metrics of a round: {problem.key}: {problem.message}, not {problem.found!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As `to_json` wrote it. Raises InputError as `from_dict` does."""
        return cls.from_dict(json.loads(text))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by the keys that are on disk."""
        values = super().to_dict()
        for name, score in values.pop("scores", {}).items():
            values |= {f"{name}_{when}": value for when, value in score.items()}
        return values

    def to_json(self) -> str:
        """The keys in the order of the alphabet, so that equal metrics are equal texts."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def updated(self, values: Mapping[str, Any]) -> Self:
        """With these, by the keys that are on disk, in place of those of the same keys."""
        return self.from_dict({**self.to_dict(), **values})

    @property
    def accepted(self) -> bool:
        """Whether later rounds may use what was retrained; True where nothing spoke against it."""
        return self.guard is None or self.guard.accepted

    def score(self, name: str) -> Score:
        """A score by name, an empty one where it was not measured."""
        return self.scores.get(name, Score())
