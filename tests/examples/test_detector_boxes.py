"""The example of a stage, known by its entry point alone: it runs in the loop behind the built-in ones.

Which stages there are is found once a process, so commands that know this one run in a process of their own.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from deltalake import DeltaTable

from engine.rle import decode
from engine.store import Store
from schemas.mask import Mask
from schemas.sa1b import BoxXYWH, from_xywh
from schemas.stages import STAGES
from tests.distributions import path_with_example
from tests.flows.cli_runner import Finished, sam_engine, sam_engine_with
from tests.stages.workspaces import make_workspace, shapes


@dataclass(frozen=True)
class Site:
    """An environment with the package, and a workspace whose built-in stages are through."""

    sam_engine: Callable[..., Finished]
    workspace: Path
    boxes: Path

    def use(self, **options: Any) -> None:
        """Name the stage in engine.yaml."""
        file = self.workspace / "engine.yaml"
        settings = yaml.safe_load(file.read_text()) | {"stages": {"detector_boxes": options}}
        file.write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    store = make_workspace(folder, images=4, holdout=1, through=STAGES[:3], assisted_manual={"rounds": 1})
    boxes = folder / "boxes.json"
    pictures = [{"id": number, "file_name": f"elsewhere/{number}.png"} for number in range(3)]
    found = [
        {"image_id": number, "bbox": _xywh(mask), "score": score}
        for number in range(3)
        for mask, score in zip(shapes(number)[1], (0.9, 0.6, 0.1), strict=True)
    ]
    boxes.write_text(json.dumps({"images": pictures, "annotations": found}))
    with sam_engine_with(path_with_example("detector_boxes", folder / "packages")) as run:
        yield Site(run, store.workspace, boxes)


def _xywh(mask: np.ndarray) -> BoxXYWH:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def test_it_is_in_no_workspace_that_does_not_name_it(site: Site) -> None:
    done = site.sam_engine("status", site.workspace, "--json")
    assert done.status == 0, done.err
    assert list(json.loads(done.out)["stages"]) == ["assisted_manual", "semi_automatic", "fully_automatic"]
    refused = site.sam_engine("run", "detector-boxes", site.workspace)
    assert refused.status == 2
    assert "does not use the stage detector_boxes; name it" in refused.err
    assert not (site.workspace / "tables" / "detector_boxes").exists()


def test_it_runs_in_the_loop_and_its_masks_are_released(site: Site) -> None:
    site.use(boxes=str(site.boxes), min_score=0.5)
    for expected in ("round 1 is open: 4 images", "6 masks on 4 images", "model "):
        done = site.sam_engine("run", "detector_boxes", site.workspace)
        assert done.status == 0, done.err
        assert f"detector_boxes: {expected}" in done.out
    again = site.sam_engine("run", "detector_boxes", site.workspace)
    assert "all images have automatic masks" in again.out

    found = json.loads(site.sam_engine("status", site.workspace, "--json").out)
    assert list(found["stages"])[-1] == "detector_boxes"
    assert found["rows"]["detector_boxes"] == 6
    assert found["rounds"][-1]["stage"] == "detector_boxes"
    assert found["rounds"][-1]["state"] == "retrained"
    cards = [json.loads(file.read_text()) for file in (site.workspace / "models").glob("*/card.json")]
    (card,) = [card for card in cards if card["name"].startswith("detector_boxes")]
    assert card["trained_on"]["versions"]["detector_boxes"] > 0

    built = site.sam_engine("release", "build", site.workspace, "--stage", "detector_boxes", "--json")
    assert built.status == 0, built.err
    assert json.loads(built.out)["masks"] == 6
    verified = site.sam_engine("release", "verify", json.loads(built.out)["path"])
    assert verified.status == 0, verified.err


def test_masks_say_which_box_made_them(site: Site) -> None:
    """Of the run above."""
    numbers = {row["image_id"]: int(Path(row["source"]).stem) for row in Store(site.workspace).images().to_pylist()}
    masks = [
        (numbers[row["image_id"]], Mask.from_row(row))
        for row in DeltaTable(str(site.workspace / "tables" / "detector_boxes")).to_pyarrow_table().to_pylist()
    ]
    expected = {(number, from_xywh(_xywh(mask))) for number in range(3) for mask in shapes(number)[1][:2]}
    assert {(number, mask.prompt.box) for number, mask in masks} == expected
    for _, mask in masks:
        assert mask.prompt.points == ()
        assert (mask.origin, mask.annotator) == ("automatic", "generator")
        assert mask.area == decode(mask.rle).sum() > 0


def test_what_is_wrong_with_its_options_is_said_in_one_line(site: Site) -> None:
    for options, message in (
        ({}, "stages: detector_boxes: field required, found {} for 'boxes'"),
        ({"boxes": "b.json", "speed": 3}, "stages: detector_boxes: unknown key 'speed'"),
        ({"boxes": "b.json", "min_score": 2}, "less than or equal to 1, found 2 for 'min_score'"),
    ):
        site.use(**options)
        refused = site.sam_engine("status", site.workspace)
        assert refused.status == 2
        assert message in refused.err
        assert len(refused.err.strip().splitlines()) == 1


def test_without_the_package_the_workspace_says_so_and_goes_on(site: Site) -> None:
    site.use(boxes=str(site.boxes))
    refused = sam_engine("status", site.workspace)
    assert refused.status == 2
    assert "no installed package brings a stage 'detector_boxes' (there are: none)" in refused.err
    file = site.workspace / "engine.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"stages": {}}))
    told = sam_engine("status", site.workspace)
    assert told.status == 0, told.err
    assert "detector_boxes: no installed package brings this stage, so it is left alone" in told.out
    assert {record.stage for record in Store(site.workspace).rounds()} == {
        "assisted_manual",
        "semi_automatic",
        "fully_automatic",
    }
