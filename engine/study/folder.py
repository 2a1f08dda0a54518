"""What is kept of a study in its workspace, so that it goes on wherever it was stopped.

studies/NAME/
study.json     the masks that are rated, in the order of the draw, and whose they are: not for those who rate
pictures/      a JPEG of the five views of each, by its name in the study
ratings.json   what people said so far
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.json_files import read_json, write_json
from engine.places import Place
from engine.study.drawing import Item, Pairs
from engine.study.ratings import Rating, rating_of
from engine.workspace import Workspace
from schemas.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


@dataclass(frozen=True)
class Study:
    """items: in the order in which they are shown. sources: names, in the order in which they were given. key: of all
    that the draw follows from. people: how many rate each mask."""

    name: str
    sources: tuple[str, ...]
    pairs: Pairs
    people: int
    key: str
    items: tuple[Item, ...]

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self)) | {"items": [item.to_dict() for item in self.items]}


class StudyFolder:
    """One study of a workspace."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        """Raises InputError for a name that cannot be a folder's."""
        if not _NAME.fullmatch(name):
            raise InputError(f"study {name!r}: use letters, digits, '.', '_' and '-' only")
        self.name = name
        self._workspace = workspace
        self._folder = workspace.studies / name

    def study(self) -> Study:
        """Raises InputError where it was not drawn yet, naming the studies there are."""
        found = self.drawn()
        if found is None:
            there = [file.text() for file in self._workspace.studies.find("*/study.json")]
            names = ", ".join(json.loads(text)["name"] for text in there) or "none"
            raise InputError(
                f"{self._workspace}: no study {self.name!r}; there are: {names}; begin one with: sam-engine study "
                f"publish {self._workspace} --source NAME=FILE"
            )
        return found

    def drawn(self) -> Study | None:
        """None before it is settled which masks are rated. Raises InputError where the file is damaged."""
        values = read_json(self._folder / "study.json")
        if values is None:
            return None
        items = tuple(Item(**item) for item in values.pop("items"))
        return Study(**values | {"sources": tuple(values["sources"]), "items": items})

    def put_study(self, study: Study) -> None:
        """Last of what a draw writes: from then on it is settled."""
        write_json(self._folder / "study.json", study.to_dict())

    def picture(self, item: str) -> Place:
        return self._folder / f"pictures/{item}.jpg"

    def ratings(self) -> list[Rating]:
        """Sorted; none before the first is collected."""
        return [rating_of(record) for record in read_json(self._folder / "ratings.json") or ()]

    def put_ratings(self, ratings: Sequence[Rating]) -> None:
        write_json(self._folder / "ratings.json", [rating.to_dict() for rating in ratings])
