"""Images by what annotations call them that do not give their ids: the number in an id written as text, a name."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from engine.labels.field_names import name_of
from engine.labels.repairs import whole

_LONGEST = 18  # digits, of a number with 63 bits


class Aliases:
    """Of the images of a COCO file; looked through when the first annotation asks."""

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images

    def meant(self, image_id: int | str, mended: Counter[str]) -> int | str:
        """The id of the one image that is meant; as it is where there is none, or several."""
        found = self._by_alias[image_id] | (self._by_alias[int(image_id)] if _is_number(image_id) else set())
        if len(found) != 1:
            return image_id
        mended["image_id that is a name, or a number with zeros before it"] += 1
        return next(iter(found))

    @cached_property
    def _by_alias(self) -> defaultdict[int | str, set[int | str]]:
        known: defaultdict[int | str, set[int | str]] = defaultdict(set)
        for record in self._images:
            image_id = whole(record.get("id")) if isinstance(record, dict) else None
            if not isinstance(image_id, int | str):
                continue
            if _is_number(image_id):
                known[int(image_id)].add(image_id)
            name = name_of(record)
            for alias in (name, PurePosixPath(name).name, PurePosixPath(name).stem) if name else ():
                known[alias].add(image_id)
        return known


def _is_number(image_id: int | str) -> bool:
    text = str(image_id)
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST
