"""Which model a retraining hands on: how far from the start model, and whether it is better than the one before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.model_scores import ModelScores
from model.training.averaging import interpolated, length_share, merged
from model.training.importance import Importances
from schemas.round_metrics import Guard

# Shares of the way from the start model to the trained one, the longest first. benchmarks/results/loop.md has the
# tries: on plants .35 of it brings .05 and costs old pictures nothing, .5 brings .07 and costs .01, all .10 and .04.
SHARES = (0.5, 0.35, 0.25)
# The same where it is known on which weights known things rest: how much shorter their ways are.
CAUTIONS = (1.0, 1.5, 2.5, 5.0)
# The same where the start model stays inside for the pictures that it knows: nothing of them rests on these weights.
SHARES_OF_NEW_KIND = (1.0, 0.7, 0.5, 0.35)
FORGOTTEN = 0.01  # mIoU that may be lost on what the start model knew before
FEWEST_MASKS = 20  # that tell whether a model is worse
_GUARDED = ("miou", "miou_3")
_PROMPTS = {"miou": "at 1 click", "miou_3": "at 3 clicks", "miou_box": "from boxes"}


Learn = Callable[[Mapping[str, Tensor]], Any]  # gives a model these weights


@dataclass(frozen=True)
class Choice:
    """share: of the way from the start model. new, old: scores there; None where nothing measures."""

    share: float
    new: ModelScores | None
    old: ModelScores | None


@dataclass(frozen=True)
class Way:
    """Weights between those of two models. share: of the whole way, by its length."""

    share: float
    weights: Mapping[str, Tensor]


def ways(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], importances: Importances | None) -> Iterator[Way]:
    """From the start model part of the way to the trained one, the longest first.

    importances: of the weights for new and known things; None where nobody knows: all weights go the same share.
    """
    if importances is None:
        yield from (Way(share, interpolated(start, trained, share=share)) for share in SHARES)
        return
    for caution in CAUTIONS:
        weights = merged(start, trained, shares=importances.shares(caution))
        yield Way(length_share(start, trained, weights), weights)


def ways_of_new_kind(start: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> Iterator[Way]:
    """The same for a model that remembers the start model beside what it learned; all weights go the same share."""
    yield from (Way(share, interpolated(start, trained, share=share)) for share in SHARES_OF_NEW_KIND)


def choose_way(
    ways: Iterator[Way],
    learn: Learn,
    *,
    old_before: ModelScores | None,
    score_new: Callable[[], ModelScores | None],
    score_old: Callable[[], ModelScores | None],
) -> Choice:
    """Let a model `learn` the weights of the way that learns most among those that do not forget more than FORGOTTEN.

    It takes the one with the best scores of the new pictures, looking no further once a shorter way is worse there;
    the shortest where all forget. old_before: scores of the model that the engine began with on what it knew before,
    None where nothing is known of that. score_new, score_old: of the model as it is when called.
    """
    best: tuple[Way, Choice] | None = None
    shortest: Way | None = None
    for way in ways:
        shortest = way
        learn(way.weights)
        old = score_old()
        if _forgets(old_before, old):
            continue
        found = Choice(way.share, score_new(), old)
        if best is not None and _mean(found.new) <= _mean(best[1].new):
            break
        best = way, found
        if found.new is None:  # nothing tells shorter ways apart
            break
    if shortest is None:
        raise ValueError("there is no way to choose")
    if best is None:
        best = shortest, Choice(shortest.share, score_new(), old)
    learn(best[0].weights)
    return best[1]


def guard(before: ModelScores | None, after: ModelScores | None) -> Guard:
    """Whether the next round may use the model: not where it is surely worse on pictures that it never learned from.

    Surely: the paired 95 % interval of the change, of FEWEST_MASKS or more, lies below 0: at 1 or at 3 clicks, or from
    boxes where it is not surely better at clicks, by which people begin.
    """
    masks = 0 if after is None else len(after.one_click.confident)
    if before is None or after is None or masks < FEWEST_MASKS:
        return Guard(accepted=True, reason=f"not compared: {masks} masks are held out or set aside")
    changes = {
        name: bootstrap_difference(before.by_name()[name], after.by_name()[name]) for name in (*_GUARDED, "miou_box")
    }
    better = any(changes[name][0] > 0 for name in _GUARDED)
    for name, (low, high) in changes.items():
        if high < 0 and not (name == "miou_box" and better):
            reason = f"worse {_PROMPTS[name]} on masks that it never learned from: {low:+.3f} to {high:+.3f}"
            return Guard(accepted=False, reason=reason)
    return Guard(accepted=True, reason="")


def _forgets(before: ModelScores | None, after: ModelScores | None) -> bool:
    if before is None or after is None:
        return False
    means = before.means(), after.means()
    return any(means[1][name] < means[0][name] - FORGOTTEN for name in _GUARDED)


def _mean(scores: ModelScores | None) -> float:
    return 0.0 if scores is None else (scores.means()["miou"] + scores.means()["miou_3"]) / 2
