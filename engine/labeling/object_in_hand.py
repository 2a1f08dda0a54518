"""Which prompts belong to the object that an annotator has in hand.

The editor sends all prompts of a kind that stand in the task, also such as were left of an earlier object: by a reload,
by an accept that was undone, by an answer that never came. So they are told apart by what they were sent with before.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal

from engine.labeling.contexts import Prompt

Kind = Literal["point", "box"]
SAME_OBJECT_S = 30.0  # for a second box: of several only the last counts, and one of long ago is another object's


@dataclass
class TaskPrompts:
    """What is known of the prompts of one task. over: those of objects that are done, or were given up."""

    _over: set[str] = field(default_factory=set)
    _last: dict[Kind, frozenset[str]] = field(default_factory=dict)
    _sent_at: dict[str, float] = field(default_factory=dict)
    _made: dict[str, frozenset[str]] = field(default_factory=dict)

    def own(self, prompt: Prompt, *, accepted: Container[str], at: float) -> Prompt:
        """The prompts of the object in hand, of all that were sent.

        accepted: ids of regions that the task has already. at: Unix time. A prompt is left out where its mask was
        accepted; where another one that was sent with it is gone while a new one came, which is what an accept leaves;
        and a box where a later one was drawn more than `SAME_OBJECT_S` after it.
        """
        sent: dict[Kind, list[str]] = {
            "point": [click.id for click in prompt.points],
            "box": [box.id for box in prompt.boxes],
        }
        for region, ids in self._made.items():
            if region in accepted:
                self._over |= ids
        for kind, ids_of_kind in sent.items():
            self._close(kind, ids_of_kind, at)
        points = tuple(click for click in prompt.points if click.id not in self._over)
        boxes = tuple(box for box in prompt.boxes if box.id not in self._over)
        return Prompt(points, boxes)

    def put(self, own: Prompt, *, region_id: str, at: float) -> None:
        """Note what was answered to the prompts of one object. region_id: "" where there was no mask."""
        self.put_ids(tuple(click.id for click in own.points), tuple(box.id for box in own.boxes), region_id, at)

    def put_ids(self, points: tuple[str, ...], boxes: tuple[str, ...], region_id: str, at: float) -> None:
        """The same by ids, as the prompt log has them."""
        if points:
            self._last["point"] = frozenset(points)
        if boxes:
            self._last["box"] = frozenset(boxes)
        self._sent_at |= dict.fromkeys((*points, *boxes), at)
        if region_id:
            self._made[region_id] = frozenset((*points, *boxes))

    def _close(self, kind: Kind, sent: list[str], at: float) -> None:
        fresh = [each for each in sent if each not in self._sent_at]
        if not fresh:  # somebody went back to them
            self._over -= set(sent)
            return
        before = self._last.get(kind, frozenset())
        if before - set(sent):
            self._over |= before
        if kind == "box":
            self._over |= {each for each in sent if at - self._sent_at.get(each, at) > SAME_OBJECT_S}
