"""The simulated annotator as a tool: what it is handed of a shard, and what it gives back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.annotation import AnnotationProgress, Check, ImageWork, Link, ShownImage
from engine.keys import content_key
from engine.store import Store
from model.predictor import Predictor
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH, Round
from stages import simulated_tool
from stages.simulated_tool import LazyImage, SimulatedTool
from tests.engine.stores import store_of_images
from tests.stages.workspaces import make_workspace, shapes, tiny_sam


class Work:
    """An open round in which no mask is shown ready-made but one, on the second picture."""

    prefill_settings: Sequence[object] = ("settings", 5)

    def __init__(self, store: Store) -> None:
        self.store = store
        self.predictor = Predictor(tiny_sam())
        self.record = Round("semi_automatic", 2, tuple(store.images()["image_id"].to_pylist()), model_before="m")

    def shown(self, image_ids: Sequence[int]) -> Iterator[ShownImage]:
        for place, image_id in enumerate(image_ids):
            mask = rle_codec.measured(rle_codec.encode(shapes(0)[1][0]))
            masks = (replace(mask, origin="automatic"),) if place == 1 else ()
            yield ShownImage(image_id, self.store.load_image(image_id), masks, (), "m", "", ({"row": place},))


def test_there_is_nothing_to_set_up_and_nothing_to_wait_for(tmp_path: Path) -> None:
    store = store_of_images(tmp_path, [3])
    tool = SimulatedTool(store, store.files.settings())
    assert tool.setup("semi_automatic") == Link("semi_automatic", "", ())
    assert tool.publish(None) is None  # type: ignore[func-returns-value,arg-type]
    assert tool.collect(None) == AnnotationProgress(finished=True)  # type: ignore[arg-type]


def test_it_needs_ground_truth(tmp_path: Path) -> None:
    remedy = "no image has ground truth to click from; ingest a COCO json with masks"
    for name, has, said in (("none", False, remedy), ("some", True, "")):
        store = store_of_images(tmp_path / name, [3, 4], has_ground_truth=has)
        assert list(SimulatedTool(store, store.files.settings()).doctor("semi_automatic")) == [
            Check("ground truth", said)
        ]


def test_each_image_is_annotated_from_its_own_ground_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    shard = store.shards()[0]
    ids = store.images()["image_id"].to_pylist()
    work, asked = Work(store), []

    def annotate(self: Any, image: LazyImage, targets: Sequence[Rle], **options: Any) -> ImageWork:
        asked.append((sorted(targets), options | {"rng": options["rng"].integers(2**62)}))
        return ImageWork(clock_s=options["clock_s"] + 7.5)

    monkeypatch.setattr(simulated_tool.SimulatedAnnotator, "annotate", annotate)
    found = list(SimulatedTool(store, store.files.settings()).annotated(work, shard, ids))  # type: ignore[arg-type]
    truth = {image_id: store.read_image(GROUND_TRUTH, image_id).to_pylist() for image_id in ids}
    for place, (image, (targets, options)) in enumerate(zip(found, asked, strict=True)):
        assert (image.image_id, image.annotator, image.model_id) == (ids[place], "simulated", "m")
        assert image.work == ImageWork(clock_s=7.5 * (place + 1)), "the clock runs on"
        assert tuple(image.generation) == ({"row": place},)
        assert targets == sorted(Rle.of_row(row) for row in truth[ids[place]])
        assert (options["clock_s"], options["model_id"]) == (7.5 * place, "m")
        assert len(options["prefilled"]) == (place == 1)
        seed = int(content_key("clicks", 0, "semi_automatic", 2, ids[place]), 16)
        assert options["rng"] == np.random.default_rng(seed).integers(2**62)


def test_an_image_without_ground_truth_is_passed_over(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=1, holdout=0)
    shard, ids = store.shards()[0], store.images()["image_id"].to_pylist()
    store.replace_shard(
        GROUND_TRUTH, shard, store.read_shard(GROUND_TRUTH, shard).slice(0, 0), key=content_key("nothing")
    )
    (image,) = SimulatedTool(store, store.files.settings()).annotated(Work(store), shard, ids)  # type: ignore[arg-type]
    assert image.work is not None
    assert [event.kind for event in image.work.events] == ["skip"]


def test_its_work_follows_from_its_settings_the_ground_truth_and_what_is_prefilled(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=2, holdout=0)
    shard, config = store.shards()[0], store.files.settings()
    tool, work = SimulatedTool(store, config), Work(store)
    truth = store.committed(GROUND_TRUTH, shard)
    assert truth
    assert tool.settings(work, shard, []) == (config.annotator.model_dump_json(), truth, "settings", 5)  # type: ignore[arg-type]


def test_an_image_is_encoded_once_and_only_when_it_is_prompted() -> None:
    predictor, encoded = Predictor(tiny_sam()), []
    set_image = predictor.set_image
    predictor.set_image = lambda image: (encoded.append(image), set_image(image))  # type: ignore[method-assign]
    pixels = shapes(0)[0]
    image = LazyImage(predictor, pixels)
    assert image.image_size == 64
    assert encoded == []
    assert image.input_hw == (55, 64)
    assert image.predictor() is predictor
    assert len(encoded) == 1
    assert encoded[0] is pixels
