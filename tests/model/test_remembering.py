"""A model that keeps the one before inside, for pictures of the kinds that it knows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.calibration import Line, apply_lines
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.predictor import Predictor
from model.recogniser import Recogniser, describe
from model.registry import ModelCard, read_info
from model.remembering import RememberingSam, newest, remembering
from model.sam import Sam, build_sam
from model.storage import load_model, save_model
from model.training.presets import training_preset
from model.training.trainer import train
from tests.model.training.shapes import Shapes

CONFIG = SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), high_res_features=True)
CLICK = {"points": torch.tensor([[[20.0, 30.0]]]), "labels": torch.ones(1, 1)}


def a_model(seed: int) -> Sam:
    torch.manual_seed(seed)
    return build_sam(CONFIG)


def picture(brightness: int, *, hw: tuple[int, int] = (64, 48)) -> np.ndarray:
    rng = np.random.default_rng(brightness)
    return np.clip(brightness + rng.integers(-20, 20, (*hw, 3)), 0, 255).astype(np.uint8)


DARK, BRIGHT = picture(40), picture(210)  # the known kind, and the new one


def tells_bright(sam: Sam) -> Recogniser:
    """Whether a picture is nearer to the bright one."""
    transform = Predictor(sam).transform
    dark, bright = (describe(sam, sam.preprocess(transform.to_tensor(each)))[0] for each in (DARK, BRIGHT))
    recogniser = Recogniser()
    recogniser.weight.copy_(bright - dark)
    recogniser.bias.copy_(-((bright - dark) @ (bright + dark)) / 2)
    return recogniser


@pytest.fixture
def before() -> Sam:
    return a_model(0)


@pytest.fixture
def learned() -> Sam:
    return a_model(1)


@pytest.fixture
def both(learned: Sam, before: Sam) -> RememberingSam:
    return remembering(learned, before, tells_bright(before))


def masks(sam: Sam, image: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoUs of a click, by `decode` and by `prompt`, which must agree."""
    predictor = Predictor(sam)
    predictor.set_image(image)
    found = predictor.predict_low_res(CLICK["points"], CLICK["labels"])
    prompted = predictor.prompt(CLICK["points"], CLICK["labels"])
    torch.testing.assert_close(prompted.predicted_iou, found.predicted_iou)
    return found.logits, found.predicted_iou


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_pictures_of_a_known_kind_get_the_masks_of_the_model_before(both: RememberingSam, before: Sam) -> None:
    assert same(masks(both, DARK), masks(before, DARK))


def test_pictures_of_the_new_kind_get_those_of_what_was_learned(both: RememberingSam, learned: Sam) -> None:
    assert same(masks(both, BRIGHT), masks(learned, BRIGHT))


def test_pictures_of_both_kinds_may_be_encoded_together(both: RememberingSam, before: Sam, learned: Sam) -> None:
    predictor = Predictor(both)
    pictures = [BRIGHT, DARK, picture(215), picture(30, hw=(48, 64)), DARK]
    encoded = predictor.encode_images(pictures)
    assert [int(each.embedding.depth) for each in encoded] == [0, 1, 0, 1, 1]
    for image, embedding in zip(pictures, encoded, strict=True):
        predictor.set_embedding(embedding)
        alone = Predictor(learned if image.mean() > 128 else before)
        alone.set_image(image)
        found, expected = (each.predict_low_res(CLICK["points"], CLICK["labels"]) for each in (predictor, alone))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_prompts_on_images_of_both_kinds_may_be_decoded_together(both: RememberingSam) -> None:
    pixels = torch.cat([both.preprocess(torch.from_numpy(each).permute(2, 0, 1)[None]) for each in (DARK, BRIGHT)])
    embedding = both.encode(pixels)
    assert embedding.depth is not None
    assert embedding.depth.tolist() == [1, 0]
    index = torch.tensor([1, 0, 0, 1])
    asked: dict[str, Any] = {
        "points": (torch.rand(4, 2, 2) * 40, torch.ones(4, 2, dtype=torch.int64)),
        "boxes": torch.tensor([[4.0, 4.0, 30.0, 40.0]]).repeat(4, 1),
        "masks": torch.randn(4, 1, 16, 16),
    }
    with torch.no_grad():
        together = both.decode(embedding, **asked, image_index=index, multimask_output=True)
        for prompt, image in enumerate(index.tolist()):
            one = {
                name: tuple(each[prompt : prompt + 1] for each in value)
                if isinstance(value, tuple)
                else value[prompt : prompt + 1]
                for name, value in asked.items()
            }
            alone = both.decode(embedding.split()[image], **one, multimask_output=True)
            torch.testing.assert_close(together.logits[prompt], alone.logits[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(together.predicted_iou[prompt], alone.predicted_iou[0], rtol=1e-4, atol=1e-4)


def test_it_is_the_same_once_it_was_stored(both: RememberingSam, tmp_path: Path) -> None:
    save_model(both, tmp_path, ModelCard(name="both"))
    stored, info = load_model("both", [tmp_path])
    assert isinstance(stored, RememberingSam)
    assert info.config == both.config == read_info(tmp_path / "both").config
    for image in (DARK, BRIGHT):
        assert same(masks(stored, image), masks(both, image))


def test_what_half_precision_holds_takes_half_the_room(before: Sam, learned: Sam, tmp_path: Path) -> None:
    sizes = []
    for name, old in (("single", before), ("half", build_sam(CONFIG))):
        if name == "half":
            old.load_state_dict({key: value.half().float() for key, value in before.state_dict().items()})
        both = remembering(learned, old, tells_bright(old))
        save_model(both, tmp_path, ModelCard(name=name))
        stored, info = load_model(name, [tmp_path])
        assert all(torch.equal(value, stored.state_dict()[key]) for key, value in both.state_dict().items())
        sizes.append(info.size_bytes)
    rounded = [value for value in before.state_dict().values() if not torch.equal(value, value.half().to(value.dtype))]
    assert sizes[0] - sizes[1] == pytest.approx(2 * sum(value.numel() for value in rounded), rel=0.001)


def test_it_may_remember_one_that_remembers(both: RememberingSam, before: Sam, learned: Sam, tmp_path: Path) -> None:
    """Bright pictures are no news any more; of dark and of bright ones nothing is new."""
    third = remembering(a_model(2), both, Recogniser())
    assert same(masks(third, DARK), masks(before, DARK))
    assert same(masks(third, BRIGHT), masks(learned, BRIGHT))
    save_model(third, tmp_path, ModelCard(name="third"))
    stored, _ = load_model("third", [tmp_path])
    assert same(masks(stored, BRIGHT), masks(learned, BRIGHT))
    everything = Recogniser()
    everything.bias.fill_(1.0)
    assert same(masks(remembering(a_model(2), both, everything), DARK), masks(a_model(2), DARK))


def test_what_it_learned_last_can_be_taken_out(both: RememberingSam, learned: Sam) -> None:
    taken = newest(both)
    assert type(taken) is Sam
    assert taken.config == CONFIG
    assert all(torch.equal(value, learned.state_dict()[name]) for name, value in taken.state_dict().items())
    assert newest(learned) is learned


def test_it_learns_without_a_change_of_what_it_remembers(both: RememberingSam, before: Sam) -> None:
    other = a_model(3)
    both.learn(other.state_dict())
    assert same(masks(both, BRIGHT), masks(other, BRIGHT))
    assert same(masks(both, DARK), masks(before, DARK))


def test_only_what_it_learned_is_calibrated(both: RememberingSam, before: Sam, learned: Sam) -> None:
    apply_lines(both, single=Line(), multiple=Line(0.5, 0.1))
    assert same(masks(both, DARK), masks(before, DARK))
    torch.testing.assert_close(masks(both, BRIGHT)[1], 0.5 * masks(learned, BRIGHT)[1] + 0.1)


def test_both_change_their_input_size(both: RememberingSam) -> None:
    both.set_input_size(96)
    assert both.image_size == both.remembered.image_size == 96
    assert masks(both, DARK)[0].shape[-2:] == (24, 24), "a quarter of the input"


def test_an_embedding_of_another_model_is_refused(both: RememberingSam, before: Sam) -> None:
    predictor = Predictor(both)
    predictor.set_embedding(Predictor(before).encode_images([DARK])[0])
    with pytest.raises(ValueError, match="does not say which model made it"):
        predictor.predict_low_res(CLICK["points"], CLICK["labels"])


def test_both_must_see_pictures_alike(learned: Sam) -> None:
    other = build_sam(replace(CONFIG, pixel_mean=(1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match=r"^remembers: sees pictures as "):
        remembering(learned, other, Recogniser())


def test_without_a_model_to_remember_there_is_none(learned: Sam) -> None:
    with pytest.raises(ValueError, match="there is no model to remember"):
        RememberingSam(learned.config)


def test_it_is_not_trained_as_a_whole(both: RememberingSam) -> None:
    with pytest.raises(ValueError, match="is trained without it"):
        train(both, Shapes(2), training_preset("retrain", encoder=CONFIG.encoder, images=2, steps=1))
