"""Arrow schemas of the workspace's tables.

No column is ever null: what is unknown is NaN, "", 0 or an empty list. Boxes are XYXY in pixels of the image, points
are (x, y) pixels of the image, both float32. `shard` is the partition column of every table that has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from schemas.image_ids import ImageIds
from schemas.round_metrics import RoundMetrics
from schemas.stages import STAGES, Stage

Split = Literal["train", "holdout"]
Origin = Literal["manual", "automatic", "automatic_corrected"]
RoundState = Literal["open", "annotated", "verified", "retrained"]

BOX = pa.list_(pa.float32())
POINTS = pa.list_(pa.struct([("x", pa.float32()), ("y", pa.float32()), ("label", pa.int8())]))
PARENTS = pa.list_(pa.struct([("mask_id", pa.int64()), ("parent_mask_id", pa.int64())]))


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


# One row per image. `path` is relative to the workspace, or absolute where images are not copied; `source` is the file
# it came from; width and height are those after EXIF orientation. `country`: ISO 3166 code of two letters of where a
# photo was taken, "" where nobody knows or `images.country_from_gps` is off.
IMAGES = _schema(
    image_id=pa.int64(),
    shard=pa.string(),
    path=pa.string(),
    source=pa.string(),
    width=pa.int32(),
    height=pa.int32(),
    split=pa.string(),
    has_ground_truth=pa.bool_(),
    country=pa.string(),
)

# One row per mask (`schemas.mask.Mask`). `rle` holds COCO's compressed counts. `points`, `box` and `mask_prompt` (the
# counts of the mask that was mended) are what it was made from, all empty where a hand drew it. `seconds` and `clicks`
# are what it cost its annotator.
MASKS = _schema(
    mask_id=pa.int64(),
    image_id=pa.int64(),
    shard=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    rle=pa.binary(),
    height=pa.int32(),
    width=pa.int32(),
    area=pa.int64(),
    bbox=BOX,
    origin=pa.string(),
    annotator=pa.string(),
    model_id=pa.string(),
    generator_config=pa.string(),
    points=POINTS,
    box=BOX,
    predicted_iou=pa.float32(),
    stability_score=pa.float32(),
    crop_box=BOX,
    seconds=pa.float32(),
    clicks=pa.int32(),
    label=pa.string(),
    mask_prompt=pa.binary(),
)

# The small numbers that releases call images and masks by, one row each (`image_numbers`, `mask_numbers`): given when
# one is first released, never changed. `content_id` is the `image_id` or `mask_id` of the other tables.
NUMBERS = _schema(
    content_id=pa.int64(),
    shard=pa.string(),
    number=pa.int64(),
)

# What annotators did and when. `kind` is prompt, accept, draw, edit, delete or skip; `at_s` is on the annotator's
# clock (simulated for the simulated annotator); `mask_id` is 0 where no mask is meant; `detail` is JSON.
EVENTS = _schema(
    event_id=pa.int64(),
    image_id=pa.int64(),
    shard=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    annotator=pa.string(),
    kind=pa.string(),
    at_s=pa.float64(),
    seconds=pa.float32(),
    mask_id=pa.int64(),
    detail=pa.string(),
)

# One row per image that the mask generator worked on. `dropped` (masks per reason) and `seconds` (per phase) are JSON.
# `coverage_frac` is the share of the picture in at least one of its masks. `parents` names the smallest mask that
# contains another, where nesting was sought (`GeneratorConfig.store_nesting`) and there is one; ids are those of masks
# as generated, which a semi_automatic round shows to people and may not keep. `difference_to_exact` says, with the
# contract `fast` and on the first image of a worker, how its masks differ from those of `exact` (JSON of
# `engine.masks.comparison.MaskDifference`); "" elsewhere.
GENERATION = _schema(
    image_id=pa.int64(),
    shard=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    model_id=pa.string(),
    generator_config=pa.string(),
    masks=pa.int32(),
    dropped=pa.string(),
    seconds=pa.string(),
    coverage_frac=pa.float32(),
    parents=PARENTS,
    difference_to_exact=pa.string(),
)

# One row per (stage, round); `metrics` is JSON of `schemas.round_metrics.RoundMetrics`. `images` and `images_key` are
# the length and the key (`schemas.image_ids.ImageIds`) of its images, which are in ROUND_IMAGES.
ROUNDS = _schema(
    stage=pa.string(),
    round=pa.int32(),
    images=pa.int64(),
    images_key=pa.string(),
    state=pa.string(),
    model_before=pa.string(),
    model_after=pa.string(),
    metrics=pa.string(),
)

# The images of a round, in its order (`place`, from 0): one row for those that follow each other and lie in one shard.
# Not partitioned by that shard: a round of all images is one file.
ROUND_IMAGES = _schema(
    stage=pa.string(),
    round=pa.int32(),
    place=pa.int64(),
    in_shard=pa.string(),
    image_ids=pa.list_(pa.int64()),
)

# What annotators are shown of an image in one round of a stage or of an audit (`purpose`), one row an image: `record`
# is JSON of `engine.labeling.published.PublishedImage`, its prefilled masks among it.
PUBLISHED = _schema(
    purpose=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    image_id=pa.int64(),
    shard=pa.string(),
    record=pa.string(),
)

# What annotators made of it: `task` is JSON as the annotation tool last gave it, without anybody's name; `seen_until`
# is the tool's time (ISO 8601 in UTC) up to which all changes of the round were kept once this row was.
COLLECTED = _schema(
    purpose=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    image_id=pa.int64(),
    shard=pa.string(),
    seen_until=pa.string(),
    task=pa.string(),
)

# One row per annotation that somebody submitted or skipped an image of a round with. Of several of one image one is
# valid: its masks are in the stage's table. `people`: how many were to annotate the image. `seconds`: that it was open;
# `submitted_s`: Unix time. `masks`: JSON list of `schemas.mask.Mask.to_json`, of an annotation that is not valid.
ANNOTATIONS = _schema(
    annotation=pa.int64(),
    image_id=pa.int64(),
    shard=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    annotator=pa.string(),
    people=pa.int32(),
    valid=pa.bool_(),
    skipped=pa.bool_(),
    unaccepted_prompts=pa.int32(),
    seconds=pa.float32(),
    submitted_s=pa.float64(),
    mask_count=pa.int32(),
    masks=pa.string(),
)

# One row per answer of the model backend to an annotator's prompts on one object, also where nobody accepted the mask:
# `at` is Unix time; `points` and `boxes` (one after the other) are in percent of the picture; `image_id` is 0 where the
# task does not say it; `region` is the id of the mask's region in the answer, "" and `predicted_iou` NaN where there
# was no mask. The rows come from `engine.labeling.prompt_log`.
PROMPTS = _schema(
    project=pa.int64(),
    task=pa.int64(),
    image_id=pa.int64(),
    at=pa.float64(),
    prompt_ids=pa.list_(pa.string()),
    points=POINTS,
    boxes=BOX,
    region=pa.string(),
    predicted_iou=pa.float32(),
    server_ms=pa.float32(),
    model_id=pa.string(),
)

# One row per question of a gate, `place` in the order of the draw; `mask_id` is 0 where an image is asked about.
# `pre_answer` is what the verifier said; `audited`: people are asked all the same. `answer` is people's, "" before it
# is there and "skipped" where they left it; `seconds` is NaN where that is not known.
QUESTIONS = _schema(
    gate=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    place=pa.int32(),
    image_id=pa.int64(),
    shard=pa.string(),
    mask_id=pa.int64(),
    pre_answer=pa.string(),
    audited=pa.bool_(),
    answer=pa.string(),
    annotator=pa.string(),
    seconds=pa.float32(),
    comment=pa.string(),
)

# One row per gate of a round, written once all its questions are in QUESTIONS; `finished` once the consequences are
# drawn. `verifier` is JSON of `engine.quality.gate_records.GateSample.verifier`.
GATE_ROUNDS = _schema(gate=pa.string(), stage=pa.string(), round=pa.int32(), finished=pa.bool_(), verifier=pa.string())

# Images whose masks of a round a gate took out of the stage's table: a later round takes them up again.
RETURNED = _schema(gate=pa.string(), stage=pa.string(), round=pa.int32(), image_id=pa.int64(), shard=pa.string())

# Masks that a gate took out of the stage's table, as they were. `shown_again`: the image went back to annotators with
# this mask; the others showed no object.
REMOVED = pa.schema(
    [
        *MASKS,
        pa.field("gate", pa.string(), nullable=False),
        pa.field("shown_again", pa.bool_(), nullable=False),
    ]
)

# One row per shard of a round: `sums` is JSON of `engine.analysis.sums.ShardSums`, of the rows committed with `key`.
SHARD_SUMS = _schema(stage=pa.string(), round=pa.int32(), shard=pa.string(), key=pa.string(), sums=pa.string())

# What ingest could not take: `kind` is image, mask or file (a list or COCO file as a whole).
REJECTED = _schema(source=pa.string(), kind=pa.string(), reason=pa.string())

GROUND_TRUTH = "ground_truth"
MASK_TABLES: tuple[str, ...] = (GROUND_TRUTH, *STAGES)

TABLES: dict[str, pa.Schema] = {
    "images": IMAGES,
    **dict.fromkeys(MASK_TABLES, MASKS),
    "events": EVENTS,
    "generation": GENERATION,
    "rounds": ROUNDS,
    "round_images": ROUND_IMAGES,
    "shard_sums": SHARD_SUMS,
    "published": PUBLISHED,
    "collected": COLLECTED,
    "annotations": ANNOTATIONS,
    "prompts": PROMPTS,
    "questions": QUESTIONS,
    "gates": GATE_ROUNDS,
    "returned": RETURNED,
    "removed": REMOVED,
    "image_numbers": NUMBERS,
    "mask_numbers": NUMBERS,
    "rejected": REJECTED,
}


@dataclass(frozen=True)
class Round:
    """A row of ROUNDS: the images of one round of a stage, how far it got, the models around it.

    image_ids: `schemas.image_ids.ImageIds`, whatever they were given as.
    state: open, annotated (its masks are stored), verified (it has passed the gates that `engine.yaml` asks for, where
    there are any), retrained.
    """

    stage: Stage
    round: int
    image_ids: Sequence[int]
    state: RoundState = "open"
    model_before: str = ""
    model_after: str = ""
    metrics: RoundMetrics = field(default_factory=RoundMetrics)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_ids", ImageIds.of(self.image_ids))

    @property
    def worked_on(self) -> ImageIds:
        """Its images without those that could not be read."""
        ids, left_out = ImageIds.of(self.image_ids), self.metrics.images_unreadable
        return ids.without(left_out) if left_out else ids


def table_of(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the schema of table `name`. Raises KeyError for a row that lacks a column."""
    schema = TABLES[name]
    return pa.table([pa.array([row[f.name] for row in rows], type=f.type) for f in schema], schema=schema)
