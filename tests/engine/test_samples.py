"""COCO files as samples: which masks, and which images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from engine import rle as rle_codec
from engine.samples import CocoSamples
from schemas.rle import Rle


def _file(folder: Path, *, images: int = 1) -> Path:
    """Images of 18 x 16 with three masks of different sizes: two of annotator b, and one of a."""
    annotations = []
    for image in range(images):
        Image.fromarray(np.full((16, 18, 3), image, np.uint8)).save(folder / f"{image}.png")
        for number, (columns, annotator) in enumerate(((2, "b"), (3, "a"), (4, "b"))):
            mask = np.zeros((16, 18), bool)
            mask[:, :columns] = True
            segmentation = {"size": [16, 18], "counts": rle_codec.encode(mask).counts.decode()}
            fields = {"id": 10 * image + number, "image_id": image, "category_id": 1, "annotator": annotator}
            annotations.append(fields | {"segmentation": segmentation})
    records = [{"id": image, "file_name": f"{image}.png", "height": 16, "width": 18} for image in range(images)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": records, "annotations": annotations}))
    return path


def _areas(samples: CocoSamples) -> list[int]:
    return [int(rle_codec.area(Rle(16, 18, mask["counts"]))) for mask in samples[0].masks]


def test_the_first_annotator_is_taken_alone_where_one_is_asked_for(tmp_path: Path) -> None:
    path = _file(tmp_path)
    assert _areas(CocoSamples([path])) == [32, 48, 64]
    assert _areas(CocoSamples([path], one_annotator=True)) == [48]


def test_some_images_are_a_seeded_choice_in_the_order_of_the_file(tmp_path: Path) -> None:
    samples = CocoSamples([_file(tmp_path, images=9)])

    def numbers(count: int, seed: int) -> list[int]:
        return [int(sample.image[0, 0, 0]) for sample in samples.some(count, seed=seed)]

    assert numbers(4, 0) == sorted(set(numbers(4, 0))) == numbers(4, 0)
    assert len(numbers(4, 0)) == 4
    assert numbers(4, 0) != numbers(4, 1)
    assert numbers(20, 0) == list(range(9))
