"""A study as a project in Label Studio: its masks go out, and what people say of them comes back.

Both can be stopped anywhere and run again: what is there is not sent twice, and what was read stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.files import file_sha256
from engine.keys import work_key
from engine.labeling.client import LabelStudioClient
from engine.labeling.publish import renew_link, without_doubles
from engine.labeling.setup import known_project
from engine.labeling.tool import LabelStudioTool
from engine.places import copy, place
from engine.progress import Progress
from engine.quality.views import jpeg_bytes, verification_view
from engine.release.reader import read_manifest
from engine.store import Store
from engine.study.drawing import Item, Pairs, check_same_objects, draw
from engine.study.folder import Study, StudyFolder
from engine.study.ratings import item_of, merged, read_ratings, task_data
from engine.study.sources import Source, open_source
from schemas.counted import counted
from schemas.errors import InputError, WaitError
from schemas.labeling import study_purpose
from schemas.release import MANIFEST_FILE
from schemas.rle import Rle


@dataclass(frozen=True)
class StudyState:
    """asked: ratings that the study wants, `rated` and `skipped`: of those that are there. published: tasks that went
    out just now. unreadable, strangers: as of `engine.study.ratings.Read`."""

    url: str
    asked: int
    rated: int
    skipped: int
    published: int = 0
    unreadable: int = 0
    strangers: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        said = f"{self.rated} of {self.asked} ratings are there, {self.skipped} skipped; people rate at {self.url}"
        odd = f"; {counted(self.unreadable, 'annotation')} cannot be read" if self.unreadable else ""
        if self.strangers:
            odd += (
                f"; {counted(self.strangers, 'task')} {'is' if self.strangers == 1 else 'are'} of no mask of the study"
            )
        return said + odd


def draw_study(
    folder: StudyFolder,
    files: Mapping[str, Path],
    *,
    images: Path | None,
    coco: Path | None,
    pairs: Pairs,
    masks: int,
    shortest_px: float,
    people: int,
    seed: int,
    progress: Progress,
) -> Study:
    """Settle what is rated and draw its pictures; a study that is there already, from the same, is found.

    files: of the sources, by name. The others: as of `engine.study.drawing.draw` and of
    `engine.study.sources.open_source`.
    Raises InputError where the study is there with other masks, or nothing can be drawn.
    """
    key = work_key(
        "study", [(name, _content_of(file)) for name, file in files.items()], pairs, masks, shortest_px, seed
    )
    known = folder.drawn()
    if known is not None and (known.key, known.people) == (key, people):
        return known
    if known is not None:
        raise InputError(
            f"study {folder.name!r} is there already, with other masks or people; choose another --name, or leave the "
            "options of the draw out to go on with it"
        )
    sources = {name: open_source(file, images=images, coco=coco) for name, file in files.items()}
    known_masks = {name: source.masks() for name, source in sources.items()}
    items = draw(known_masks, pairs=pairs, masks=masks, shortest_px=shortest_px, seed=seed)
    shown = _draw_pictures(folder, sources, items, progress)
    if pairs == "objects":
        check_same_objects(items, shown)
    study = Study(folder.name, tuple(files), pairs, people, key, tuple(items))
    folder.put_study(study)
    return study


class StudyProject:
    """The project of one study that is drawn."""

    def __init__(self, store: Store, folder: StudyFolder, study: Study, progress: Progress) -> None:
        self._tool = LabelStudioTool(store, store.files.settings())
        self._folder, self._study, self._progress = folder, study, progress
        self._chunk = self._tool.config.labeling.images_per_chunk
        self._purpose = study_purpose(study.name)

    def publish(self) -> StudyState:
        """Make the project where there is none, send the tasks that are missing, and read what is answered."""
        self._tool.setup(self._purpose)
        there = {item_of(task, self._study.name) for task in self._client.tasks(self._project)}
        missing = [item for item in self._study.items if item.item not in there]
        for start in range(0, len(missing), self._chunk):
            group = missing[start : start + self._chunk]
            self._send(group)
            self._progress("publish", start + len(group), len(missing))
        return self._collected(published=len(missing))

    def collect(self) -> StudyState:
        """Read what people answered and keep it. Raises WaitError where the study was not published."""
        return self._collected(published=0)

    def _send(self, items: list[Item]) -> None:
        for item in items:
            self._restore_picture(item.item)
        tasks = [task_data(item.item, self._study.name, self._url(item.item)) for item in items]
        ids = self._client.import_tasks(self._project, [{"data": data} for data in tasks])
        if self._study.people > 1:
            for task in ids:
                self._client.want_people(task, self._study.people)

    def _collected(self, *, published: int) -> StudyState:
        every = list(self._client.tasks(self._project))
        for task in self._without_doubles(every):
            self._mend(task)
        names = {item.item for item in self._study.items}
        read = read_ratings(every, study=self._study.name, items=names)
        ratings = merged(self._folder.ratings(), read.ratings)
        self._folder.put_ratings(ratings)
        return StudyState(
            f"{self._client.url}/projects/{self._project}/data",
            asked=len(names) * self._study.people,
            rated=sum(one.rating is not None for one in ratings),
            skipped=sum(one.rating is None for one in ratings),
            published=published,
            unreadable=read.unreadable,
            strangers=read.strangers,
        )

    def _mend(self, task: dict[str, Any]) -> None:
        """A picture that somebody deleted, a link that expires, a task that was to go to more people."""
        item = str(item_of(task, self._study.name))
        self._restore_picture(item)
        renew_link(self._client, task, self._path(item), self._tool.links)
        if int(task.get("overlap") or 1) < self._study.people:
            self._client.want_people(int(task["id"]), self._study.people)

    def _without_doubles(self, tasks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of this study, of a mask that is there twice but one where nobody answered."""
        names = {item.item for item in self._study.items}

        def subject(task: dict[str, Any]) -> str | None:
            item = item_of(task, self._study.name)
            return item if item in names else None

        return without_doubles(self._client, tasks, subject)

    def _restore_picture(self, item: str) -> None:
        shown = place(self._tool.folder.images) / self._path(item)
        if not shown.exists():
            copy(self._folder.picture(item), shown)

    def _path(self, item: str) -> str:
        return f"{self._purpose}/{item}.jpg"

    def _url(self, item: str) -> str:
        return self._tool.links.url(self._path(item))

    @property
    def _client(self) -> LabelStudioClient:
        return self._tool.client

    @cached_property
    def _project(self) -> int:
        """Raises WaitError where there is none yet."""
        found = known_project(self._client, self._tool.folder, self._purpose, self._tool.name)
        if found is None:
            raise WaitError(
                f"Label Studio at {self._client.url} has no project for the study {self._study.name}; run: sam-engine "
                f"study publish {self._tool.store.files} --name {self._study.name}"
            )
        return found


def _draw_pictures(
    folder: StudyFolder, sources: Mapping[str, Source], items: list[Item], progress: Progress
) -> dict[str, Rle]:
    """One after the other, source by source; what a killed draw left is drawn again, the same. Returns the masks."""
    found: dict[str, Rle] = {}
    for name, source in sources.items():
        wanted: dict[str, list[Item]] = {}
        for item in items:
            if item.source == name:
                wanted.setdefault(item.picture, []).append(item)
        for picture, pixels, masks in source.pictures(wanted.keys()):
            image = pixels()
            for item in wanted[picture]:
                if item.object_id in masks:
                    shown = masks[item.object_id]
                    view = verification_view(image, shown.rle, points_xy=shown.points)
                    folder.picture(item.item).write(jpeg_bytes(view))
                    found[item.item] = shown.rle
                    progress("views", len(found), len(items))
    return found


def _content_of(file: Path) -> str:
    """Changes with what a source holds. Raises InputError where it cannot be read."""
    if (place(file) / MANIFEST_FILE).exists():
        return work_key(read_manifest(file).model_dump(mode="json"))
    try:
        return file_sha256(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
