"""What the kernel counts, beside what torch gives at full size, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from engine.masks import measuring
from engine.masks.kernel import bilinear
from engine.masks.measuring import count, rasterise, survey, survey_at_full_size
from model.geometry import mask_boxes
from model.upscaling import Upscaling
from schemas.errors import InputError

SAM = ((256, 256), (1024, 1024))
SIZES = {
    "as large as the input": (*SAM, (683, 1024), (683, 1024)),
    "larger": (*SAM, (683, 1024), (1100, 1651)),
    "smaller": (*SAM, (768, 1024), (375, 500)),
    "portrait": (*SAM, (1024, 600), (701, 411)),
    "square": (*SAM, (1024, 1024), (1024, 1024)),
    "thumbnail": (*SAM, (1024, 819), (50, 40)),
    "64 + 64": (*SAM, (1024, 1024), (64, 64)),
    "64 + 65": (*SAM, (1008, 1024), (64, 65)),
    "one pixel": (*SAM, (1024, 1024), (1, 1)),
    "one row": (*SAM, (1, 1024), (1, 3000)),
    "one column": (*SAM, (1024, 2), (1500, 1)),
    "nano": ((128, 128), (512, 512), (341, 512), (1000, 1501)),
    "small model": ((64, 64), (256, 256), (173, 256), (300, 451)),
    "identity": ((20, 31), (20, 31), (20, 31), (20, 31)),
    "downscaled twice": ((64, 48), (32, 32), (30, 20), (9, 7)),
    "down, then up": ((64, 64), (16, 16), (16, 10), (200, 123)),
    "one logit": ((1, 1), (4, 4), (4, 3), (90, 70)),
}


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> None:
    """Torch takes another way with one thread; `one_thread` puts the number back."""
    torch.set_num_threads(request.param)


def at_full_size(logits: Tensor, upscaling: Upscaling) -> Tensor:
    """(n, h, w) to (n, H, W), in the shape that the published code uses: three masks a prompt."""
    if upscaling.direct:
        of_prompts = logits.unflatten(0, (-1, 3))
        return F.interpolate(of_prompts, upscaling.image_hw, mode="bilinear", align_corners=False).flatten(0, 1)
    padded = F.interpolate(logits.unflatten(0, (-1, 3)), upscaling.padded_hw, mode="bilinear", align_corners=False)
    cut = padded[..., : upscaling.input_hw[0], : upscaling.input_hw[1]]
    return F.interpolate(cut, upscaling.image_hw, mode="bilinear", align_corners=False).flatten(0, 1)


def random_logits(low_hw: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Six masks: noise, noise of whole numbers, and four that are smooth."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn((2, *low_hw), generator=rng) * 2
    coarse = torch.randn((1, 4, 5, 5), generator=rng) * 6
    smooth = F.interpolate(coarse, low_hw, mode="bicubic")[0]
    return torch.cat([noise[:1], noise[1:].round(), smooth])


def assert_as_at_full_size(
    logits: Tensor, upscaling: Upscaling, *, threshold: float = 0.0, offset: float = 1.0
) -> None:
    full = at_full_size(logits, upscaling)
    expected = [(full > threshold + step).sum(dim=(1, 2)) for step in (offset, -offset, 0.0)]
    found = survey(logits, upscaling, threshold=threshold, offset=offset)
    assert found.counts is None
    assert found.empty.tolist() == (expected[2] == 0).tolist()
    assert found.boxes.dtype == torch.int64
    assert found.boxes.tolist() == mask_boxes(full > threshold).tolist()
    index = (~found.empty).nonzero().squeeze(1).tolist()
    windows = [found.windows[row] for row in index]
    counts = count(windows, upscaling, offset=offset)
    assert counts.dtype == torch.int64
    assert counts.tolist() == torch.stack(expected, dim=1)[index].tolist()
    for window, one in zip(windows, full[index], strict=True):
        x0, y0, x1, y1 = window.box
        inside = one[y0 : y1 + 1, x0 : x1 + 1] > threshold
        np.testing.assert_array_equal(rasterise(window, upscaling), inside.numpy())


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("size", SIZES)
def test_same_counts_boxes_and_pixels_as_upscaling_twice(size: str) -> None:
    low_hw, *hws = SIZES[size]
    assert_as_at_full_size(random_logits(low_hw), Upscaling(*hws))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("image_hw", [(300, 451), (64, 64), (30, 17)], ids=str)
def test_one_step_from_the_logits_to_the_picture(image_hw: tuple[int, int]) -> None:
    upscaling = Upscaling((256, 256), (256, 256), image_hw, direct=True)
    assert_as_at_full_size(random_logits((64, 64)), upscaling, offset=0.5)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("size", ["larger", "smaller", "portrait", "nano", "thumbnail", "down, then up"])
def test_same_bits(size: str) -> None:
    """A threshold that is a value of the result itself: one bit more or less would change the count."""
    low_hw, *hws = SIZES[size]
    logits, upscaling = random_logits(low_hw, seed=1), Upscaling(*hws)
    values = at_full_size(logits, upscaling).flatten()
    for value in values[:: len(values) // 4].tolist():
        assert_as_at_full_size(logits, upscaling, threshold=value, offset=0.0)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("offset", [0.0, 0.3, 5.0, 1e9])
def test_offsets(offset: float) -> None:
    low_hw, *hws = SIZES["small model"]
    assert_as_at_full_size(random_logits(low_hw), Upscaling(*hws), offset=offset)
    assert_as_at_full_size(random_logits(low_hw), Upscaling(*hws), threshold=0.25, offset=offset)


def _single(value: float, y: int, x: int) -> Tensor:
    low = torch.full((32, 32), -value)
    low[y, x] = value
    return low


GRID = torch.arange(32)
CHECKERBOARD = ((GRID[:, None] + GRID) % 2 * 2 - 1).float()
ADVERSARIAL = {
    "checkerboard": CHECKERBOARD,
    "checkerboard of the thresholds": CHECKERBOARD * 1.0000001,
    "huge checkerboard": CHECKERBOARD * 1e30,
    "tiny checkerboard": CHECKERBOARD * 1e-38,
    "close to the threshold": CHECKERBOARD * 1e-6,
    "close to threshold and offset": 1 + CHECKERBOARD * 1e-6,
    "close to the offset below": -1 + CHECKERBOARD * 1e-7,
    "stripes": (GRID % 2 * 6.0 - 3).expand(32, 32),
    "on the threshold": torch.zeros(32, 32),
    "on threshold and offset": torch.ones(32, 32),
    "on the offset below": -torch.ones(32, 32),
    "all in": torch.full((32, 32), 8.0),
    "all out": torch.full((32, 32), -8.0),
    "all in, huge": torch.full((32, 32), 1e30),
    "one cell": _single(3, 16, 11),
    "one corner": _single(3, 0, 0),
    "other corner": _single(3, 31, 31),
    "huge cell": _single(1e30, 5, 31),
    "one hole": -_single(3, 9, 9),
    "top edge": torch.where(GRID[:, None] < 3, 4.0, -4.0).expand(32, 32),
    "right edge": torch.where(GRID > 28, 4.0, -4.0).expand(32, 32),
    "from left to right": torch.where((GRID[:, None] - 15).abs() < 3, 4.0, -4.0).expand(32, 32),
    "all but the bottom": torch.where(GRID[:, None] < 31, 4.0, -4.0).expand(32, 32),
}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "hws", [((128, 128), (85, 128), (141, 212)), ((128, 128), (128, 97), (60, 45)), ((32, 32),) * 3]
)
def test_adversarial_logits(hws: tuple[tuple[int, int], ...]) -> None:
    logits = torch.stack([one.contiguous() for one in ADVERSARIAL.values()] + [torch.zeros(32, 32)])
    assert len(logits) % 3 == 0
    for offset in (0.0, 1.0):
        assert_as_at_full_size(logits, Upscaling(*hws), offset=offset)


@settings(deadline=None)
@given(
    low=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    padded=st.integers(1, 60),
    shown=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    image=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    scale=st.sampled_from([0.1, 3.0, 1e20]),
    seed=st.integers(0, 99),
)
def test_any_size(
    low: tuple[int, int], padded: int, shown: tuple[int, int], image: tuple[int, int], scale: float, seed: int
) -> None:
    input_hw = (min(padded, shown[0]), min(padded, shown[1]))
    logits = torch.randn((3, *low), generator=torch.Generator().manual_seed(seed)) * scale
    assert_as_at_full_size(logits, Upscaling((padded, padded), input_hw, image), offset=0.5)


@pytest.mark.usefixtures("threads")
def test_torch_alone_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    low_hw, *hws = SIZES["small model"]
    logits, upscaling = random_logits(low_hw)[:5], Upscaling(*hws)  # not a multiple of three
    expected = survey(logits, upscaling, threshold=0.0, offset=1.0)
    assert not expected.empty.any()
    monkeypatch.setattr(measuring, "CHUNK_PIXELS", 1)  # three masks at a time
    found = survey_at_full_size(logits, upscaling, threshold=0.0, offset=1.0)
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert found.counts is not None
    assert found.counts.tolist() == count(expected.windows, upscaling, offset=1.0).tolist()
    by_kernel = [rasterise(window, upscaling) for window in found.windows]
    measuring._plans_on_cpu.cache_clear()
    monkeypatch.setattr(measuring, "_order_of_operations", lambda threads, small: None)  # as for an unknown torch
    unknown = survey(logits, upscaling, threshold=0.0, offset=1.0)
    assert unknown.counts is not None
    assert unknown.counts.tolist() == found.counts.tolist()
    for window, mine in zip(unknown.windows, by_kernel, strict=True):
        np.testing.assert_array_equal(rasterise(window, upscaling), mine)
    with pytest.raises(ValueError, match="has counted"):
        count(unknown.windows, upscaling, offset=1.0)
    measuring._plans_on_cpu.cache_clear()


def test_logits_of_any_memory_layout() -> None:
    low_hw, *hws = SIZES["small model"]
    logits = random_logits(low_hw)
    turned = logits.transpose(1, 2).contiguous().transpose(1, 2)
    assert_as_at_full_size(turned, Upscaling(*hws))


def test_no_masks() -> None:
    found = survey(torch.zeros((0, 4, 4)), Upscaling((16, 16), (16, 9), (30, 20)), threshold=0.0, offset=1.0)
    assert [tuple(each.shape) for each in found[:2]] == [(0, 4), (0,)]
    assert found.windows == []
    assert count([], Upscaling((16, 16), (16, 9), (30, 20)), offset=1.0).shape == (0, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("function", [survey, survey_at_full_size])
def test_logits_that_are_not_finite(value: float, function: object) -> None:
    logits = torch.zeros((5, 16, 16))
    logits[3, 2, 15] = value
    with pytest.raises(InputError, match="mask logits that are not finite"):
        function(logits, Upscaling((64, 64), (64, 64), (10, 10)), threshold=0.0, offset=1.0)  # type: ignore[operator]


def test_a_negative_offset() -> None:
    with pytest.raises(ValueError, match="offset"):
        survey(torch.zeros((1, 4, 4)), Upscaling((16, 16), (16, 16), (9, 9)), threshold=0.0, offset=-1.0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("order", [bilinear.SEPARABLE, bilinear.FOUR, bilinear.SEPARABLE_FUSED, bilinear.FOUR_FUSED])
def test_every_order_of_operations_interpolates(order: int, fused: bool) -> None:
    low = np.random.default_rng(0).standard_normal((9, 11)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(low)[None, None], (40, 31), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(measuring._interpolate(low, 40, 31, order, fused=fused), expected, atol=1e-5)


def test_numba_is_imported_only_when_it_is_used() -> None:
    code = "import sys, engine.masks.generator; assert 'numba' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_as_there_at_full_size() -> None:
    low_hw, *hws = SIZES["small model"]
    logits, upscaling = random_logits(low_hw).cuda(), Upscaling(*hws)
    full = upscaling.apply(logits[None])[0].cpu()
    found = survey(logits, upscaling, threshold=0.0, offset=1.0)
    assert found.counts is not None
    assert found.counts[:, 2].tolist() == (full > 0).sum(dim=(1, 2)).tolist()
    assert found.boxes.tolist() == mask_boxes(full > 0).tolist()
    for window, one in zip(found.windows, full, strict=True):
        x0, y0, x1, y1 = window.box
        np.testing.assert_array_equal(rasterise(window, upscaling), (one[y0 : y1 + 1, x0 : x1 + 1] > 0).numpy())
