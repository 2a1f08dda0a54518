"""Published weights, from a local server in place of their own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.config import FETCHED, MODEL_SIZES
from model.fetch import PUBLISHED, PublishedWeights, fetch
from model.files import file_sha256
from model.registry import ModelCard, list_models
from model.sam import Sam
from model.storage import load_model, save_model
from schemas.errors import InputError, WaitError
from tests.model.file_server import FileServer, serve


@pytest.fixture
def server(nano_pth: Path) -> Iterator[FileServer]:
    with serve(nano_pth.read_bytes()) as server:
        yield server


@pytest.fixture
def published(server: FileServer, nano_pth: Path) -> dict[str, PublishedWeights]:
    size = nano_pth.stat().st_size
    return {"small": PublishedWeights(server.url, sha256=file_sha256(nano_pth), size_bytes=size)}


def test_fetched_weights_become_a_model(
    server: FileServer, published: dict[str, PublishedWeights], nano_sam: Sam, tmp_path: Path
) -> None:
    server.cuts = [2_000_000]
    seen: list[int] = []
    info = fetch("small", tmp_path, published=published, progress=lambda done, _: seen.append(done))
    loaded, found = load_model("small", [tmp_path])
    assert found == info
    assert info.card.source["url"] == server.url
    assert info.card.source["sha256"] == published["small"].sha256
    assert seen[-1] == published["small"].size_bytes
    for name, weight in nano_sam.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != info.folder] == []


def test_what_is_here_is_not_fetched_again(
    server: FileServer, published: dict[str, PublishedWeights], tmp_path: Path
) -> None:
    first = fetch("small", tmp_path, published=published)
    assert fetch("small", tmp_path, published=published) == first
    assert len(server.ranges) == 1


def test_nothing_is_fetched_for_a_name_that_another_model_has(
    server: FileServer, published: dict[str, PublishedWeights], nano_sam: Sam, tmp_path: Path
) -> None:
    save_model(nano_sam, tmp_path, ModelCard(name="small"))
    with pytest.raises(InputError, match="small: another model has this name"):
        fetch("small", tmp_path, published=published)
    assert server.ranges == []


def test_an_interrupted_fetch_leaves_no_model_and_goes_on(
    server: FileServer, published: dict[str, PublishedWeights], tmp_path: Path
) -> None:
    server.cuts = [1_000_000, 0, 0, 0]
    with pytest.raises(WaitError, match="stopped at 1000000 of"):
        fetch("small", tmp_path, published=published)
    assert list_models([tmp_path]) == []
    fetch("small", tmp_path, published=published)
    assert server.ranges[-1] == "bytes=1000000-"


def test_a_file_that_is_not_the_published_one(
    server: FileServer, published: dict[str, PublishedWeights], tmp_path: Path
) -> None:
    server.content = server.content[:-1] + b"x"
    with pytest.raises(InputError, match="not the published one"):
        fetch("small", tmp_path, published=published)
    assert list_models([tmp_path]) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no published weights 'vit_x'; choose one of vit_h, vit_l, vit_b, vit_t"):
        fetch("vit_x", tmp_path)


def test_published_weights_have_an_architecture_and_a_full_checksum() -> None:
    assert tuple(PUBLISHED) == FETCHED
    assert MODEL_SIZES.keys() >= set(FETCHED)
    for weights in PUBLISHED.values():
        assert weights.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
    assert len({weights.sha256 for weights in PUBLISHED.values()}) == 8
    # 4 bytes a weight and less than 1 MB for names: the sizes fit the architectures; SAM 2.1 also remembers videos
    for name, weights in PUBLISHED.items():
        with torch.device("meta"):
            count = sum(tensor.numel() for tensor in Sam(MODEL_SIZES[name]()).state_dict().values())
        least, most = (20_000_000, 41_000_000) if name.startswith("sam2.1") else (0, 1_000_000)
        assert least < weights.size_bytes - 4 * count < most, name
