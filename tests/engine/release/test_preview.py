"""The sheet of what would be blurred."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from engine.ingest import ingest
from engine.places import LocalPlace
from engine.release.preview import write_preview
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import draw
from tests.templates import new_store

RED = np.array([255, 60, 60])


@pytest.fixture
def made(tmp_path: Path) -> Store:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "pictures" / "face.png")
    for number in range(5):
        Image.fromarray(draw(60, 90, number)).save(tmp_path / "pictures" / f"{number}.png")
    store = new_store(tmp_path / "workspace")
    ingest(store, [tmp_path / "pictures"])
    return store


def test_the_sheet_shows_the_pictures_with_most_to_blur_first_blurred_and_framed(made: Store, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    sheet = LocalPlace(tmp_path / "sheets" / "one.jpg")
    preview = write_preview(made, sheet, progress=lambda *step: told.append(step))
    assert (preview.pictures, preview.regions) == (6, {"faces": 1, "plates": 0})
    assert told == [("preview", done, 6) for done in range(1, 7)]
    pixels = np.asarray(Image.open(sheet.path)).astype(int)
    first = pixels[16 : 16 + 480, 16 : 16 + 480]
    # The frame's upper side and left side, a pixel wide, which JPEG blurs a little.
    assert np.abs(first[22:31, 150:270] - RED).sum(axis=2).mean(axis=1).min() < 150
    assert np.abs(first[40:180, 141:150] - RED).sum(axis=2).mean(axis=0).min() < 150
    face = skimage.data.astronaut()[62:184, 173:277]
    shown = first[58:172, 162:260].astype(np.uint8)
    assert cv2.Laplacian(shown, cv2.CV_64F).var() < cv2.Laplacian(face, cv2.CV_64F).var() / 10


def test_the_seed_draws_the_pictures_and_the_same_seed_the_same(made: Store, tmp_path: Path) -> None:
    def sheet(seed: int) -> bytes:
        target = LocalPlace(tmp_path / "sheet.jpg")
        assert write_preview(made, target, pictures=2, seed=seed).pictures == 2
        return target.read()

    assert sheet(1) == sheet(1)
    assert len({sheet(seed) for seed in range(5)}) > 1


def test_what_is_found_is_shown_also_where_nothing_would_be_blurred(made: Store, tmp_path: Path) -> None:
    config = ReleaseConfig(blur=False, blur_detectors=("faces",))
    assert write_preview(made, LocalPlace(tmp_path / "sheet.jpg"), config=config).regions == {"faces": 1}


def test_a_workspace_without_pictures_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pictures to look at; add some with: sam-engine ingest"):
        write_preview(new_store(tmp_path / "empty"), LocalPlace(tmp_path / "sheet.jpg"))
