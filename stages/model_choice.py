"""Which model a retraining hands on: how far from the start model, and whether it is better than the one before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.model_scores import ModelScores
from model.sam import Sam
from model.training.averaging import interpolated
from schemas.round_metrics import Guard

# Shares of the way from the start model to the trained one, the longest first. benchmarks/results/loop.md has the
# tries: on plants .35 of it brings .05 and costs old pictures nothing, .5 brings .07 and costs .01, all .10 and .04.
SHARES = (0.5, 0.35, 0.25)
FORGOTTEN = 0.01  # mIoU that may be lost on what the start model knew before
FEWEST_MASKS = 20  # that tell whether a model is worse
_GUARDED = ("miou", "miou_3")


@dataclass(frozen=True)
class Choice:
    """share: of the way from the start model. new, old: scores there; None where nothing measures."""

    share: float
    new: ModelScores | None
    old: ModelScores | None


def choose_share(
    sam: Sam,
    start: Mapping[str, Tensor],
    *,
    old_before: ModelScores | None,
    score_new: Callable[[], ModelScores | None],
    score_old: Callable[[], ModelScores | None],
) -> Choice:
    """Move the trained `sam` back towards its start until it has not forgotten more than FORGOTTEN, and leave it there.

    Among the shares that forget no more it takes the one with the best scores of the new pictures, looking no further
    once a shorter way is worse there. start: weights of the model that the engine began with. old_before: its scores on
    what it knew before, None where nothing is known of that. score_new, score_old: of `sam` as it is when called.
    """
    trained = {name: value.detach().clone() for name, value in sam.state_dict().items()}
    best: Choice | None = None
    for share in SHARES:
        sam.load_state_dict(interpolated(start, trained, share=share))
        old = score_old()
        forgotten = _forgets(old_before, old)
        if forgotten and (best is not None or share != SHARES[-1]):
            continue
        found = Choice(share, score_new(), old)
        if forgotten or (best is not None and _mean(found.new) <= _mean(best.new)):
            break
        best = found
        if found.new is None:  # nothing tells shorter ways apart
            break
    chosen = best or found
    sam.load_state_dict(interpolated(start, trained, share=chosen.share))
    return chosen


def guard(before: ModelScores | None, after: ModelScores | None) -> Guard:
    """Whether the next round may use the model: not where it is surely worse on pictures that it never learned from.

    Surely: the paired 95 % interval of the change, at 1 or at 3 clicks, of FEWEST_MASKS or more, lies below 0.
    """
    masks = 0 if after is None else len(after.one_click.confident)
    if before is None or after is None or masks < FEWEST_MASKS:
        return Guard(accepted=True, reason=f"not compared: {masks} masks are held out or set aside")
    for name in _GUARDED:
        low, high = bootstrap_difference(before.by_name()[name], after.by_name()[name])
        if high < 0:
            clicks = "3 clicks" if name == "miou_3" else "1 click"
            reason = f"worse at {clicks} on masks that it never learned from: {low:+.3f} to {high:+.3f}"
            return Guard(accepted=False, reason=reason)
    return Guard(accepted=True, reason="")


def _forgets(before: ModelScores | None, after: ModelScores | None) -> bool:
    if before is None or after is None:
        return False
    means = before.means(), after.means()
    return any(means[1][name] < means[0][name] - FORGOTTEN for name in _GUARDED)


def _mean(scores: ModelScores | None) -> float:
    return 0.0 if scores is None else (scores.means()["miou"] + scores.means()["miou_3"]) / 2
