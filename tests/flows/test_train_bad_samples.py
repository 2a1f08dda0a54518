"""`train` and `train-detector` on data as people have it: damaged, missing, small and turned pictures, odd devices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import rle as rle_codec
from engine.importance import IMPORTANCE_FILE, read_importance
from engine.known_pictures import KNOWN_PICTURES_FILE, read_known_pictures
from engine.labels.frames import MaskFrame
from engine.orientation import upright
from engine.samples import CocoSamples
from model.object_detector import DETECTOR_FOLDER, load_detector
from model.registry import read_info
from model.storage import load_model
from tests.flows.cli_runner import Finished, sam_engine
from tests.flows.test_train import one_error_line, train
from tests.flows.test_train_detector import models as models
from tests.pictures import shapes, write_coco

PHASES = "phases=[{until: 4, batch_size: 2, masks_per_image: 2, correction_points: 0}]"
WHOLE_EPOCH = ("--set", PHASES, "--set", "loader_workers=0")


def bad_data(folder: Path, *, count: int) -> Path:
    """Pictures of which 0 is cut off, 1 is missing, 2 has broken masks alone and 3 is too small."""
    coco = write_coco(folder, count=count)
    pictures = folder / "shapes"
    (pictures / "0.png").write_bytes((pictures / "0.png").read_bytes()[:900])
    (pictures / "1.png").unlink()
    Image.new("RGB", (9, 9)).save(pictures / "3.png")
    content = json.loads(coco.read_text())
    for record in content["annotations"]:
        if record["image_id"] == 2:
            record["segmentation"] = [[1, 2, 3]]
    coco.write_text(json.dumps(content))
    return coco


def detector(coco: Path, *options: object) -> Finished:
    return sam_engine("train-detector", "--coco", coco, "--model", "tiny", "--device", "cpu", "--steps", 2, *options)


def check_skipped(skipped: dict[str, Any]) -> None:
    assert (skipped["unreadable"], skipped["of"]) == (4, 9)
    reasons = " ".join(skipped["listed"])
    for part in ("1.png: no such file", "2.png: none of its", "0.png: the picture is damaged", "3.png: 9x9 px"):
        assert part in reasons


def test_bad_pictures_are_skipped_counted_and_listed(models: Path, tmp_path: Path) -> None:
    coco = bad_data(tmp_path / "incoming", count=9)
    done = train(coco, *WHOLE_EPOCH, "--name", "mine", "--max-bad-frac", 0.5, "--json")
    assert done.status == 0, done.err
    check_skipped(done.result["skipped"])
    assert read_info(models / "mine").card.metrics["skipped"] == done.result["skipped"]
    assert done.err.count("skipped: ") == 2, "those that only reading finds; the others are told before"
    again = train(coco, *WHOLE_EPOCH, "--name", "mine", "--max-bad-frac", 0.5, "--resume")
    assert "Of 9 pictures it skipped 4 that cannot be read; its card lists them." in again.out


def test_a_detector_skips_them_too(models: Path, tmp_path: Path) -> None:
    done = detector(bad_data(tmp_path / "incoming", count=9), "--max-bad-frac", 0.5, "--min-area", 1, "--json")
    assert done.status == 0, done.err
    check_skipped(done.result["skipped"])
    assert load_detector(models / "tiny" / DETECTOR_FOLDER)[1]["skipped"] == done.result["skipped"]


@pytest.mark.parametrize("command", [train, detector])
def test_too_many_are_one_line(models: Path, tmp_path: Path, command: Any) -> None:
    coco = bad_data(tmp_path / "incoming", count=9)
    known = one_error_line(command(coco))
    assert "2 of 9 pictures cannot be trained on, more than 0.1 of them; the first: " in known
    found = command(coco, "--max-bad-frac", 0.3, *(WHOLE_EPOCH if command is train else ()))
    assert "3 of 9 pictures cannot be trained on" in one_error_line(found)
    assert "Traceback" not in found.err
    assert not (models / "trained").exists()
    assert not (models / "tiny" / DETECTOR_FOLDER).exists()


@pytest.mark.parametrize("value", ["-0.1", "1.1", "some"])
def test_a_share_that_is_none_is_refused(value: str) -> None:
    assert sam_engine("train", "--coco", "a.json", "--max-bad-frac", value).status == 2


def test_a_replay_set_has_no_bad_pictures(models: Path, tmp_path: Path) -> None:
    coco = bad_data(tmp_path / "incoming", count=9)
    done = train(coco, *WHOLE_EPOCH, "--name", "mine", "--max-bad-frac", 0.5, "--keep-replay", 9)
    assert done.status == 0, done.err
    assert len(list((models / "mine" / "replay").iterdir())) == 5
    known = read_importance(models / "mine" / IMPORTANCE_FILE)
    assert known["mask_decoder.iou_token.weight"].sum() > 0, "on what they rest is known too"
    sam, _ = load_model("mine", [models])
    pictures = read_known_pictures(models / "mine" / KNOWN_PICTURES_FILE, sam)
    assert pictures is not None
    assert len(pictures) == 5, "and what they look like"


@pytest.mark.parametrize("frame", ["stored", "upright"])
def test_photos_turned_by_exif_train_with_masks_of_either_frame(models: Path, tmp_path: Path, frame: MaskFrame) -> None:
    """All 8 orientations: the masks lie on the upright picture in the end, so the sample is the same for all."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    image, masks = shapes(3)
    for orientation in range(1, 9):
        back = {6: 8, 8: 6}.get(orientation, orientation)  # what undoes it
        stored = np.ascontiguousarray(upright(image, back))
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(tmp_path / f"{orientation}.png", exif=exif)
        drawn = [np.ascontiguousarray(upright(mask, back)) if frame == "stored" else mask for mask in masks]
        height, width = drawn[0].shape
        images.append({"id": orientation, "file_name": f"{orientation}.png", "height": height, "width": width})
        for mask in drawn:
            record = {"id": len(annotations), "image_id": orientation, "segmentation": rle_codec.encode(mask).to_coco()}
            annotations.append(record)
    coco = tmp_path / "turned.json"
    coco.write_text(json.dumps({"images": images, "annotations": annotations}))
    done = train(coco, *WHOLE_EPOCH, "--name", "mine", "--mask-frame", frame, "--json")
    assert done.status == 0, done.err
    assert done.result["skipped"] == {}
    samples = CocoSamples([coco], mask_frame=frame)
    for sample in (samples[index] for index in range(len(samples))):
        assert np.array_equal(sample.image, image)
        assert [mask["counts"] for mask in sample.masks] == [rle_codec.encode(mask).counts for mask in masks]
    assert len(samples) == 8


def test_three_hundred_masks_on_one_picture_train(models: Path, tmp_path: Path) -> None:
    image, _ = shapes(1, width=320, height=240)
    Image.fromarray(image).save(tmp_path / "many.png")
    squares = [[x, y, x + 12, y, x + 12, y + 9, x, y + 9] for x in range(0, 320, 16) for y in range(0, 240, 16)]
    assert len(squares) == 300
    records = [{"id": n, "image_id": 1, "segmentation": [square]} for n, square in enumerate(squares)]
    coco = tmp_path / "many.json"
    images = [{"id": 1, "file_name": "many.png", "height": 240, "width": 320}]
    coco.write_text(json.dumps({"images": images, "annotations": records}))
    phases = "phases=[{until: 1, batch_size: 1, masks_per_image: 300, correction_points: 0}]"
    done = train(coco, "--set", phases, "--set", "min_mask_frac=0", "--set", "loader_workers=0", "--json")
    assert done.status == 0, done.err


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "tpu", "", "cuda:x", "cpu:3", "auto "])
@pytest.mark.parametrize(
    "command",
    [
        ("train", "--coco", "masks.json"),
        ("train-detector", "--coco", "masks.json"),
        ("evaluate", "points", "--coco", "masks.json"),
        ("generate", "shapes/0.png", "--output", "out"),
        ("masks", "shapes.json", "--output", "out.json"),
    ],
    ids=lambda command: command[0],
)
def test_a_device_that_is_not_there_is_one_line(
    command: tuple[str, ...], device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path, count=1)
    monkeypatch.chdir(tmp_path)
    done = sam_engine(*command, "--device", device)
    assert one_error_line(done).startswith(f"error: no device {device!r} here; choose one of auto, cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_cuda_without_a_gpu_is_named() -> None:
    done = sam_engine("train", "--coco", "masks.json", "--device", "cuda")
    assert "no device 'cuda' here" in one_error_line(done)
