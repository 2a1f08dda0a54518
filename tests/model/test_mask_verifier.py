"""The verifier's head: learns what is there to learn, the same each time, and not from the image it is asked about."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.mask_verifier import (
    WEIGHTS_FILE,
    MaskVerifier,
    fit_verifier,
    load_verifier,
    out_of_fold_scores,
    save_verifier,
)
from schemas.errors import InputError


def answers(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (count, 4), of which the second says whether a mask is good, with noise, and the last is constant."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 4, generator=generator) * torch.tensor([1.0, 100.0, 0.01, 0.0]) + 7
    good = features[:, 1] + 30 * torch.randn(count, generator=generator) > 7
    return features, good


def test_it_learns_which_feature_decides() -> None:
    features, good = answers(300)
    verifier = fit_verifier(features, good)
    others, truth = answers(300, seed=1)
    assert ((verifier(others) > 0.5) == truth).float().mean() > 0.85
    assert int(verifier.weight.abs().argmax()) == 1
    assert verifier.weight[3] == 0, "what never changed says nothing, even where it changes later"


def test_one_feature_by_hand() -> None:
    # Two answers at +1 and -1 standard deviation: the loss 2 log(1 + exp(-w)) + 5 w^2 is least where
    # 2 / (1 + exp(w)) = 10 w.
    verifier = fit_verifier(torch.tensor([[3.0], [5.0]]), torch.tensor([False, True]))
    (weight,) = verifier.weight.tolist()
    assert 2 / (1 + np.exp(weight)) == pytest.approx(10 * weight, abs=1e-5)
    assert verifier.bias.item() == pytest.approx(0, abs=1e-6)
    assert verifier(torch.tensor([[4.0], [5.0], [1e6]])).tolist() == pytest.approx(
        [0.5, 1 / (1 + np.exp(-weight)), 1 / (1 + np.exp(-5 * weight))]
    ), "5 standard deviations are the most that a feature counts"


def test_equal_answers_give_equal_weights_in_any_order() -> None:
    features, good = answers(80)
    first, again = fit_verifier(features, good), fit_verifier(features, good)
    assert torch.equal(first.weight, again.weight)
    turned = fit_verifier(features.flip(0), good.flip(0))
    torch.testing.assert_close(turned.weight, first.weight, rtol=1e-3, atol=1e-4)


def test_masks_of_one_image_never_sit_on_both_sides() -> None:
    """Each image has a feature of its own that gives its answers away; out of fold that must not help."""
    rng = np.random.default_rng(0)
    image_ids = np.repeat(np.arange(40), 5)
    of_image = torch.from_numpy(rng.permutation(np.arange(40) % 2 == 0))
    features, good = torch.eye(40)[image_ids], of_image[image_ids]
    inside = (fit_verifier(features, good)(features) > 0.5) == good
    assert inside.all(), "they are learnt where they are seen"
    scores = out_of_fold_scores(features, good, image_ids, seed=3)
    assert ((scores > 0.5) == good).float().mean() < 0.6
    for image_id in range(40):
        assert len(set(scores[image_ids == image_id].tolist())) == 1


def test_another_seed_splits_the_images_otherwise() -> None:
    features, good = answers(60)
    image_ids = np.arange(60)
    first = out_of_fold_scores(features, good, image_ids, seed=0)
    assert torch.equal(first, out_of_fold_scores(features, good, image_ids, seed=0))
    assert not torch.equal(first, out_of_fold_scores(features, good, image_ids, seed=1))
    assert ((first > 0.5) == good).float().mean() > 0.8


def test_a_saved_verifier_says_the_same(tmp_path: Path) -> None:
    features, good = answers(50)
    verifier, folder = fit_verifier(features, good), tmp_path / "kept"
    save_verifier(verifier, folder, {"answers": 50})
    save_verifier(MaskVerifier(4), folder, {"answers": 0})
    kept, card = load_verifier(folder)
    assert torch.equal(kept(features), verifier(features))
    assert card["answers"] == 50, "what is there stays"
    with pytest.raises(InputError, match="learnt 4 features, these masks have 3"):
        kept(features[:, :3])


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_verifier_is_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "kept"
    save_verifier(fit_verifier(*answers(20)), folder, {})
    file = folder / WEIGHTS_FILE
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        save_verifier(fit_verifier(*answers(20, seed=5)), tmp_path / "other", {})
        file.write_bytes((tmp_path / "other" / WEIGHTS_FILE).read_bytes())
    with pytest.raises(InputError, match=r"kept: a damaged verifier .* delete the folder"):
        load_verifier(folder)
