"""The pictures of a tar of a release, as they go into it."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor

from engine.release.plan import PlannedTar, Snapshot
from engine.release.records import ReleasedImage, release_image
from engine.release.shard_reader import ShardReader

AT_WORK = os.cpu_count() or 1  # pictures that are worked on side by side


def render(tar: PlannedTar, snapshot: Snapshot, reader: ShardReader, pool: Executor) -> Iterator[ReleasedImage]:
    """The images of a tar in order; only a few are in memory at a time.

    reader: of the snapshot. Raises InputError for a picture that is gone or changed.
    """
    for start in range(0, len(tar.images), 2 * AT_WORK):
        chosen = [
            (reader.image(shard, image_id), reader.masks(shard, image_id))
            for shard, image_id in tar.images[start : start + 2 * AT_WORK]
        ]
        yield from pool.map(
            lambda rows: release_image(snapshot.store, rows[0], rows[1], tar=tar.name, config=snapshot.choice.config),
            chosen,
        )
