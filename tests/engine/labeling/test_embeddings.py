import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.labeling.embeddings import (
    MIB,
    EmbeddingCache,
    EmbeddingFolder,
    Precomputer,
    ReadyImage,
    from_bytes,
    to_bytes,
)
from model.config import SamConfig
from model.encoded_image import EncodedImage
from model.encoder_configs import EfficientNetConfig, ViTConfig
from model.encoders import ImageEmbedding
from model.predictor import Predictor
from model.sam import Sam, build_sam
from schemas.errors import InputError
from tests.peers.published import draw_weights
from tests.pictures import encoded as picture_bytes
from tests.pictures import shapes

VIT = SamConfig(ViTConfig(32, 1, 2, global_attn_indexes=(0,), img_size=96, window_size=3))
FINE = SamConfig(EfficientNetConfig(img_size=96), high_res_features=True)


def small_sam(config: SamConfig) -> Sam:
    sam = build_sam(config)
    draw_weights(sam, seed=3)
    return sam


@pytest.fixture(
    scope="module", params=[VIT, FINE, replace(FINE, remembers=FINE)], ids=["vit", "fine features", "remembering"]
)
def any_sam(request: pytest.FixtureRequest) -> Sam:
    return small_sam(request.param)


@pytest.fixture(scope="module")
def shared_sam() -> Sam:
    return small_sam(VIT)


@pytest.fixture
def sam(shared_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> Sam:
    """Notes the pictures that it encodes, and does so only while `encoding_allowed` is set."""
    allowed = threading.Event()
    allowed.set()
    noted: list[Tensor] = []
    encode = shared_sam.encode

    def noting(pixels: Tensor) -> ImageEmbedding:
        noted.append(pixels)
        assert allowed.wait(30)
        return encode(pixels)

    monkeypatch.setattr(shared_sam, "encode", noting)
    monkeypatch.setattr(shared_sam, "noted", noted, raising=False)
    monkeypatch.setattr(shared_sam, "encoding_allowed", allowed, raising=False)
    return shared_sam


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(picture_bytes(shapes(number)[0]))
    return paths


@pytest.fixture
def cache_of(tmp_path: Path, sam: Sam) -> Callable[..., EmbeddingCache]:
    def make(*, in_memory: int = 16, on_disk_mb: int = 100, model_id: str = "aa") -> EmbeddingCache:
        folder = EmbeddingFolder(tmp_path / "embeddings", model_id, limit_mb=on_disk_mb)
        return EmbeddingCache(sam, folder, in_memory=in_memory)

    return make


@pytest.fixture
def ahead_of() -> Iterator[Callable[[EmbeddingCache], Precomputer]]:
    made: list[Precomputer] = []

    def make(cache: EmbeddingCache) -> Precomputer:
        made.append(Precomputer(cache))
        return made[-1]

    yield make
    for precomputer in made:
        precomputer.close()


def files(tmp_path: Path) -> set[str]:
    return {str(path.relative_to(tmp_path / "embeddings")) for path in (tmp_path / "embeddings").glob("*/*")}


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_a_file_gives_back_the_same_numbers(any_sam: Sam, tmp_path: Path, pictures: list[Path]) -> None:
    """And therefore the same masks: from memory and from disk alike."""
    folder = EmbeddingFolder(tmp_path / "embeddings", "aa", limit_mb=100)
    fresh = EmbeddingCache(any_sam, folder, in_memory=1).get(pictures[0]).encoded
    again = EmbeddingCache(any_sam, folder, in_memory=1)
    stored = again.get(pictures[0]).encoded
    assert again.counts == {"disk": 1}
    assert stored.image_hw == fresh.image_hw == (64, 96)
    assert len(stored.embedding.high_res) == len(fresh.embedding.high_res)
    for one, other in zip(
        (stored.embedding.features, *stored.embedding.high_res),
        (fresh.embedding.features, *fresh.embedding.high_res),
        strict=True,
    ):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    plain = Predictor(any_sam)
    plain.set_image(shapes(0)[0])
    cached = Predictor(any_sam)
    cached.set_embedding(stored)
    click = {"point_coords": [[30.0, 20.0]], "point_labels": [1]}
    assert np.array_equal(plain.predict(**click)[0], cached.predict(**click)[0])


def test_a_picture_is_encoded_once(cache_of: Callable[..., EmbeddingCache], sam: Sam, pictures: list[Path]) -> None:
    cache = cache_of()
    assert cache.get(pictures[0]) is cache.get(pictures[0])
    copy = pictures[0].with_name("copy.png")
    copy.write_bytes(pictures[0].read_bytes())
    assert cache.get(copy) is cache.get(pictures[0])  # what counts is the content
    assert len(sam.noted) == 1
    assert cache.counts == {"encoded": 1, "memory": 3}


def test_a_changed_file_is_encoded_anew(
    cache_of: Callable[..., EmbeddingCache], sam: Sam, pictures: list[Path]
) -> None:
    cache = cache_of()
    before = cache.get(pictures[0])
    pictures[0].write_bytes(picture_bytes(shapes(0, width=80, height=80)[0]))
    assert cache.get(pictures[0]).encoded.image_hw == (80, 80) != before.encoded.image_hw


def test_another_model_does_not_use_it(cache_of: Callable[..., EmbeddingCache], sam: Sam, pictures: list[Path]) -> None:
    cache_of(model_id="aa").get(pictures[0])
    cache_of(model_id="bb").get(pictures[0])
    assert len(sam.noted) == 2


def test_memory_keeps_what_was_used_last(cache_of: Callable[..., EmbeddingCache], pictures: list[Path]) -> None:
    cache = cache_of(in_memory=2, on_disk_mb=0)
    for number in (0, 1, 0, 2, 0):  # 2 drives out 1, not 0
        cache.get(pictures[number])
    assert cache.counts == {"encoded": 3, "memory": 2}
    cache.get(pictures[1])
    assert cache.counts == {"encoded": 4, "memory": 2}


def test_nothing_is_written_where_the_disk_has_no_share(
    cache_of: Callable[..., EmbeddingCache], tmp_path: Path, pictures: list[Path]
) -> None:
    cache_of(on_disk_mb=0).get(pictures[0])
    assert not (tmp_path / "embeddings").exists()


def embedding(kilobytes: int) -> EncodedImage:
    return EncodedImage(ImageEmbedding(torch.zeros(1, kilobytes, 16, 16)), (64, 96))


def test_the_disk_keeps_what_was_used_last(tmp_path: Path) -> None:
    """Three files of 400 KiB in a megabyte, of which another model's counts too."""
    root = tmp_path / "embeddings"
    EmbeddingFolder(root, "old", limit_mb=1).write("a", embedding(400))
    folder = EmbeddingFolder(root, "new", limit_mb=1)
    folder.write("b", embedding(400))
    os.utime(root / "old" / "a.safetensors", ns=(1, 1))
    os.utime(root / "new" / "b.safetensors", ns=(2, 2))
    folder.write("c", embedding(400))
    assert files(tmp_path) == {"new/b.safetensors", "new/c.safetensors"}
    os.utime(root / "new" / "c.safetensors", ns=(3, 3))
    assert folder.read("b") is not None  # used now
    folder.write("d", embedding(400))
    assert files(tmp_path) == {"new/b.safetensors", "new/d.safetensors"}
    folder.write("e", embedding(1100))  # does not fit at all: nothing goes for it
    assert files(tmp_path) == {"new/b.safetensors", "new/d.safetensors"}
    assert sum(path.stat().st_size for path in root.glob("*/*")) <= MIB


@given(where=st.floats(0, 1, exclude_max=True), how=st.sampled_from(["flip", "cut", "empty", "text"]))
def test_damage_is_seen(where: float, how: str) -> None:
    data = bytearray(to_bytes(EncodedImage(ImageEmbedding(torch.ones(1, 2, 3, 3), (torch.ones(1, 1, 6, 6),)), (5, 6))))
    place = int(where * len(data))
    if how == "flip":
        data[place] ^= 1
    elif how == "cut":
        del data[place:]
    else:
        data = bytearray(b"" if how == "empty" else b"not a tensor in here")
    with pytest.raises(InputError):
        from_bytes(bytes(data))


def test_a_damaged_file_is_made_anew(
    cache_of: Callable[..., EmbeddingCache],
    sam: Sam,
    tmp_path: Path,
    pictures: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = cache_of().get(pictures[0])
    (file,) = (tmp_path / "embeddings").glob("*/*")
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    with caplog.at_level(logging.WARNING):
        again = cache_of().get(pictures[0])
    assert torch.equal(again.encoded.embedding.features, whole.encoded.embedding.features)
    assert file.read_bytes() == data
    assert str(file) in caplog.text
    assert "damaged" in caplog.text
    assert len(sam.noted) == 2


def test_two_threads_encode_once(cache_of: Callable[..., EmbeddingCache], sam: Sam, pictures: list[Path]) -> None:
    cache = cache_of()
    sam.encoding_allowed.clear()
    got: list[ReadyImage] = []
    threads = [threading.Thread(target=lambda: got.append(cache.get(pictures[0]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: cache.counts["waited"] == 3)
    sam.encoding_allowed.set()
    for thread in threads:
        thread.join()
    assert len(sam.noted) == 1
    assert len({id(each) for each in got}) == 1


def test_other_pictures_need_not_wait(cache_of: Callable[..., EmbeddingCache], sam: Sam, pictures: list[Path]) -> None:
    cache = cache_of()
    cache.get(pictures[1])
    sam.encoding_allowed.clear()
    thread = threading.Thread(target=lambda: cache.get(pictures[0]))
    thread.start()
    assert eventually(lambda: len(sam.noted) == 2)
    assert cache.get(pictures[1]).encoded.image_hw == (64, 96)  # would hang if it waited
    sam.encoding_allowed.set()
    thread.join()


def test_an_error_reaches_all_and_does_not_stay(cache_of: Callable[..., EmbeddingCache], tmp_path: Path) -> None:
    cache, path = cache_of(), tmp_path / "picture.png"
    path.write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(InputError, match=r"picture\.png"):
            cache.get(path)
    path.write_bytes(picture_bytes(shapes(0)[0]))
    assert cache.get(path).encoded.image_hw == (64, 96)
    with pytest.raises(InputError, match=r"gone\.png"):
        cache.get(tmp_path / "gone.png")


def test_a_full_disk_does_no_harm(
    cache_of: Callable[..., EmbeddingCache], tmp_path: Path, pictures: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "embeddings").write_text("a file where a folder should be")
    cache = cache_of()
    assert cache.get(pictures[0]) is cache.get(pictures[0])
    assert "stays in memory only" in caplog.text


def test_temporary_files_of_killed_processes_go(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings" / "aa"
    folder.mkdir(parents=True)
    old, new = folder / ".a.safetensors.0011.tmp", folder / ".b.safetensors.0022.tmp"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    EmbeddingFolder(tmp_path / "embeddings", "bb", limit_mb=1)
    assert [path.name for path in folder.iterdir()] == [new.name]


def test_ahead_of_the_queue_goes_what_was_opened(
    cache_of: Callable[..., EmbeddingCache],
    ahead_of: Callable[[EmbeddingCache], Precomputer],
    sam: Sam,
    pictures: list[Path],
) -> None:
    cache = cache_of()
    keys = [cache.key(path) for path in pictures]
    made: list[str] = []
    write = cache.folder.write
    cache.folder.write = lambda key, encoded: (made.append(key), write(key, encoded))[1]  # type: ignore[method-assign]
    ahead = ahead_of(cache)
    sam.encoding_allowed.clear()
    ahead.queue(pictures[:4])
    assert eventually(lambda: len(sam.noted) == 1)
    ahead.was_opened(pictures[4])
    sam.encoding_allowed.set()
    assert ahead.wait(30)
    assert made == [keys[number] for number in (0, 4, 1, 2, 3)]
    cache.get(pictures[4])
    cache.get(pictures[3])
    assert cache.counts == {"encoded": 5, "memory": 1, "disk": 1}  # the queue fills the disk, not memory


def test_the_queue_waits_while_somebody_clicks(
    cache_of: Callable[..., EmbeddingCache],
    ahead_of: Callable[[EmbeddingCache], Precomputer],
    sam: Sam,
    pictures: list[Path],
) -> None:
    ahead = ahead_of(cache_of())
    with ahead.clicking():
        ahead.queue(pictures[:2])
        ahead.was_opened(pictures[2])  # that does not wait
        assert eventually(lambda: len(sam.noted) == 1)
        assert not ahead.wait(0.1)
        assert len(sam.noted) == 1
    assert ahead.wait(30)
    assert len(sam.noted) == 3


def test_the_queue_ends_where_the_disk_is_full(
    cache_of: Callable[..., EmbeddingCache],
    ahead_of: Callable[[EmbeddingCache], Precomputer],
    sam: Sam,
    tmp_path: Path,
    pictures: list[Path],
) -> None:
    """The first pictures of a queue are wanted first: the last ones must not drive them out."""
    cache = cache_of()
    size = cache.put_on_disk(pictures[0])
    (tmp_path / "embeddings" / "aa" / f"{cache.key(pictures[0])}.safetensors").unlink()
    cache.folder.limit_bytes = 2 * size + size // 2
    ahead = ahead_of(cache)
    ahead.queue(pictures)
    assert ahead.wait(30)
    assert files(tmp_path) == {f"aa/{cache.key(path)}.safetensors" for path in pictures[:2]}


def test_a_picture_that_cannot_be_read_does_not_end_the_queue(
    cache_of: Callable[..., EmbeddingCache],
    ahead_of: Callable[[EmbeddingCache], Precomputer],
    sam: Sam,
    pictures: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    pictures[0].write_bytes(b"no picture")
    ahead = ahead_of(cache_of())
    ahead.queue([pictures[0], pictures[0].with_name("gone.png"), pictures[1]])
    assert ahead.wait(30)
    assert len(sam.noted) == 1
    assert "0.png" in caplog.text
    assert "gone.png" in caplog.text


def test_what_is_on_disk_is_not_encoded_again(
    cache_of: Callable[..., EmbeddingCache],
    ahead_of: Callable[[EmbeddingCache], Precomputer],
    sam: Sam,
    pictures: list[Path],
) -> None:
    for _ in range(2):
        ahead = ahead_of(cache_of())
        ahead.queue(pictures[:2])
        assert ahead.wait(30)
    assert len(sam.noted) == 2


def test_closing_ends_the_thread(
    cache_of: Callable[..., EmbeddingCache], ahead_of: Callable[[EmbeddingCache], Precomputer], pictures: list[Path]
) -> None:
    ahead = ahead_of(cache_of())
    ahead.queue(pictures)
    ahead.close()
    ahead.queue(pictures)
    assert not [thread for thread in threading.enumerate() if thread.name == "precompute"]
