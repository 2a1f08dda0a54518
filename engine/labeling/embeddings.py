"""Image embeddings in memory and on disk: a picture is encoded once, and from then on a click costs the decoder only.

An embedding is known by the content of its picture and the id of its model. Everything here is safe to use from several
threads.
"""

import hashlib
import logging
import os
import threading
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from cachetools import LRUCache
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.files import remove_unfinished, write_atomic
from engine.images import decode_image, read_bytes
from model.encoded_image import EncodedImage
from model.encoders import ImageEmbedding
from model.folded_image import SharedImage
from model.predictor import Predictor
from model.sam import Sam
from schemas.errors import InputError

MIB = 2**20
_SUFFIX = ".safetensors"
_REMEMBERED_FILES = 20_000
_LEFT_BEHIND_S = 3600  # a temporary file as old as this is nobody's any more
_log = logging.getLogger(__name__)


class EmbeddingFolder:
    """Embeddings on disk, one file each; those unused for longest go when a new one would be too much.

    In float32: half precision would halve the files, and it changed 43 of 48 masks of single points by a few pixels.
    """

    def __init__(self, root: Path, model_id: str, *, limit_mb: int) -> None:
        """root: of the embeddings of all models, which share the limit; 0 keeps nothing on disk."""
        self.root = root
        self.folder = root / model_id
        self.limit_bytes = limit_mb * MIB
        self._lock = threading.Lock()
        remove_unfinished(root, older_than_s=_LEFT_BEHIND_S)

    def touch(self, key: str) -> int | None:
        """The bytes of a picture's file, which counts as used just now; None where there is none."""
        try:
            os.utime(self._path(key))
            return self._path(key).stat().st_size
        except OSError:
            return None

    def read(self, key: str) -> EncodedImage | None:
        """None where there is none, or where it is damaged: then it is deleted, and a warning says so."""
        path = self._path(key)
        try:
            encoded = from_bytes(path.read_bytes())
        except FileNotFoundError:
            return None
        except (InputError, OSError) as error:
            _log.warning("%s: %s; the picture is encoded again", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return encoded

    def write(self, key: str, encoded: EncodedImage) -> None:
        """Keep an embedding if it fits at all. A full disk is logged and otherwise does no harm."""
        data = to_bytes(encoded)
        if len(data) > self.limit_bytes:
            return
        try:
            write_atomic(self._path(key), data, sync_folder=False)
        except (InputError, OSError) as error:
            _log.error("%s; this embedding stays in memory only", error)
        self._evict()

    def _evict(self) -> None:
        with self._lock:
            files = []
            for path in self.root.glob(f"*/[!.]*{_SUFFIX}"):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime_ns, status.st_size, path))
            too_much = sum(size for _, size, _ in files) - self.limit_bytes
            for _, size, path in sorted(files):
                if too_much <= 0:
                    break
                path.unlink(missing_ok=True)
                too_much -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


class ReadyImage(NamedTuple):
    """A picture that can be prompted. shared: what all its prompts have in common, many times as large as `encoded`."""

    encoded: EncodedImage
    shared: SharedImage


class EmbeddingCache:
    """The embeddings of the pictures in use, in memory, before those on disk.

    In memory a picture takes 13 MiB with `nano` and 37 MiB with a model of 1024 px.
    counts: answers from `memory` and from `disk`, pictures `encoded`, and calls that `waited` for another's result.
    """

    def __init__(self, sam: Sam, folder: EmbeddingFolder, *, in_memory: int) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._sam = sam
        self._lock = threading.Lock()
        self._memory: LRUCache[str, ReadyImage] = LRUCache(in_memory)
        self._running: dict[str, Future[EncodedImage]] = {}
        self._keys: LRUCache[tuple[str, int, int], str] = LRUCache(_REMEMBERED_FILES)

    def get(self, path: Path) -> ReadyImage:
        """The embedding of a picture, which is kept in memory. Threads that ask for one at once encode it once.

        Raises InputError where the picture cannot be read.
        """
        key = self.key(path)
        with self._lock:
            if key in self._memory:
                self.counts["memory"] += 1
                return self._memory[key]
            result, is_mine = self._join(key)
        return self._keep(key, self._make(key, path, result, keep=True) if is_mine else result.result())

    def put_on_disk(self, path: Path) -> int:
        """See to it that the embedding of a picture is on disk, without a place in memory; returns the file's bytes.

        Raises InputError where the picture cannot be read.
        """
        key = self.key(path)
        size = self.folder.touch(key)
        if size is not None:
            return size
        with self._lock:
            ready = self._memory.get(key)
            result, is_mine = (None, False) if ready else self._join(key)
        if ready is not None:
            self.folder.write(key, ready.encoded)
        elif result is not None:
            encoded = self._make(key, path, result, keep=False) if is_mine else result.result()
            if not is_mine and self.folder.touch(key) is None:  # the other is not done with writing
                self.folder.write(key, encoded)
        return self.folder.touch(key) or 0

    def key(self, path: Path) -> str:
        """SHA-256 of a picture's file, known from before where its size and time are the same.

        Raises InputError where it cannot be read.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot read the file: {error.strerror}") from error
        known_as = (str(path), status.st_size, status.st_mtime_ns)
        with self._lock:
            if known_as in self._keys:
                return self._keys[known_as]
        key = hashlib.sha256(read_bytes(path)).hexdigest()
        with self._lock:
            self._keys[known_as] = key
        return key

    def _join(self, key: str) -> "tuple[Future[EncodedImage], bool]":
        """What others already wait for, or a result that the caller must make (True). With the lock in hand."""
        if key in self._running:
            self.counts["waited"] += 1
            return self._running[key], False
        self._running[key] = Future()
        return self._running[key], True

    def _make(self, key: str, path: Path, result: "Future[EncodedImage]", *, keep: bool) -> EncodedImage:
        """Read or encode it while others wait for `result`; they have it before it is on disk."""
        try:
            encoded = self.folder.read(key)
            fresh = encoded is None
            encoded = self._encode(key, path) if encoded is None else _on(encoded, self._sam.device)
            with self._lock:
                self.counts["encoded" if fresh else "disk"] += 1
            if keep:
                self._keep(key, encoded)
            result.set_result(encoded)
            if fresh:
                self.folder.write(key, encoded)
            return encoded
        except BaseException as error:
            if not result.done():
                result.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._running[key]

    def _encode(self, key: str, path: Path) -> EncodedImage:
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != key:
            raise InputError(f"{path}: the file changed while it was read; click again")
        encoded = Predictor(self._sam).encode_images([decode_image(data, name=str(path))])[0]
        return _on(encoded, self._sam.device)

    @torch.no_grad()
    def _keep(self, key: str, encoded: EncodedImage) -> ReadyImage:
        with self._lock:
            if key in self._memory:
                return self._memory[key]
        ready = ReadyImage(encoded, self._sam.precompute(encoded.embedding))
        with self._lock:
            self._memory[key] = ready
        return ready


class Precomputer:
    """Encodes ahead, in one thread: first what annotators have just opened, then the queue, in order.

    What is opened goes into memory. The queue goes onto the disk, as far as that has room for it, and only while
    nobody clicks: a picture that is being encoded is finished, the next one waits.
    """

    def __init__(self, cache: EmbeddingCache) -> None:
        self._cache = cache
        self._changed = threading.Condition()
        self._opened: deque[Path] = deque()
        self._queue: deque[Path] = deque()
        self._clicking = 0
        self._queued_bytes = 0
        self._busy = self._closed = False
        self._thread: threading.Thread | None = None

    def was_opened(self, path: Path) -> None:
        """An annotator has opened this picture and will click soon."""
        with self._changed:
            if path not in self._opened:
                self._opened.append(path)
            self._wake()

    def queue(self, paths: Iterable[Path]) -> None:
        """Pictures that will be opened, the first of them first."""
        if not self._cache.folder.limit_bytes:
            return
        with self._changed:
            if not self._queue:
                self._queued_bytes = 0
            waiting = set(self._queue)
            self._queue += (path for path in dict.fromkeys(paths) if path not in waiting)
            self._wake()

    @contextmanager
    def clicking(self) -> Iterator[None]:
        """Around the answer to a click: the queue waits."""
        with self._changed:
            self._clicking += 1
        try:
            yield
        finally:
            with self._changed:
                self._clicking -= 1
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Until there is nothing left to encode; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._opened or self._queue or self._busy), timeout_s)

    def close(self) -> None:
        """Stop after the picture in hand."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="precompute", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            path, opened = job
            try:
                if opened:
                    self._cache.get(path)
                else:
                    self._fill_disk(path)
            except InputError as error:
                _log.warning("%s", error)
            except Exception:  # a picture that breaks the model must not end this thread
                _log.exception("%s: could not be encoded ahead", path)

    def _next(self) -> tuple[Path, bool] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._opened or (self._queue and not self._clicking))
            if self._closed:
                return None
            self._busy = True
            return (self._opened.popleft(), True) if self._opened else (self._queue.popleft(), False)

    def _fill_disk(self, path: Path) -> None:
        size = self._cache.put_on_disk(path)
        with self._changed:
            self._queued_bytes += size
            if self._queue and (not size or self._queued_bytes + size > self._cache.folder.limit_bytes):
                _log.info("the disk's share for embeddings is full; %d pictures wait until opened", len(self._queue))
                self._queue.clear()


def to_bytes(encoded: EncodedImage) -> bytes:
    """A safetensors file of an embedding, the picture's size and a checksum over both."""
    embedding: ImageEmbedding = encoded.embedding
    tensors = {"features": embedding.features, "image_hw": torch.tensor(encoded.image_hw, dtype=torch.int64)}
    tensors |= {f"high_res.{number}": finer for number, finer in enumerate(embedding.high_res)}
    tensors |= {} if embedding.depth is None else {"depth": embedding.depth}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors | {"crc32": torch.tensor(_crc32(tensors))})


def from_bytes(data: bytes) -> EncodedImage:
    """What `to_bytes` was given, on the CPU. Raises InputError where the bytes are damaged."""
    try:
        tensors = load(data)
        checksum = int(tensors.pop("crc32"))
        if checksum != _crc32(tensors):
            raise InputError("damaged: its checksum is another")
        depth = tensors.pop("depth", None)
        high_res = tuple(tensors[f"high_res.{number}"] for number in range(len(tensors) - 2))
        height, width = tensors["image_hw"].tolist()
        return EncodedImage(ImageEmbedding(tensors["features"], high_res, depth=depth), (height, width))
    except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"damaged: {' '.join(str(error).split())}") from error


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].numpy().data, zlib.crc32(name.encode(), checksum))
    return checksum


def _on(encoded: EncodedImage, device: torch.device) -> EncodedImage:
    """On a device and laid out as a file is, so that the same numbers come out whether it was read or just encoded."""
    embedding: ImageEmbedding = encoded.embedding
    high_res = tuple(each.to(device).contiguous() for each in embedding.high_res)
    depth = None if embedding.depth is None else embedding.depth.to(device)
    moved = ImageEmbedding(embedding.features.to(device).contiguous(), high_res, depth=depth)
    return replace(encoded, embedding=moved)
