"""Which masks of a release are looked at, and in what order their pictures come: parsed from an address, told as SQL.

Column names are those of `schemas.release`, of masks `m` and their pictures `i`. Values never stand in the SQL.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import InputError

# Share of the picture, as a side: the relative size of the paper, section 5.
SIZE = "sqrt(m.area::DOUBLE / (i.width::BIGINT * i.height))"
RANGES = {"iou": "m.predicted_iou", "stability": "m.stability_score", "size": SIZE}
CHOICES = {"stage": "m.stage", "origin": "m.origin", "split": "i.split"}
# Pictures in this order; `score` is what is told of each, `mask` the mask that it is told of.
_NONE = "NULL"
SORTS: dict[str, tuple[str, str, str]] = {  # name: (order, score, mask), of a picture's masks
    "number": ("image_id", _NONE, _NONE),
    "iou": ("score NULLS LAST, image_id", "min({iou})", "arg_min(m.id, {iou})"),
    "stability": ("score NULLS LAST, image_id", "min({stability})", "arg_min(m.id, {stability})"),
    "small": ("score, image_id", f"min({SIZE})", f"arg_min(m.id, {SIZE})"),
    "large": ("score DESC, image_id", f"max({SIZE})", f"arg_max(m.id, {SIZE})"),
    "most": ("matching DESC, image_id", _NONE, _NONE),
    "fewest": ("matching, image_id", _NONE, _NONE),
}
_MOST_CHOICES = 100


@dataclass(frozen=True)
class Range:
    """Both ends count; None where there is none. Masks of which the number is not known are in no range."""

    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Filters:
    """choices: of stage, origin and split, those that are wanted. ranges: of iou, stability and size."""

    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @property
    def of_masks(self) -> bool:
        """Whether masks of a picture are left out, and not whole pictures alone."""
        return bool(self.ranges) or any(name != "split" for name in self.choices)

    def where(self) -> tuple[str, list[Any]]:
        """A condition on masks `m` with their pictures `i`, and the values of its question marks."""
        conditions: list[str] = ["true"]
        values: list[Any] = []
        for name, wanted in self.choices.items():
            conditions.append(f"{CHOICES[name]} IN ({', '.join('?' * len(wanted))})")
            values += wanted
        for name, within in self.ranges.items():
            column = RANGES[name]
            conditions.append(f"NOT isnan({column})")
            kind = "DOUBLE" if name == "size" else "FLOAT"  # scores are stored so, and 0.9 is to be 0.9
            for sign, end in ((">=", within.least), ("<=", within.most)):
                if end is not None:
                    conditions.append(f"{column} {sign} ?::{kind}")
                    values.append(end)
        return " AND ".join(conditions), values

    def key(self) -> tuple[Any, ...]:
        """Equal filters have equal keys."""
        return tuple(sorted(self.choices.items())), tuple(sorted(self.ranges.items(), key=lambda one: one[0]))


def parse_filters(asked: Mapping[str, Sequence[str]]) -> Filters:
    """The filters in the query of an address: stage=A&stage=B&iou=0.5-0.9&size=-0.1, other names left alone.

    Raises InputError for a range that is none.
    """
    choices = {name: tuple(dict.fromkeys(asked[name])) for name in CHOICES if asked.get(name)}
    for name, wanted in choices.items():
        if len(wanted) > _MOST_CHOICES:
            raise InputError(f"{name}: at most {_MOST_CHOICES} of them can be asked for at once")
    ranges = {name: parse_range(name, asked[name][-1]) for name in RANGES if asked.get(name)}
    return Filters(choices, ranges)


def parse_range(name: str, text: str) -> Range:
    """ "0.5-0.9", "0.5-" or "-0.9". Raises InputError for anything else."""
    least, dash, most = text.partition("-")
    try:
        ends = [float(end) if end else None for end in (least, most)]
    except ValueError:
        ends = []
    if not dash or not ends or any(end is not None and not math.isfinite(end) for end in ends):
        raise InputError(f"{name}={text}: expected two numbers as 0.5-0.9, or one as 0.5- or -0.9")
    return Range(*ends)


def parse_sort(text: str) -> str:
    """Raises InputError, with the orders there are, for an unknown one."""
    if text not in SORTS:
        raise InputError(f"sort={text}: choose one of {', '.join(SORTS)}")
    return text


def sort_sql(sort: str) -> tuple[str, str, str]:
    """(order, score, mask) as SQL. Scores that are not known (NaN) count for nothing."""
    known = {
        name: f"CASE WHEN isnan({RANGES[name]}) THEN NULL ELSE {RANGES[name]} END" for name in ("iou", "stability")
    }
    order, score, mask = (part.format(**known) for part in SORTS[sort])
    return order, score, mask
