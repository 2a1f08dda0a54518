"""mIoU by groups, by hand; tables of labels; groups of which nothing can be said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.places import place
from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.report.fairness import (
    Labels,
    fairness_section,
    read_groups,
)
from engine.release.report.released import ReleasedMasks
from engine.release.report.sections import Section
from engine.store import Store
from model.predictor import Predictor
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.evaluation.fakes import ThreeHalves

MakeSection = Callable[..., Section]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a header with mask_id or id and at least one other column, found nothing"),
        ("mask_id\n1\n", "at least one other column, found mask_id"),
        ("mask,age\n1,old\n", "needs a header with mask_id or id and .* found mask, age"),
        ("mask_id,age\n", "no row below its header"),
        ("mask_id,age\nx,old\n", "mask_id 'x' is no whole number"),
        ("mask_id,age\n1,old\n1,young\n", "mask_id 1 stands there twice; give each mask one line"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_groups(path)


def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes("\ufeffmask_id,age,skin tone\r\n7, old ,\r\n8,young,3\r\n".encode())
    expected = {7: {"age": "old", "skin tone": ""}, 8: {"age": "young", "skin tone": "3"}}
    assert read_groups(path) == Labels(expected, content_ids=True)
    path.write_text(path.read_text(encoding="utf-8-sig").replace("mask_id", "id"))
    assert read_groups(path) == Labels(expected, content_ids=False)
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: No such file"):
        read_groups(tmp_path / "none.csv")
    path.write_bytes(b"mask_id,age\n1,\xff\n")
    with pytest.raises(InputError, match="no CSV in UTF-8"):
        read_groups(path)


class TestSection:
    @pytest.fixture
    def release(self, store: Store) -> Path:
        return build_release(store, config=ReleaseConfig(images_per_tar=3)).path

    @pytest.fixture
    def section(self, release: Path) -> MakeSection:
        def make(labels: dict[int, dict[str, str]], *, content_ids: bool = True) -> Section:
            predictor, groups = Predictor(ThreeHalves()), Labels(labels, content_ids)
            return fairness_section(ReleasedMasks(place(release)), groups=groups, predictor=predictor, model="fake")

        return make

    @pytest.mark.parametrize("column", ["content_id", "id"])
    def test_every_labelled_mask_is_measured_once(self, release: Path, section: MakeSection, column: str) -> None:
        pictures = list(Release(release))
        labels = {row[column]: {"half": "first"} for row in pictures[0].mask_rows + pictures[4].mask_rows}
        labels |= {row[column]: {"half": "second"} for row in pictures[-1].mask_rows}
        labels |= {10**9: {"half": "absent"}}
        found = section(labels, content_ids=column == "content_id")
        groups = found.values["half"]["groups"]
        assert {name: (its["masks"], its["pictures"]) for name, its in groups.items()} == {
            "first": (10, 2),
            "second": (5, 1),
        }
        assert 0 <= groups["first"]["points_1"]["low"] <= groups["first"]["points_1"]["miou"] <= 1
        assert groups["second"]["points_1"]["low"] is None
        assert found.values["half"]["disjoint"] == {"points_1": [], "points_3": []}
        notes = "\n".join(found.notes)
        assert "Rows of the table whose mask is not in this release: 1." in notes
        assert "Masks that were made by a model, where likeness to it is measured: 15." in notes
        assert "half, absent: no mask in this release." in notes
        assert "half, second: masks of a single picture (5), so no interval." in notes
        assert "half, 3 points: disjoint intervals: none." in notes

    def test_none_of_the_masks_is_one_line(self, section: MakeSection) -> None:
        with pytest.raises(InputError, match="has none of the 2 masks that the table of groups names"):
            section({5: {"a": "x"}, 6: {"a": "y"}})
