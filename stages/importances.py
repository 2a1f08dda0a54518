"""On which weights of a model its new pictures rest, and on which what it knows, before a retraining moves them."""

from collections.abc import Callable
from pathlib import Path

from engine.importance import measure_importance, read_importance
from engine.snapshots import SnapshotDataset
from model.sam import Sam
from model.training.config import TrainingConfig
from model.training.importance import Importances

MOST_LOOKS = 24  # at new pictures, and two at each
LOOKS_FRAC = 0.25  # of the pictures that the training shows, at most: a look costs as much as one of those


def find_importances(
    sam: Sam,
    samples: SnapshotDataset,
    recipe: TrainingConfig,
    known: Path,
    progress: Callable[[int, int], None],
) -> Importances:
    """known: the file that says on which weights known things rest. progress: told how many looks of how many are done.

    Raises InputError where the file cannot be read, or none of the pictures can be learned from.
    """
    (phase,) = recipe.phases
    shown = recipe.steps * phase.batch_size
    looks = max(1, min(MOST_LOOKS, 2 * len(samples), round(LOOKS_FRAC * shown)))
    samples.longest_px = recipe.longest_px(sam.image_size)
    new = measure_importance(
        sam,
        samples,
        looks=looks,
        masks_per_image=phase.masks_per_image,
        weights=samples.weights,
        seed=recipe.seed,
        on_look=lambda done: progress(done, looks),
    )
    return Importances(new, read_importance(known))
