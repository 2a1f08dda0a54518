"""Building a release: SA-1B json and JPEG per image in tars, a Parquet index, a manifest.

The work happens in a hidden folder and is renamed at the end, so a reader sees a whole release or none. At a URL, where
nothing can be renamed, files take their names when they are whole and the manifest comes last: without it there is no
release. Each tar that is done is noted beside that folder; after a kill, the next run does those that are missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pydantic import ValidationError

from engine.files import publish, storage_errors
from engine.keys import content_key
from engine.places import LocalPlace, Place
from engine.processes import MapItems, Processes, Tell
from engine.progress import Progress
from engine.release.changes import CHANGES_FILE, changes_between, find_previous
from engine.release.choice import Choice
from engine.release.documents import documents_of, write_documents
from engine.release.numbers import Numbering
from engine.release.plan import PlannedTar, Snapshot, plan_tars
from engine.release.privacy import Anonymizer
from engine.release.reader import count_annotators, names_in, read_manifest
from engine.release.records import ReleasedImage
from engine.release.rendering import Renderer, threads_beside
from engine.release.tars import describe_file, write_release_tar
from engine.release.verify import problems_of
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.counted import counted
from schemas.errors import InputError, WaitError
from schemas.release import FORMAT, MANIFEST_FILE, Manifest, ReleasedFile, ReleasedTar, release_name
from schemas.stages import Stage

BUILD_LOCK = ".build.lock"  # in the folder of releases: one process at a time makes or mends them
_BUILDING, _PROGRESS = ".building", ".progress"


@dataclass(frozen=True)
class ReleaseInfo:
    """Where a release is, and its manifest. `created` is False where it was there already: nothing was written."""

    place: Place
    manifest: Manifest
    created: bool

    @property
    def path(self) -> Path:
        """Its folder on this disk. Raises InputError for one at a URL."""
        return self.place.local_path("a release whose folder is asked for")


def build_release(
    store: Store,
    *,
    config: ReleaseConfig | None = None,
    stages: Sequence[Stage] = ("fully_automatic",),
    name: str | None = None,
    versions: Mapping[str, int] | None = None,
    withheld: bool = False,
    verify: bool = False,
    map_tars: MapItems = Processes(1),
    progress: Progress | None = None,
) -> ReleaseInfo:
    """Write a release of the masks of `stages` into WORKSPACE/releases/NAME.

    config: the workspace's own where None. name: made from the inputs where None. versions: of the tables, as from
    `Store.versions`; those of now where None. withheld: a release of the pictures that are kept back from all others.
    verify: read everything again before the release appears; one with a problem never does. map_tars: by what the tars
    are written and verified, which makes no difference to their bytes. progress is called with ("release", done, total)
    images.
    The default holds automatic masks only, as SA-1B does. Images without masks are left out and counted.
    Raises InputError if the name is taken by a release of other inputs, if a picture is gone or changed, if the disk is
    full, or if what was written is not what should have been; WaitError if there are no masks yet or if another build
    works on this workspace.
    """
    config = config or store.files.settings().release
    snapshot = Snapshot.take(store, stages, versions, Choice(config, withheld))
    detectors = sorted(Anonymizer.of(config).versions.items())
    key = content_key(FORMAT, sorted(snapshot.versions.items()), config.model_dump_json(), withheld, detectors)
    name = release_name(name or f"sa-{'withheld-' * withheld}{key}")
    folder = store.files.releases
    busy = f"{folder}: another release is being built or repaired here; start this one when it is done"
    with (folder / BUILD_LOCK).only_one(busy=busy):
        found = _existing(folder / name, key)
        if found is None:
            found = _Build(snapshot, config, key, folder, name, map_tars, progress).run(verify=verify)
        _remove_leftovers(folder)
    return found


class Workplace(NamedTuple):
    """Where a release is made: files in `building`, a note for each finished tar in `notes`."""

    building: Place
    notes: Place

    @classmethod
    def of(cls, folder: Place, key: str, name: str) -> "Workplace":
        building = folder / (f".{key}{_BUILDING}" if isinstance(folder, LocalPlace) else name)
        return cls(building, folder / f".{key}{_PROGRESS}")


@dataclass(frozen=True)
class TarWriter:
    """Writes tars with their index, and a note for each that is done; of use in other processes, on other machines."""

    snapshot: Snapshot
    place: Workplace
    threads: int

    def __call__(self, tar: PlannedTar, tell: Tell) -> ReleasedTar:
        """Tells of each picture."""
        record = write_release_tar(self.place.building, tar.name, _told(self._renderer.images(tar), tell))
        (self.place.notes / f"{tar.name}.json").write(record.model_dump_json().encode())
        return record

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.snapshot, threads=self.threads)


def _told(images: Iterator[ReleasedImage], tell: Tell) -> Iterator[ReleasedImage]:
    for image in images:
        yield image
        tell(1)


class _Build:
    """One build: tars side by side, and the images of each."""

    def __init__(
        self,
        snapshot: Snapshot,
        config: ReleaseConfig,
        key: str,
        folder: Place,
        name: str,
        map_tars: MapItems,
        progress: Progress | None,
    ) -> None:
        self.snapshot = snapshot
        self.config = config
        self.key = key
        self.folder = folder
        self.name = name
        self.place = Workplace.of(folder, key, name)
        self.map_tars = map_tars
        self.progress = progress
        self.done = self.total = 0

    def run(self, *, verify: bool) -> ReleaseInfo:
        tars, without_masks = plan_tars(
            self.snapshot, images_per_tar=self.config.images_per_tar, number=Numbering(self.snapshot.store)
        )
        if not tars:
            stages, workspace = self.snapshot.stages, self.snapshot.store.files
            of_stages, counts = " or ".join(stages), self.snapshot.store.counts()
            if any(counts[stage] for stage in stages):
                raise WaitError(
                    f"{workspace}: no mask of {of_stages} is chosen for a release; see release in engine.yaml"
                )
            raise WaitError(
                f"{workspace}: no masks of {of_stages} to release; make them first with: "
                f"sam-engine run {stages[-1]} {workspace} --until-done"
            )
        self.total = sum(tar.n_images for tar in tars)
        with storage_errors(self.folder):
            for path in (self.place.notes, *(self.place.building / "index" / kind for kind in ("masks", "images"))):
                path.make_folder()
            for path in self.place:
                path.remove_unfinished()
        records = tuple(self._write_tars(tars))
        previous = find_previous(self.folder, self.snapshot.versions, withheld=self.snapshot.choice.withheld)
        manifest = Manifest(
            format=FORMAT,
            name=self.name,
            key=self.key,
            stages=self.snapshot.stages,
            withheld=self.snapshot.choice.withheld,
            table_versions=self.snapshot.versions,
            config=self.config,
            blur_versions=Anonymizer.of(self.config).versions,
            annotators=count_annotators(self.place.building, records),
            images=sum(record.images for record in records),
            masks=sum(record.masks for record in records),
            masks_lost=sum(record.masks_lost for record in records),
            images_without_masks=without_masks,
            tars=records,
            previous=previous.name if previous else "",
            changes=self._write_changes(previous, records) if previous else None,
        )
        manifest = self._with_documents(manifest)
        if verify:
            self._check(manifest)
        self._publish(manifest)
        return ReleaseInfo(self.folder / self.name, manifest, created=True)

    def _write_tars(self, tars: list[PlannedTar]) -> list[ReleasedTar]:
        noted = [self._noted(tar) for tar in tars]
        missing = [tar for tar, record in zip(tars, noted, strict=True) if record is None]
        self._advance(self.total - sum(tar.n_images for tar in missing))
        writer = TarWriter(self.snapshot, self.place, threads_beside(self.map_tars, len(missing)))
        written = iter(self.map_tars(writer, missing, self._advance))
        return [next(written) if record is None else record for record in noted]

    def _noted(self, tar: PlannedTar) -> ReleasedTar | None:
        """What a run before this one wrote of a tar, if it got that far."""
        try:
            record = ReleasedTar.model_validate_json((self.place.notes / f"{tar.name}.json").read())
        except (FileNotFoundError, ValidationError):
            return None
        sizes = [((self.place.building / file.name).size(), file.bytes) for file in record.files()]
        return record if all(found == noted for found, noted in sizes) else None

    def _write_changes(self, previous: Manifest, tars: tuple[ReleasedTar, ...]) -> ReleasedFile:
        building = self.place.building
        changes = changes_between(self.folder / previous.name, previous, building, tars)
        (building / CHANGES_FILE).write(changes.to_json())
        return describe_file(building, CHANGES_FILE)

    def _with_documents(self, manifest: Manifest) -> Manifest:
        building = self.place.building
        try:
            documents = documents_of(building, manifest)
        except (InputError, OSError, pa.ArrowException):
            self._check(manifest)  # which names what is wrong with what was written
            raise
        return write_documents(building, manifest, documents)

    def _check(self, manifest: Manifest) -> None:
        problems = problems_of(self.place.building, manifest, map_tars=self.map_tars, progress=self.progress)
        if problems:
            self.place.notes.remove()  # so that the next build takes nothing of this one for done
            raise InputError(
                f"{self.folder / self.name}: not published, "
                f"{counted(len(problems), 'problem')} in what was written, such as "
                f"{problems[0]}; check the disk, and build it again"
            )

    def _advance(self, images: int) -> None:
        self.done += images
        if images and self.progress is not None:
            self.progress("release", self.done, self.total)

    def _publish(self, manifest: Manifest) -> None:
        building = self.place.building
        if not isinstance(building, LocalPlace):
            _remove_others(building, manifest)
        (building / MANIFEST_FILE).write((manifest.model_dump_json(indent=1) + "\n").encode())
        if isinstance(building, LocalPlace):
            with storage_errors(building):
                publish(building.path, building.path.parent / self.name)


def _remove_others(building: Place, manifest: Manifest) -> None:
    """What a build of other inputs left under the name, which was not finished."""
    for name in names_in(building) - manifest.file_names():
        (building / name).remove()


def _existing(path: Place, key: str) -> ReleaseInfo | None:
    # At a URL, what has no manifest is a build that was not finished.
    if not (path if isinstance(path, LocalPlace) else path / MANIFEST_FILE).exists():
        return None
    manifest = read_manifest(path)
    if manifest.key != key:
        raise InputError(f"{path}: holds a release of other table versions or settings; choose another name")
    return ReleaseInfo(path, manifest, created=False)


def _remove_leftovers(folder: Place) -> None:
    """Remove what builds left behind that were killed and whose inputs have moved on since."""
    for suffix in (_BUILDING, _PROGRESS):
        for left in folder.find(f".*{suffix}"):
            left.remove()
