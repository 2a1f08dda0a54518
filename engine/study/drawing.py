"""Which masks a study shows, and in which order: drawn by a seed, so that nobody can tell whose a mask is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.keys import content_key
from engine.rle import iou_matrix
from engine.study.sources import Known
from schemas.errors import InputError
from schemas.rle import Rle

Pairs = Literal["objects", "pictures"]
SHORTEST_PX = 24  # SAM paper, appendix D.6: smaller masks cannot be judged


@dataclass(frozen=True)
class Item:
    """A mask that people rate. item: its name in the study, which says nothing of its source."""

    item: str
    source: str
    picture: str
    object_id: str

    def unit(self, pairs: Pairs) -> str:
        """What masks of several sources have in common where they are compared."""
        return self.picture if pairs == "pictures" else f"{self.picture} {self.object_id}"

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def draw(
    sources: Mapping[str, Sequence[Known]],
    *,
    pairs: Pairs,
    masks: int,
    shortest_px: float = SHORTEST_PX,
    seed: int = 0,
) -> list[Item]:
    """The masks to rate, shuffled.

    pairs: "objects" draws objects that every source has a mask of, by the same id, and takes all their masks;
    "pictures" draws masks of each source by itself, on pictures where every source has some. masks: of each source, all
    where there are fewer. shortest_px: of the shorter side of a mask's box.
    Raises InputError where sources have nothing in common.
    """
    large = {name: [one for one in known if one.short_px >= shortest_px] for name, known in sources.items()}
    chosen = _objects(large, masks, seed) if pairs == "objects" else _of_pictures(large, masks, seed)
    if not chosen:
        what = "object" if pairs == "objects" else "picture"
        raise InputError(
            f"{', '.join(sources)}: no {what} of which each has a mask of {shortest_px:g} px or more on its shorter "
            "side; "
            + (
                "ids have to be the same, or choose --pairs pictures"
                if pairs == "objects"
                else "pictures are known by the names of their files"
            )
        )
    return sorted(chosen, key=lambda item: content_key("shown", seed, item.item))


def check_same_objects(items: Sequence[Item], masks: Mapping[str, Rle]) -> None:
    """Raise InputError where most masks of one id do not even touch: then ids do not name the same objects.

    masks: by the names of items.
    """
    by_unit: dict[str, list[Rle]] = {}
    for item in items:
        by_unit.setdefault(item.unit("objects"), []).append(masks[item.item])
    pairs = [(of_unit[0], other) for of_unit in by_unit.values() for other in of_unit[1:]]
    apart = sum(first[:2] != other[:2] or not iou_matrix([first], [other])[0, 0] for first, other in pairs)
    if 2 * apart > len(pairs):
        raise InputError(
            f"{apart} of {len(pairs)} masks of one id do not touch: ids do not name the same objects in all sources; "
            "choose --pairs pictures"
        )


def _objects(large: Mapping[str, Sequence[Known]], masks: int, seed: int) -> list[Item]:
    keys = [{(one.picture, one.object_id) for one in known} for known in large.values()]
    common = sorted(set.intersection(*keys), key=lambda key: content_key("drawn", seed, *key))
    return [_item(name, *key, seed=seed) for key in common[:masks] for name in large]


def _of_pictures(large: Mapping[str, Sequence[Known]], masks: int, seed: int) -> list[Item]:
    common = set.intersection(*({one.picture for one in known} for known in large.values()))
    items: list[Item] = []
    for name, known in large.items():
        there = [one for one in known if one.picture in common]
        there.sort(key=lambda one: content_key("drawn", seed, name, one.picture, one.object_id))
        items += [_item(name, one.picture, one.object_id, seed=seed) for one in there[:masks]]
    return items


def _item(source: str, picture: str, object_id: str, *, seed: int) -> Item:
    return Item(content_key("item", seed, source, picture, object_id), source, picture, object_id)
