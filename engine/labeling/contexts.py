"""What Label Studio sends with a click, read: the names in the labelling config, and the context with its prompts.

All coordinates are percent of the picture. Anything that is not understood is left out; nothing here raises.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from xml.etree import ElementTree

from schemas.labeling import BRUSH, IMAGE, OBJECT

SAME_PLACE_PERCENT = 1.0
_log = logging.getLogger(__name__)


class Click(NamedTuple):
    """x, y: percent. label: 1 on the object, 0 on the background."""

    id: str
    x: float
    y: float
    label: int


class DrawnBox(NamedTuple):
    """xyxy: percent."""

    id: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """What an annotator has said about one object so far, in order. Of several boxes the last one counts."""

    points: tuple[Click, ...] = ()
    boxes: tuple[DrawnBox, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return (*(click.id for click in self.points), *(drawn.id for drawn in self.boxes))

    @property
    def parts(self) -> frozenset[Click | DrawnBox]:
        return frozenset((*self.points, *self.boxes))

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        return self.boxes[-1].xyxy if self.boxes else None

    @property
    def names_an_object(self) -> bool:
        """Negative points alone say only where it is not."""
        return bool(self.boxes) or any(click.label for click in self.points)

    @property
    def repeated_click(self) -> Click | None:
        """The first point where there are only positive ones, all at the same place, and no box."""
        if self.boxes or not self.points:
            return None
        first = self.points[0]
        return first if all(click.label and near(click, first) for click in self.points) else None


class Tags(NamedTuple):
    """Names in a labelling config: of the brush, the image, the brush's label, and the picture's key in `data`."""

    brush: str
    image: str
    label: str
    data_key: str


def near(first: Click, second: Click) -> bool:
    """Whether two points are at the same place, as far as a person can hit one again."""
    return abs(first.x - second.x) <= SAME_PLACE_PERCENT and abs(first.y - second.y) <= SAME_PLACE_PERCENT


OUR_TAGS = Tags(BRUSH, IMAGE, OBJECT, IMAGE)


@lru_cache(maxsize=64)
def read_tags(label_config: str) -> Tags | None:
    """The names to answer with; ours where no config is given, None for one in which no brush can take a mask."""
    if not label_config:
        return OUR_TAGS
    try:
        root = ElementTree.fromstring(label_config)
    except (ElementTree.ParseError, ValueError):
        return None
    brush = root.find(".//BrushLabels")
    labels = [] if brush is None else [label.get("value") or "" for label in brush.iter("Label")]
    if brush is None or not labels:
        return None
    image = brush.get("toName") or IMAGE
    source = next((tag.get("value") or "" for tag in root.iter("Image") if tag.get("name") == image), "")
    label = OBJECT if OBJECT in labels else labels[0]
    return Tags(brush.get("name") or BRUSH, image, label, source.removeprefix("$") or IMAGE)


def read_context(context: Any) -> Prompt:
    """The points and boxes of `params.context`; whatever else is in it, or is not whole, is left out."""
    regions = context.get("result") if isinstance(context, dict) else context
    points: list[Click] = []
    boxes: list[DrawnBox] = []
    for region in regions if isinstance(regions, list) else []:
        try:
            part = _read_region(region)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            _log.warning("a prompt that is not whole was left out")
            continue
        if isinstance(part, Click):
            points.append(part)
        elif part is not None:
            boxes.append(part)
    return Prompt(tuple(points), tuple(boxes))


def _read_region(region: Mapping[str, Any]) -> Click | DrawnBox | None:
    kind = region["type"]
    if kind not in ("keypointlabels", "rectanglelabels"):
        return None
    if float(region.get("image_rotation") or 0) % 360:
        raise ValueError("the picture is turned")
    value, positive = region["value"], region.get("is_positive") is not False
    x, y = _percent(value["x"]), _percent(value["y"])
    if kind == "keypointlabels":
        if "is_positive" not in region:  # the editor says it of points of this session alone, not of a draft's
            return None
        return Click(str(region.get("id") or f"point {x} {y}"), x, y, int(positive))
    if not positive:  # SAM knows no boxes around what the object is not
        return None
    xyxy = _box(region, value)
    return DrawnBox(str(region.get("id") or f"box {xyxy}"), xyxy)


def _box(region: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """XYXY around a box, which may be turned about its top left corner; percent in both."""
    width, height = float(value["width"]), float(value["height"])
    angle = math.radians(float(value.get("rotation") or 0))
    # Percent of the width and of the height are not of one length, and turning mixes the two.
    ratio = float(region["original_width"]) / float(region["original_height"]) if angle else 1.0
    xs, ys = [], []
    for right, down in ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height)):
        xs.append(float(value["x"]) + right * math.cos(angle) - down / ratio * math.sin(angle))
        ys.append(float(value["y"]) + right * ratio * math.sin(angle) + down * math.cos(angle))
    return _percent(min(xs)), _percent(min(ys)), _percent(max(xs)), _percent(max(ys))


def _percent(value: Any) -> float:
    """Within the picture. Raises ValueError for what is no number."""
    number = float(value)
    if math.isnan(number):
        raise ValueError("not a number")
    return min(max(number, 0.0), 100.0)
