"""COCO files as samples: which masks, and which images."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import rle as rle_codec
from engine.samples import CocoSamples
from model.training.samples import MaskFacts
from schemas.errors import InputError
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


def test_samples_say_what_the_file_says_of_masks_and_crowds(tmp_path: Path) -> None:
    path = _file(tmp_path, images=2)
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"][2]["category_id"] = 2
    content["annotations"][3]["segmentation"] = [[1, 1, 9, 1, 9, 9]]  # or all RLEs would be crowds of an exporter
    content["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b", "frequency": "r"}]
    path.write_text(json.dumps(content))
    first = CocoSamples([path])[0]
    assert first.image_id == 0
    assert first.facts == [MaskFacts("b", 1, "", "a"), MaskFacts("b", 2, "r", "b")]
    ((crowd, facts),) = first.crowds
    assert rle_codec.area(Rle.of_coco(crowd)) == 48
    assert facts == MaskFacts("a", 1, "", "a")
    assert first.known_facts == first.facts
    assert CocoSamples([path]).labels() == {"a", "b"}


def test_complete_samples_have_images_without_masks_and_no_chosen_masks(tmp_path: Path) -> None:
    path = _file(tmp_path, images=3)
    content = json.loads(path.read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != 1]
    path.write_text(json.dumps(content))
    samples = CocoSamples([path])
    assert len(samples) == 2
    whole = samples.complete()
    assert [whole[number].image_id for number in range(len(whole))] == [0, 2, 1]
    assert whole[2].masks == []
    assert len(samples) == 2
    assert len(samples.sampled(max_masks=100).complete()) == 3, "nothing was left out"
    kept = samples.filtered(lambda file: file.stem != "1")
    assert kept is not None
    assert len(kept.complete()) == 2
    for fewer in (samples.sampled(max_masks=3), samples.sampled(max_masks=None, min_area_px=40)):
        with pytest.raises(InputError, match="leave --max-masks and --min-area out"):
            fewer.complete()


def test_images_are_drawn_whole_until_there_are_masks_enough(tmp_path: Path) -> None:
    samples = CocoSamples([_file(tmp_path, images=9)])
    assert samples.mask_count == 27
    few = samples.sampled_images(least_masks=7, seed=0)
    assert (len(few), few.mask_count) == (3, 9)
    assert few.fingerprint() == samples.sampled_images(least_masks=7, seed=0).fingerprint()
    assert few.fingerprint() != samples.sampled_images(least_masks=7, seed=1).fingerprint()
    assert samples.sampled_images(least_masks=6).mask_count == 6
    assert samples.sampled_images(least_masks=100).mask_count == 27
    with pytest.raises(InputError, match="all masks of a picture"):
        few.complete()


def test_paths_are_those_of_the_pictures(tmp_path: Path) -> None:
    samples = CocoSamples([_file(tmp_path, images=2)])
    assert samples.paths == [tmp_path / "0.png", tmp_path / "1.png"]
