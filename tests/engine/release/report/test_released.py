"""Reading a release for a report: at a URL, in both formats, and only the files that are needed."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from engine.places import Place, copy, place
from engine.release.build import build_release
from engine.release.reader import Release, names_in
from engine.release.report.geography import geography_section, read_countries
from engine.release.report.released import ReleasedMasks, open_release
from engine.release.report.world import World
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError


@pytest.fixture
def release(store: Store) -> Path:
    return build_release(store, config=ReleaseConfig(images_per_tar=3)).path


def items_of(release: ReleasedMasks) -> list[tuple[int, ...]]:
    sample = release.properties().sample
    return sorted(tuple(map(int, item)) for item in sample.take(sample.counts()))


def test_a_sample_names_masks_and_gives_their_pixels(release: Path) -> None:
    released = ReleasedMasks(place(release))
    pictures = list(Release(release))
    expected = {
        (number, picture.row["image_id"], row["id"]): mask.rle
        for number, tar in enumerate(released.manifest.tars)
        for picture in pictures
        if picture.row["tar"] == tar.tar.name
        for row, mask in zip(picture.mask_rows, picture.masks(), strict=True)
    }
    items = items_of(released)
    assert items == sorted(expected)
    some = items[::3]
    assert sorted(released.masks(list(some))) == sorted(expected[item] for item in some)
    assert released.masks([]) == []


def test_a_release_is_read_at_a_url(release: Path) -> None:
    there: Place = place("memory://bucket/release")
    for name in names_in(place(release)):
        copy(place(release) / name, there / name)
    here, far = ReleasedMasks(place(release)), ReleasedMasks(there)
    items = items_of(here)
    assert items_of(far) == items
    assert far.masks(list(items)) == here.masks(list(items))
    assert far.made == here.made


def test_counts_are_those_of_the_index(release: Path) -> None:
    found = ReleasedMasks(place(release)).properties()
    pictures = list(Release(release))
    assert (found.pictures, found.masks) == (len(pictures), sum(len(one.mask_rows) for one in pictures))
    boxes = np.array([row["bbox_xyxy"] for one in pictures for row in one.mask_rows])
    sizes = np.array([(one.width, one.height) for one in pictures for _ in one.mask_rows])
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 / sizes).T
    expected, _, _ = np.histogram2d(y, x, bins=9, range=((0, 1), (0, 1)))
    np.testing.assert_allclose(found.density(9) * found.masks / 81, expected)


def test_progress_is_told_by_tars(release: Path) -> None:
    told: list[tuple[str, int, int]] = []
    released = ReleasedMasks(place(release), "name", progress=lambda *how_far: told.append(how_far))
    released.properties()
    assert told == [("name: index", done, 3) for done in (1, 2, 3)]


def test_a_folder_that_is_no_release_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a release: cannot read manifest\.json"):
        open_release(place(tmp_path))


class TestFormat1:
    """Pictures and masks are called by their content ids there."""

    @pytest.fixture
    def first(self, tmp_path: Path) -> Path:
        with tarfile.open(Path(__file__).parent.parent / "kept_releases" / "format_1.tar.xz") as kept:
            kept.extractall(tmp_path, filter="data")
        return tmp_path / "format_1"

    def test_masks_are_counted_and_found(self, first: Path) -> None:
        released = ReleasedMasks(place(first))
        pictures = list(Release(first))
        masks = [mask.rle for picture in pictures for mask in picture.masks()]
        assert sorted(released.masks(list(items_of(released)))) == sorted(masks)
        ids = {row["content_id"] for picture in pictures for row in picture.mask_rows}
        for content_ids in (True, False):
            found = [mask for one in released.labelled(ids, content_ids=content_ids) for mask in one.masks.values()]
            assert sorted(found) == sorted(masks)

    def test_countries_by_content_id(self, first: Path, tmp_path: Path) -> None:
        rows = [picture.row for picture in Release(first)]
        path = tmp_path / "countries.csv"
        path.write_text("content_id,country\n" + "".join(f"{row['content_id']},Kenya\n" for row in rows))
        world = World()
        found = geography_section(ReleasedMasks(place(first)), table=read_countries(path, world), world=world)
        assert found.values["countries"] == {"KE": {"pictures": 3, "masks": sum(row["masks"] for row in rows)}}
