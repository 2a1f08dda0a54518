"""Records of SA-1B: one JSON file a picture, as the dataset and segment-anything's generator write them.
`schemas.mask.Mask` becomes an annotation and comes back.

Boxes in these files are XYWH, points (x, y), both in pixels of the picture. Numbers that nobody measured are null:
masks drawn by people have no predicted IoU and no stability score. Fields that other tools add are ignored on reading.
"""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import InputError
from schemas.problems import first_problem

Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BoxXYWH = tuple[Coordinate, Coordinate, Length, Length]
Score = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Sa1bImage(_Record):
    """The picture; `file_name` is relative to the folder of the JSON file."""

    image_id: int
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    file_name: str = Field(min_length=1)


class Sa1bSegmentation(_Record):
    """COCO run-length encoding: size is (height, width), counts the compressed form."""

    size: tuple[int, int]
    counts: str = Field(min_length=1)


class Sa1bPrompt(_Record):
    """What a mask was made from: points (x, y, label), label 1 on the object, 0 off it; a box; the mask before it."""

    points: list[tuple[Coordinate, Coordinate, int]] = []
    box: BoxXYWH | None = None
    segmentation: Sa1bSegmentation | None = None


class Sa1bAnnotation(_Record):
    """One mask. `point_coords` are the points on the object that prompted it, none where something else made it;
    `crop_box` is the part of the picture that the model saw.

    Three fields that SA-1B has not. `prompt` is the whole prompt, and is there only where it was more than
    `point_coords`: a box, a mask, points off the object. `parent` is the id of the smallest mask that contains this
    one, null where none does; it is there only where nesting was sought (`GeneratorConfig.store_nesting`). `label` is
    what the mask shows, in words, where words prompted it.
    """

    id: int
    segmentation: Sa1bSegmentation
    bbox: BoxXYWH
    area: int = Field(ge=0)
    predicted_iou: Score | None
    stability_score: Score | None
    crop_box: BoxXYWH
    point_coords: list[tuple[Coordinate, Coordinate]]
    prompt: Sa1bPrompt | None = None
    parent: int | None = None
    label: str = ""


class Sa1bRecord(_Record):
    """What one JSON file holds."""

    image: Sa1bImage
    annotations: list[Sa1bAnnotation]

    @model_validator(mode="after")
    def _annotations_fit_the_image(self) -> "Sa1bRecord":
        size = (self.image.height, self.image.width)
        seen: set[int] = set()
        for annotation in self.annotations:
            if annotation.segmentation.size != size:
                raise ValueError(
                    f"annotation {annotation.id}: its mask is of size {list(annotation.segmentation.size)}, "
                    f"the picture of {list(size)}"
                )
            if annotation.area > size[0] * size[1]:
                raise ValueError(f"annotation {annotation.id}: area {annotation.area} is larger than the picture")
            if annotation.id in seen:
                raise ValueError(f"annotation {annotation.id} occurs twice")
            seen.add(annotation.id)
        return self

    def to_json(self) -> bytes:
        """The file's bytes: UTF-8, fields in the order of SA-1B, others that SA-1B lacks only where they were given."""
        fields = self.model_dump(mode="json", exclude_unset=True)
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def image_record(*, image_id: int, width: int, height: int, file_name: str) -> Sa1bImage:
    """The picture's part of a record, sizes in pixels."""
    return Sa1bImage(image_id=image_id, width=width, height=height, file_name=file_name)


def parse_record(data: bytes | str, *, name: str) -> Sa1bRecord:
    """Read and check a record. `name` is the file's, for the error.

    Whether counts decode to a mask of that size is for `engine.rle.from_coco` to say.
    Raises InputError that names the file, the field and what is wrong with it.
    """
    try:
        return Sa1bRecord.model_validate_json(data)
    except ValidationError as error:
        problem = first_problem(error)
        field = f"{problem.key}: " if problem.key else ""
        raise InputError(f"{name}: not an SA-1B record: {field}{problem.message}") from error


def to_xywh(box_xyxy: tuple[float, float, float, float]) -> BoxXYWH:
    """A box of these files from one in memory; right and bottom are exclusive, so that both are COCO's."""
    x0, y0, x1, y1 = box_xyxy
    return x0, y0, x1 - x0, y1 - y0


def from_xywh(box: BoxXYWH) -> tuple[float, float, float, float]:
    """The same back."""
    x0, y0, width, height = box
    return x0, y0, x0 + width, y0 + height
