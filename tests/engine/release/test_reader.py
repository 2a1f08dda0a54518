"""Reading a release gives back what was released."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import SIZES


@pytest.fixture
def path(store: Store) -> Path:
    return build_release(store, config=ReleaseConfig(images_per_tar=3, shortest_side_px=40)).path


def test_every_picture_with_its_masks_in_order(path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    release = Release(path, progress=lambda *how_far: told.append(how_far))
    pictures = list(release)
    assert len(pictures) == len(release) == len(SIZES)
    assert sum(len(picture.masks()) for picture in pictures) == release.manifest.masks
    assert told == [("reading", done, len(SIZES)) for done in range(1, len(SIZES) + 1)]
    for picture in pictures:
        assert picture.pixels().shape == (picture.height, picture.width, 3)
        for mask, row in zip(picture.masks(), picture.mask_rows, strict=True):
            assert (mask.rle.height, mask.rle.width) == (picture.height, picture.width)
            assert int(coco_mask.area(mask.rle.to_coco())) == mask.area == row["area"]
            x0, y0, x1, y1 = mask.box
            np.testing.assert_array_equal(coco_mask.toBbox(mask.rle.to_coco()), (x0, y0, x1 - x0, y1 - y0))
            assert (mask.origin, mask.model_id, mask.annotator) == (row["origin"], row["model_id"], row["annotator"])


def test_a_release_of_the_first_format_is_whole_and_called_by_content_ids(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parent / "kept_releases" / "format_1.tar.xz") as kept:
        kept.extractall(tmp_path, filter="data")
    assert verify_release(tmp_path / "format_1") == []
    pictures = list(Release(tmp_path / "format_1"))
    assert [len(picture.masks()) for picture in pictures] == [5, 6, 6]
    for picture in pictures:
        assert picture.row["content_id"] == picture.row["image_id"] > 2**53
        for annotation, row in zip(picture.record.annotations, picture.mask_rows, strict=True):
            assert annotation.id == row["id"] == row["content_id"]


def _without_a_tar(path: Path) -> None:
    next(path.glob("*.tar")).unlink()


def _with_half_a_tar(path: Path) -> None:
    tar = next(path.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:700])


def _with_another_index(path: Path) -> None:
    first, second, *_ = sorted((path / "index" / "masks").iterdir())
    first.write_bytes(second.read_bytes())


@pytest.mark.parametrize("damage", [_without_a_tar, _with_half_a_tar, _with_another_index])
def test_what_cannot_be_read_is_named_with_the_command_that_says_more(
    damage: Callable[[Path], None], path: Path
) -> None:
    damage(path)
    with pytest.raises(InputError, match=r"\.tar: cannot be read with its index: .*sam-engine release verify"):
        list(Release(path))


def test_a_folder_that_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a release"):
        Release(tmp_path)


def test_a_broken_manifest_names_the_key(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"masks": -1}))
    with pytest.raises(InputError, match="broken manifest: masks"):
        Release(path)
