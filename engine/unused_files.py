"""Space taken back from tables: files that no named version has any more.

Every commit keeps what it replaces, because models name the versions that they learned from, and releases those that
they were made of. What nobody names, and what was not there lately, can go.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from engine.places import Place
from engine.release.reader import read_manifest
from engine.store import Store
from model.registry import CARD_FILE, list_models
from schemas.errors import InputError
from schemas.release import MANIFEST_FILE

COMPACTED_ABOVE, COMPACTED_IN_SHARD_ABOVE = 32, 8  # files of a table without shards, and of a shard


class Unused(NamedTuple):
    """Files of a table that nobody names, and their size."""

    files: int
    size_bytes: int


def named_versions(store: Store) -> dict[str, set[int]]:
    """The versions of each table that models, detectors and releases of the workspace name.

    Raises InputError for a card or manifest that is damaged: what it names would be lost.
    """
    found: defaultdict[str, set[int]] = defaultdict(set)
    for versions in _named(store):
        for table, version in versions.items():
            found[table].add(int(version))
    return dict(found)


def remove_unused(store: Store, *, older_than_h: int, dry_run: bool = False) -> dict[str, Unused]:
    """Remove the files of tables that no named version has, nor any that was there within so many hours, and the
    checkpoints of their logs from which neither a named version nor the last one is read.

    older_than_h: more than the longest run takes, which names what it reads only at its end. dry_run: only tell.
    Returns what was found, by table. Raises InputError as `named_versions` does, and where a named version cannot be
    read: then nothing is removed.
    """
    named, versions = named_versions(store), store.versions()
    found: dict[str, list[tuple[Place, int]]] = {}
    for table, version in versions.items():
        keep = [each for each in named.get(table, ()) if each <= version]
        sizes = ((file, file.size()) for file in store.unused_files(table, keep, older_than_h=older_than_h))
        found[table] = [(file, size) for file, size in sizes if size is not None]  # the others went before
    if not dry_run:
        for file, _ in chain.from_iterable(found.values()):
            file.remove()
    return {table: Unused(len(files), sum(size for _, size in files)) for table, files in found.items() if files}


def _named(store: Store) -> Iterator[Mapping[str, Any]]:
    files = store.files
    cards = {str(path) for path in files.models.find(f"[!.]*/{CARD_FILE}")}
    known = list_models(files.model_roots()[:1])
    if len(known) < len(cards):
        whole = {info.folder.name for info in known}
        damaged = sorted(card for card in cards if card.split("/")[-2] not in whole)
        raise InputError(f"{damaged[0]}: damaged, so the table versions it names are not known; remove or mend it")
    for info in known:
        yield info.card.trained_on.get("versions", {})
    for file in files.detectors.find(f"[!.]*/{CARD_FILE}"):
        yield _card(file).get("versions", {})
    for file in files.releases.find(f"[!.]*/{MANIFEST_FILE}"):
        yield read_manifest(str(file).rsplit("/", 1)[0]).table_versions


def _card(file: Place) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.text())
    except ValueError as error:
        raise InputError(f"{file}: damaged, so the table versions it names are not known; remove or mend it") from error
    return found
