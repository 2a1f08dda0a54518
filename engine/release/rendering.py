"""The pictures of a tar of a release, as they go into it."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import cv2

from engine.processes import MapItems
from engine.release.plan import PlannedTar, Snapshot
from engine.release.records import ReleasedImage, release_image
from engine.release.shard_reader import ShardReader


def threads_beside(map_items: MapItems, tars: int) -> int:
    """Pictures to work on side by side in each of the processes that do so many tars."""
    cores = os.cpu_count() or 1
    return max(1, cores // max(1, min(map_items.at_once, tars)))


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """While threads of ours keep the cores busy: OpenCV's own would only wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


class Renderer:
    """Makes the pictures of tars, one tar after the other, some pictures of it side by side."""

    def __init__(self, snapshot: Snapshot, *, threads: int) -> None:
        self._snapshot = snapshot
        self._reader = ShardReader(snapshot)
        self._pool = ThreadPoolExecutor(max_workers=threads)  # kept: detectors are made once in each thread
        self._ahead = 2 * threads

    def images(self, tar: PlannedTar) -> Iterator[ReleasedImage]:
        """In order; only a few are in memory at a time.

        Raises InputError for a picture that is gone or changed, KeyError for one that was given no number.
        """
        at_work: deque[Future[ReleasedImage]] = deque()
        with one_opencv_thread():
            for shard, image_id in tar.images():
                if len(at_work) == self._ahead:
                    yield at_work.popleft().result()
                rows = self._reader.image(shard, image_id), self._reader.masks(shard, image_id)
                config, store = self._snapshot.choice.config, self._snapshot.store
                at_work.append(self._pool.submit(release_image, store, *rows, tar=tar.name, config=config))
            while at_work:
                yield at_work.popleft().result()
