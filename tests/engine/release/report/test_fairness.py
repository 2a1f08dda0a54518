"""mIoU by groups, by hand; tables of labels; groups of which nothing can be said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.places import place
from engine.quality.audit import Estimate
from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.report.fairness import (
    Group,
    LabelledScores,
    Labels,
    disjoint,
    fairness_section,
    group_scores,
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


def scores(pictures: list[int], ious: list[float]) -> LabelledScores:
    return LabelledScores(np.arange(len(ious)), np.array(pictures), {1: np.array(ious), 3: np.array([0.9] * len(ious))})


def test_means_are_over_masks_and_intervals_over_pictures() -> None:
    labels = {0: {"age": "young"}, 1: {"age": "young"}, 2: {"age": "young"}, 3: {"age": "old"}, 4: {"age": ""}}
    young, old = reversed(group_scores(scores([0, 0, 1, 2, 3], [0.2, 0.4, 0.9, 0.7, 0.1]), labels, "age"))
    assert (young.name, young.masks, young.pictures) == ("young", 3, 2)
    assert young.mean[1] == pytest.approx(0.5)
    found = young.miou[1]
    assert found is not None
    assert found.value == pytest.approx(0.5)
    # Of two pictures, the first (mean 0.3) or the second (0.9) may be drawn twice.
    assert found.low < 0.35
    assert found.high > 0.7
    assert (old.masks, old.mean[1], old.miou[1]) == (1, pytest.approx(0.7), None)


def test_equal_masks_have_an_interval_of_no_width() -> None:
    (group,) = group_scores(scores([0, 1, 2], [0.5] * 3), {key: {"a": "x"} for key in range(3)}, "a")
    assert group.miou[3] == Estimate(pytest.approx(0.9), pytest.approx(0.9), pytest.approx(0.9))


def group(name: str, low: float | None, high: float = 0.0) -> Group:
    found = None if low is None else Estimate((low + high) / 2, low, high)
    return Group(name, 9, 9, {1: 0.5}, {1: found})


def test_intervals_that_touch_are_not_disjoint() -> None:
    groups = [group("a", 0.5, 0.6), group("b", 0.6, 0.7), group("c", 0.1, 0.4), group("d", None)]
    assert disjoint(groups, 1) == [("a", "c"), ("b", "c")]
    assert disjoint(groups[::-1], 1) == [("b", "c"), ("a", "c")]
    assert disjoint([group("a", None), group("b", 0.1, 0.2)], 1) == []


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
