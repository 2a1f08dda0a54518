"""Mending a release: what is damaged is made again from the workspace, byte for byte as it was, or stays."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from engine.places import Place, copy, place, scratch_folder
from engine.release.card import write_card
from engine.release.changes import CHANGES_FILE, changes_between
from engine.release.choice import Choice
from engine.release.plan import PlannedTar, Snapshot, plan_tars
from engine.release.privacy import Anonymizer
from engine.release.reader import Progress, read_manifest
from engine.release.rendering import AT_WORK, render
from engine.release.shard_reader import ShardReader
from engine.release.tars import describe_file, write_release_tar
from engine.release.verify import damage
from engine.store import Store
from schemas.errors import InputError
from schemas.release import FORMAT, Manifest, ReleasedFile, ReleasedTar


class Repair(NamedTuple):
    """mended: files that are as they were. left: for each that is not, why, one line each."""

    mended: list[str]
    left: list[str]


def repair_release(path: Place, store: Store, *, progress: Progress | None = None) -> Repair:
    """Make the damaged and missing files of a release again from the workspace that it was built from.

    Only files take their place whose checksum the manifest has. progress is called with ("repair", done, total) tars.
    Raises InputError where the manifest cannot be read, or the release was not built from a workspace by this version.
    """
    manifest = read_manifest(path)
    if manifest.format != FORMAT:
        raise InputError(f"{path}: {manifest.format} is of an older version, whose bytes this one does not write")
    if manifest.parents:
        raise InputError(f"{path}: was taken from other releases; take it from them again")
    repair = Repair([], [])
    broken = [tar for tar in manifest.tars if any(list(damage(path, file)) for file in tar.files())]
    if broken:
        _Tars(path, manifest, store, repair).mend(broken, progress)
    if manifest.changes and list(damage(path, manifest.changes)):
        _mend_changes(path, manifest, manifest.changes, repair)
    if manifest.card and list(damage(path, manifest.card)):
        with scratch_folder() as folder:
            _put(path, place(folder), manifest.card, write_card(place(folder), manifest), repair)
    return repair


class _Tars:
    """The tars of one release and how they are made again."""

    def __init__(self, path: Place, manifest: Manifest, store: Store, repair: Repair) -> None:
        self.path, self.manifest, self.repair = path, manifest, repair
        choice = Choice(manifest.config, manifest.withheld)
        self.snapshot = Snapshot.take(store, manifest.stages, manifest.table_versions, choice)
        self.reader = ShardReader(self.snapshot)

    def mend(self, broken: list[ReleasedTar], progress: Progress | None) -> None:
        planned = {
            tar.name: tar for tar in plan_tars(self.snapshot, images_per_tar=self.manifest.config.images_per_tar)[0]
        }
        detectors = Anonymizer.of(self.manifest.config).versions
        for done, record in enumerate(broken, start=1):
            name = record.tar.name
            if detectors != self.manifest.blur_versions:
                self.repair.left.append(
                    f"{self.path / name}: was blurred by {self.manifest.blur_versions or 'nothing'}, not {detectors}"
                )
            elif name not in planned:
                self.repair.left.append(f"{self.path / name}: {self.snapshot.store.files} has no such part")
            else:
                self._make_again(record, planned[name])
            if progress is not None:
                progress("repair", done, len(broken))

    def _make_again(self, record: ReleasedTar, tar: PlannedTar) -> None:
        with scratch_folder() as folder, ThreadPoolExecutor(max_workers=AT_WORK) as pool:
            try:
                made = write_release_tar(place(folder), tar.name, render(tar, self.snapshot, self.reader, pool))
            except InputError as error:
                self.repair.left.append(f"{self.path / tar.name}: {error}")
                return
            except KeyError as error:
                self.repair.left.append(f"{self.path / tar.name}: nothing was released by the number of {error}")
                return
            for file, again in zip(record.files(), made.files(), strict=True):
                if list(damage(self.path, file)):
                    _put(self.path, place(folder), file, again, self.repair)


def _mend_changes(path: Place, manifest: Manifest, file: ReleasedFile, repair: Repair) -> None:
    before = place(str(path).rpartition("/")[0]) / manifest.previous
    try:
        changes = changes_between(before, read_manifest(before), path, manifest.tars)
    except (InputError, OSError) as error:
        repair.left.append(f"{path / CHANGES_FILE}: {error}")
        return
    with scratch_folder() as folder:
        (place(folder) / CHANGES_FILE).write(changes.to_json())
        _put(path, place(folder), file, describe_file(folder, CHANGES_FILE), repair)


def _put(path: Place, made_in: Place, file: ReleasedFile, again: ReleasedFile, repair: Repair) -> None:
    if again != file:
        repair.left.append(f"{path / file.name}: what it is made of gives other bytes now; build a new release")
        return
    copy(made_in / file.name, path / file.name)
    repair.mended.append(file.name)
