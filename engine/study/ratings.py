"""What people said of the masks of a study, read from tasks as Label Studio gives them back.

Reading them again, in another order or twice over, gives the same; what cannot be read is counted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.labeling.replies import annotator_of, seconds_of, text_of, values_of
from schemas.labeling import COMMENT, QUESTIONS, RATING, RATINGS

Task = Mapping[str, Any]


@dataclass(frozen=True)
class Rating:
    """One person's of one mask. annotation: its number, of which a newer one of the same person counts. rating: 1 to
    10, None where they skipped it. answers: to `schemas.labeling.QUESTIONS`, by name, those that were answered.
    seconds: that the task was open, None where that is not known."""

    item: str
    annotator: str
    annotation: int
    rating: int | None
    answers: Mapping[str, bool]
    seconds: float | None
    comment: str = ""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self)) | {"answers": dict(self.answers)}


@dataclass(frozen=True)
class Read:
    """ratings: of each person and mask the last one, sorted. unreadable: annotations made with another configuration.
    strangers: tasks of other studies, or that somebody made by hand."""

    ratings: tuple[Rating, ...]
    unreadable: int
    strangers: int


def read_ratings(tasks: Iterable[Task], *, study: str, items: Collection[str]) -> Read:
    """All that the tasks of a study say. items: the masks that it shows."""
    ratings: list[Rating] = []
    unreadable = strangers = 0
    for task in tasks:
        item = item_of(task, study)
        if item is None or item not in items:
            strangers += 1
            continue
        for annotation in task.get("annotations") or ():
            found = _rating(item, annotation)
            if found is None:
                unreadable += 1
            else:
                ratings.append(found)
    return Read(merged((), ratings), unreadable, strangers)


def merged(kept: Iterable[Rating], found: Iterable[Rating]) -> tuple[Rating, ...]:
    """Of each person and mask the rating that counts, sorted: the newest, and of one that was changed what was found.

    What was kept before stays, also where its task is gone.
    """
    last: dict[tuple[str, str], Rating] = {}
    for one in (*kept, *found):
        known = last.get((one.item, one.annotator))
        if known is None or known.annotation <= one.annotation:
            last[one.item, one.annotator] = one
    return tuple(last[key] for key in sorted(last))


def rating_of(record: Mapping[str, Any]) -> Rating:
    """From `Rating.to_dict`."""
    return Rating(**record)


def item_of(task: Task, study: str) -> str | None:
    """The mask that a task of a study asks about; None for any other task."""
    data = task.get("data") or {}
    item = data.get("item")
    return item if data.get("study") == study and isinstance(item, str) else None


def task_data(item: str, study: str, image_url: str) -> dict[str, Any]:
    """What a task carries: nothing that says whose the mask is."""
    return {"image": image_url, "study": study, "item": item}


def _rating(item: str, annotation: Task) -> Rating | None:
    """None where it was made with another configuration, or a task was submitted without a rating."""
    number, seconds, annotator = int(annotation.get("id") or 0), seconds_of(annotation), annotator_of(annotation)
    if annotation.get("was_cancelled"):
        return Rating(item, annotator, number, None, {}, seconds)
    given = values_of(annotation, RATING, "choices")
    if len(given) != 1 or given[0] not in map(str, RATINGS):
        return None
    answers = {name: values_of(annotation, name, "choices") for name in QUESTIONS}
    yes = {name: chosen == ["yes"] for name, chosen in answers.items() if chosen in (["yes"], ["no"])}
    return Rating(item, annotator, number, int(given[0]), yes, seconds, text_of(annotation, COMMENT))
