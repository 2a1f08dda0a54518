"""The example of an annotation tool: two stages of rounds in the hands of somebody who works in CVAT."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.annotation import Check
from engine.rle import encode
from engine.store import Store
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from stages.annotation_tools import annotation_tool
from stages.rounds import tick
from tests.distributions import install_example
from tests.stages.workspaces import ALL_MASKS, make_workspace

SEMI = {"rounds": 1, "images_per_round": 2, "prefill": "generator", "max_prefilled_masks": 3, "generator": ALL_MASKS}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example("cvat_tool", tmp_path / "site", monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    first = {"rounds": 1, "images_per_round": 2}
    return make_workspace(tmp_path, annotator={"kind": "cvat"}, assisted_manual=first, semi_automatic=SEMI)


def folder(store: Store, stage: str = "assisted_manual") -> Path:
    return Path(store.workspace) / "cvat" / stage / "1"


def truth(store: Store, name: str) -> list[Rle]:
    return [Rle.of_row(row) for row in store.read_image(GROUND_TRUTH, int(Path(name).stem)).to_pylist()]


def work_in_cvat(at: Path, change: Callable[[Any], Any], *, only: int | None = None, file: str = "job.xml") -> None:
    """Export what was uploaded, each picture with its shapes changed."""
    from cvat_xml import read_annotations, write_annotations

    images = read_annotations((at / "to_annotate" / "annotations.xml").read_bytes(), name="uploaded")[:only]
    made = write_annotations([change(image) for image in images], labels=["object"], attribute="made_from")
    (at / "done" / file).write_bytes(made)


def draw_everything(store: Store) -> Callable[[Any], Any]:
    from cvat_xml import CvatImage, CvatShape

    def drawn(image: CvatImage) -> CvatImage:
        shapes = tuple(CvatShape("object", rle) for rle in truth(store, image.name))
        return CvatImage(image.name, image.height, image.width, shapes)

    return drawn


def test_a_round_waits_for_files_and_goes_on_when_they_are_there(store: Store) -> None:
    assert tick(store, "assisted_manual").action == "open"
    waiting = tick(store, "assisted_manual")
    assert waiting.state == "waiting"
    assert f"0 of 2 images are annotated; tasks are in {folder(store)}" in waiting.message
    assert len(list((folder(store) / "to_annotate").glob("*.jpg"))) == 2
    assert tick(store, "assisted_manual") == waiting, "nothing is published twice"
    work_in_cvat(folder(store), draw_everything(store), only=1)
    assert "1 of 2" in tick(store, "assisted_manual").message
    work_in_cvat(folder(store), draw_everything(store), file="all.xml")
    assert tick(store, "assisted_manual").state == "advanced"
    rows = store.read_table("assisted_manual").to_pylist()
    expected = {rle for image_id in store.rounds()[0].image_ids for rle in truth(store, f"{image_id}.jpg")}
    assert {Rle.of_row(row) for row in rows} == expected
    assert {(row["origin"], row["annotator"], row["model_id"]) for row in rows} == {("manual", "cvat", "")}
    assert {event["kind"] for event in store.read_table("events").to_pylist()} == {"draw"}


def test_prefilled_masks_are_kept_mended_and_deleted(store: Store) -> None:
    from cvat_xml import CvatImage, CvatShape

    for _ in range(2):
        tick(store, "assisted_manual")
    work_in_cvat(folder(store), draw_everything(store))
    while tick(store, "assisted_manual").state != "done":
        pass

    def changed(image: CvatImage) -> CvatImage:
        kept, mended, *_ = image.shapes
        smaller = np.zeros((image.height, image.width), dtype=bool)
        smaller[3:9, 4:11] = True
        edited = CvatShape("object", encode(smaller), mended.attributes)
        return replace(image, shapes=(kept, edited, CvatShape("object", truth(store, image.name)[0])))

    while tick(store, "semi_automatic").state != "waiting":
        pass
    work_in_cvat(folder(store, "semi_automatic"), changed)
    assert tick(store, "semi_automatic").state == "advanced"
    rows = store.read_table("semi_automatic").to_pylist()
    for image_id in {row["image_id"] for row in rows}:
        of_image = {row["origin"]: row for row in rows if row["image_id"] == image_id}
        assert of_image.keys() == {"automatic", "automatic_corrected", "manual"}
        assert of_image["automatic"]["points"]
        mended = of_image["automatic_corrected"]
        assert (mended["area"], mended["bbox"]) == (42, [4.0, 3.0, 11.0, 9.0])
        assert mended["mask_prompt"]
        assert not mended["points"]
    metrics = store.rounds("semi_automatic")[0].metrics
    assert metrics.prefilled_kept_frac == metrics.prefilled_edited_frac
    assert metrics.prefilled_deleted_frac == pytest.approx(1 - 2 * metrics.prefilled_kept_frac)


def test_setup_and_doctor(store: Store) -> None:
    tool = annotation_tool(store, store.files.settings())
    (missing,) = tool.doctor("assisted_manual")
    assert "sam-engine labeling setup" in missing.remedy
    assert tool.setup("assisted_manual").changed == ("wrote labels.json",)
    assert tool.setup("assisted_manual").changed == ()
    for _ in range(2):
        tick(store, "assisted_manual")
    (folder(store) / "done" / "bad.xml").write_text("<annotations>")
    labels, bad = tool.doctor("assisted_manual")
    assert labels == Check("labels")
    assert "bad.xml: not XML" in bad.remedy
    with pytest.raises(InputError, match=r"bad.xml: not XML"):
        tick(store, "assisted_manual")


def test_a_picture_of_another_size_is_refused(store: Store) -> None:
    for _ in range(2):
        tick(store, "assisted_manual")
    work_in_cvat(folder(store), lambda image: replace(image, height=image.height + 1))
    with pytest.raises(InputError, match=r"is 56x49 px, and was published as 56x48"):
        tick(store, "assisted_manual")
