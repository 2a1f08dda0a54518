"""Results of Grounded-SAM 2, as its demos write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.coco import read_coco
from engine.prompt_files import read_prompt_file
from engine.rle import encode
from schemas.errors import InputError


def write(folder: Path, **change: Any) -> Path:
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:10, 5:15] = True
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "a.jpg")
    one = {"class_name": "car.", "bbox": [5.0, 4.0, 15.0, 10.0], "segmentation": encode(mask).to_coco(), "score": 0.7}
    content = {
        "image_path": "/data/a.jpg",
        "annotations": [one],
        "box_format": "xyxy",
        "img_width": 30,
        "img_height": 20,
    }
    path = folder / "results.json"
    path.write_text(json.dumps(content | change))
    return path


def test_phrases_become_labels_of_masks_and_boxes(tmp_path: Path) -> None:
    (image,) = read_coco(write(tmp_path)).images
    assert [(mask.label, image.path.name) for mask in image.masks] == [("car", "a.jpg")]
    ((prompt,),) = read_prompt_file(write(tmp_path)).prompts.values()
    assert (prompt.box, prompt.fields["label"], prompt.fields["score"]) == ((5, 4, 15, 10), "car", 0.7)
    ((prompt,),) = read_prompt_file(write(tmp_path, box_format="xywh")).prompts.values()
    assert prompt.box == (5, 4, 20, 14)


def test_other_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="box_format is 'cxcywh', expected xyxy or xywh"):
        read_prompt_file(write(tmp_path, box_format="cxcywh"))
