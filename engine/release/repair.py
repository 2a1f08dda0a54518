"""Mending a release: what is damaged is made again from the workspace, byte for byte as it was, or stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import pyarrow as pa

from engine.places import Place, copy, place, scratch_folder
from engine.processes import MapItems, Processes, Tell, untold
from engine.progress import Progress
from engine.release.build import BUILD_LOCK
from engine.release.card import card_text
from engine.release.changes import CHANGES_FILE, changes_between
from engine.release.choice import Choice
from engine.release.documents import documents_of
from engine.release.plan import PlannedTar, Snapshot, plan_tars
from engine.release.privacy import Anonymizer
from engine.release.reader import read_manifest
from engine.release.rendering import Renderer, threads_beside
from engine.release.tars import describe_file, write_release_tar
from engine.release.verify import damage
from engine.store import Store
from schemas.errors import InputError
from schemas.release import FORMAT, Manifest, ReleasedFile, ReleasedTar


class Repair(NamedTuple):
    """mended: files that are as they were. left: for each that is not, why, one line each."""

    mended: list[str]
    left: list[str]


def repair_release(
    path: Place, store: Store, *, map_tars: MapItems = Processes(1), progress: Progress | None = None
) -> Repair:
    """Make the damaged and missing files of a release again from the workspace that it was built from.

    Only files take their place whose checksum the manifest has. map_tars: by what tars are read and made. progress is
    called with ("repair", done, total) tars.
    Raises InputError where the manifest cannot be read, or the release was not built from a workspace by this version;
    WaitError if a release of this workspace is being built or repaired.
    """
    manifest = read_manifest(path)
    if manifest.format != FORMAT:
        raise InputError(f"{path}: {manifest.format} is of an older version, whose bytes this one does not write")
    if manifest.parents:
        raise InputError(f"{path}: was taken from other releases; take it from them again")
    busy = f"{store.files.releases}: another release is being built or repaired here; start this one when it is done"
    with (store.files.releases / BUILD_LOCK).only_one(busy=busy):
        path.remove_unfinished()
        return _repaired(path, manifest, store, map_tars, progress)


def _repaired(path: Place, manifest: Manifest, store: Store, map_tars: MapItems, progress: Progress | None) -> Repair:
    broken = [tar for found in map_tars(partial(_if_broken, path), manifest.tars, untold) for tar in found]
    repair = Repair([], [])
    for one in _mend_tars(path, manifest, store, broken, map_tars, progress) if broken else ():
        repair.mended.extend(one.mended)
        repair.left.extend(one.left)
    if manifest.changes and list(damage(path, manifest.changes)):
        _mend_changes(path, manifest, manifest.changes, repair)
    _mend_documents(path, manifest, repair)
    return repair


def _if_broken(path: Place, tar: ReleasedTar, tell: Tell) -> list[ReleasedTar]:
    return [tar] if any(list(damage(path, file)) for file in tar.files()) else []


def _mend_tars(
    path: Place,
    manifest: Manifest,
    store: Store,
    broken: list[ReleasedTar],
    map_tars: MapItems,
    progress: Progress | None,
) -> Sequence[Repair]:
    choice = Choice(manifest.config, manifest.withheld)
    snapshot = Snapshot.take(store, manifest.stages, manifest.table_versions, choice)
    detectors = Anonymizer.of(manifest.config).versions
    if detectors != manifest.blur_versions:
        was = manifest.blur_versions or "nothing"
        return [Repair([], [f"{path / tar.tar.name}: was blurred by {was}, not {detectors}"]) for tar in broken]
    try:
        tars, _ = plan_tars(snapshot, images_per_tar=manifest.config.images_per_tar)
    except InputError as error:  # the other files of the release may be mended all the same
        return [Repair([], [f"{path / tar.tar.name}: {error}"]) for tar in broken]
    planned = {tar.name: tar for tar in tars}
    done = 0

    def advance(tars: int) -> None:
        nonlocal done
        done += tars
        if progress is not None:
            progress("repair", done, len(broken))

    mender = TarMender(path, snapshot, threads_beside(map_tars, len(broken)))
    return map_tars(mender, [(record, planned.get(record.tar.name)) for record in broken], advance)


@dataclass(frozen=True)
class TarMender:
    """Makes tars of a release again; of use in other processes."""

    path: Place
    snapshot: Snapshot
    threads: int

    def __call__(self, tar: tuple[ReleasedTar, PlannedTar | None], tell: Tell) -> Repair:
        record, planned = tar
        where, repair = self.path / record.tar.name, Repair([], [])
        try:
            if planned is None:
                repair.left.append(f"{where}: {self.snapshot.store.files} has no such part")
            else:
                self._make_again(record, planned, repair)
        except InputError as error:
            repair.left.append(f"{where}: {error}")
        except KeyError as error:
            repair.left.append(f"{where}: nothing was released by the number of {error}")
        tell(1)
        return repair

    def _make_again(self, record: ReleasedTar, planned: PlannedTar, repair: Repair) -> None:
        with scratch_folder() as folder:
            made = write_release_tar(place(folder), planned.name, self._renderer.images(planned))
            for file, again in zip(record.files(), made.files(), strict=True):
                if list(damage(self.path, file)):
                    _put(self.path, place(folder), file, again, repair)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.snapshot, threads=self.threads)


def _mend_changes(path: Place, manifest: Manifest, file: ReleasedFile, repair: Repair) -> None:
    before = place(str(path).rpartition("/")[0]) / manifest.previous
    try:
        changes = changes_between(before, read_manifest(before), path, manifest.tars)
    except (InputError, OSError) as error:
        repair.left.append(f"{path / CHANGES_FILE}: {error}")
        return
    _put_content(path, file, changes.to_json(), repair)


def _mend_documents(path: Place, manifest: Manifest, repair: Repair) -> None:
    """The card follows from the manifest alone, the others from the tars too."""
    if manifest.card and list(damage(path, manifest.card)):
        _put_content(path, manifest.card, card_text(manifest).encode(), repair)
    broken = [file for file in manifest.documents if list(damage(path, file))]
    if not broken:
        return
    try:
        made = documents_of(path, manifest)
    except (InputError, OSError, pa.ArrowException) as error:
        repair.left.extend(f"{path / file.name}: {' '.join(str(error).split())}" for file in broken)
        return
    for file in broken:
        _put_content(path, file, made[file.name], repair)


def _put_content(path: Place, file: ReleasedFile, content: bytes, repair: Repair) -> None:
    with scratch_folder() as folder:
        (place(folder) / file.name).write(content)
        _put(path, place(folder), file, describe_file(folder, file.name), repair)


def _put(path: Place, made_in: Place, file: ReleasedFile, again: ReleasedFile, repair: Repair) -> None:
    if again != file:
        repair.left.append(f"{path / file.name}: what it is made of gives other bytes now; build a new release")
        return
    copy(made_in / file.name, path / file.name)
    repair.mended.append(file.name)
