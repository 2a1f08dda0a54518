"""The file that says what the pictures look like that a model knows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.known_pictures import (
    KNOWN_PICTURES,
    KNOWN_PICTURES_FILE,
    describe_pictures,
    describe_samples,
    known_pictures_file,
    read_known_pictures,
    write_known_pictures,
)
from engine.samples import CocoSamples
from model.predictor import Predictor
from model.recogniser import Recogniser, describe
from model.registry import ModelCard, builtin_models_root, find_model
from model.remembering import remembering
from model.sam import Sam, build_sam
from model.storage import load_model, save_model
from schemas.errors import InputError
from tests.stages.workspaces import TINY, shapes, write_pictures


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam(TINY)


def test_nano_says_what_the_pictures_look_like_that_it_learned_from() -> None:
    roots = [builtin_models_root()]
    file = known_pictures_file(find_model("nano", roots), roots)
    assert file is not None
    known = read_known_pictures(file, load_model("nano", roots)[0])
    assert known is not None, "its own image encoder described them"
    assert known.shape == (KNOWN_PICTURES, 256)
    assert known.isfinite().all()
    assert (known.std(0) > 0).all()


def test_pictures_of_any_size_are_described_as_the_predictor_shows_them(sam: Sam) -> None:
    pictures = [shapes(0)[0], shapes(1, side=200)[0]]
    told: list[int] = []
    found = describe_pictures(sam, pictures, told.append)
    transform = Predictor(sam).transform
    expected = [describe(sam, sam.preprocess(transform.to_tensor(each))) for each in pictures]
    assert torch.equal(found, torch.cat(expected).half().float())
    assert told == [1, 2]
    assert describe_pictures(sam, []).shape == (0, 256)


def test_samples_that_cannot_be_read_are_left_out(tmp_path: Path, sam: Sam) -> None:
    file = write_pictures(tmp_path / "pictures", images=3)
    whole = describe_samples(sam, CocoSamples([file]))
    (broken, *_) = sorted((tmp_path / "pictures").glob("**/*.png"))
    samples = CocoSamples([file])
    broken.write_bytes(b"no picture")
    assert torch.equal(describe_samples(sam, samples), whole[1:])


def test_they_are_kept_in_half_precision(tmp_path: Path, sam: Sam) -> None:
    described = describe_pictures(sam, [shapes(seed)[0] for seed in range(3)])
    write_known_pictures(described, sam, tmp_path / KNOWN_PICTURES_FILE)
    found = read_known_pictures(tmp_path / KNOWN_PICTURES_FILE, sam)
    assert found is not None
    assert torch.equal(found, described)


def test_only_the_image_encoder_that_described_them_can_use_them(tmp_path: Path, sam: Sam) -> None:
    write_known_pictures(torch.zeros(1, 256), sam, tmp_path / KNOWN_PICTURES_FILE)
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.add_(1)
    assert read_known_pictures(tmp_path / KNOWN_PICTURES_FILE, sam) is not None, "the decoder has no part in it"
    learned = build_sam(TINY)
    assert read_known_pictures(tmp_path / KNOWN_PICTURES_FILE, learned) is None
    both = remembering(learned, sam, Recogniser())
    assert read_known_pictures(tmp_path / KNOWN_PICTURES_FILE, both) is not None, "the model inside describes"


def test_a_model_that_is_stored_in_16_bits_can_use_them(tmp_path: Path, sam: Sam) -> None:
    save_model(sam, tmp_path, ModelCard(name="half"), dtype=torch.float16)
    file = tmp_path / "half" / KNOWN_PICTURES_FILE
    write_known_pictures(torch.zeros(1, 256), sam, file)
    assert read_known_pictures(file, load_model("half", [tmp_path])[0]) is not None


def test_they_lie_beside_the_model_or_the_one_that_it_was_trained_from(tmp_path: Path, sam: Sam) -> None:
    first = save_model(sam, tmp_path, ModelCard(name="first"))
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.add_(1)
    save_model(sam, tmp_path, ModelCard(name="second", parent=first))
    second = find_model("second", [tmp_path])
    assert known_pictures_file(second, [tmp_path]) is None
    write_known_pictures(torch.zeros(1, 256), sam, tmp_path / "first" / KNOWN_PICTURES_FILE)
    assert known_pictures_file(second, [tmp_path]) == tmp_path / "first" / KNOWN_PICTURES_FILE


def test_a_damaged_file_is_named(tmp_path: Path, sam: Sam) -> None:
    file = tmp_path / KNOWN_PICTURES_FILE
    file.write_bytes(np.arange(8).tobytes())
    with pytest.raises(InputError, match=rf"^{file}: cannot be read"):
        read_known_pictures(file, sam)
