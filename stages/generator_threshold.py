"""The mask generator's threshold for a stated precision: as low as held-out pictures allow."""

from engine.evaluation.matching import match_masks
from engine.masks.generator import MaskGenerator
from engine.store import Store
from model.devices import device_of
from model.predictor import Predictor
from model.registry import ModelInfo
from model.sam import Sam
from model.storage import load_model
from schemas.config import EngineConfig
from schemas.errors import InputError, WaitError
from schemas.presets import GeneratorConfig
from schemas.rle import Rle
from schemas.round_metrics import PrefillThreshold
from stages.measuring import held_out_truth
from stages.prefill_threshold import choose_threshold
from stages.progress import Progress

MEASURED_IMAGES = 20  # at most: each takes as long as any image of the stage, or longer, since no mask is dropped early


def threshold_of_round(
    store: Store, config: EngineConfig, model: ModelInfo, progress: Progress
) -> PrefillThreshold | None:
    """For the precision that the workspace's settings ask for; None where they ask for none.

    Raises WaitError where no image is held out that it could be chosen on.
    """
    settings = config.fully_automatic
    if settings.precision is None:
        return None
    sam, _ = load_model(model.model_id, store.files.model_roots(), device=device_of(config.model.device))
    chosen = threshold_for_precision(
        store,
        sam,
        settings.generator_config(),
        precision=settings.precision,
        seed=config.seed,
        progress=progress,
    )
    if chosen is None:
        raise WaitError(
            f"fully_automatic.precision in {store.files.config} needs held-out images with ground truth, "
            "and there are none; ingest some, or set it to null"
        )
    return chosen


def threshold_for_precision(
    store: Store, sam: Sam, config: GeneratorConfig, *, precision: float, seed: int, progress: Progress
) -> PrefillThreshold | None:
    """The lowest predicted IoU at which the stated share of the masks shows an object of the held-out ground truth.

    It means something where that ground truth shows everything. Masks of lower predicted IoU never displace better
    ones, so the generator runs once, without the threshold. Pictures that cannot be read any more do not count.
    Returns None where no image is held out.
    """
    truth = held_out_truth(store, images=MEASURED_IMAGES, seed=seed)
    if not truth:
        return None
    generator = MaskGenerator(Predictor(sam), config.model_copy(update={"pred_iou_thresh": 0.0}))
    scores: list[float] = []
    right: list[bool] = []
    images = count = 0
    for done, (image_id, masks) in enumerate(truth.items(), start=1):
        try:
            pixels = store.load_image(image_id)
        except InputError as error:
            progress("choosing the generator's threshold", done, len(truth), f"left out: {error}")
            continue
        images, count = images + 1, count + len(masks)
        found = sorted(generator.generate(pixels).masks, key=lambda mask: -mask.predicted_iou)
        objects = [Rle.of_coco(mask) for mask in masks]
        scores += [mask.predicted_iou for mask in found]
        right += match_masks([mask.rle for mask in found], objects)
        progress("choosing the generator's threshold", done, len(truth))
    if not images:
        return None
    return choose_threshold(scores, right, objects=count, images=images, precision=precision)
