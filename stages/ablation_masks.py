"""Masks of the generator with another grid than the workspace's, on its pictures: what an ablation trains on.

They are kept picture by picture, so that a killed run goes on behind the last one.
"""

import json
from collections.abc import Sequence
from typing import Any

from engine.images import decode_image_file, read_original
from engine.keys import content_key, work_key
from engine.masks.generator import MaskGenerator
from engine.places import Place
from engine.store import Store
from model.predictor import Predictor
from model.registry import ModelInfo, find_model
from model.storage import load_model
from model.training.samples import Sample
from schemas.errors import InputError
from schemas.presets import GeneratorConfig
from schemas.rle import CocoRle
from schemas.stages import BUILTIN_STAGES
from stages.progress import Progress


class GeneratedMasks:
    """Samples of pictures of a workspace with kept masks, those alone that have some; loader processes may have it.

    longest_px: how large a picture's longest side is needed.
    """

    longest_px: int | None = None

    def __init__(self, store: Store, image_ids: Sequence[int], folder: Place) -> None:
        """folder: of `make_masks`, which has made those of all these images that can be read."""
        self._folder, self._files, self._bit_depth = folder, store.files, store.bit_depth
        counts = {image_id: len(_kept(folder, image_id) or ()) for image_id in image_ids}
        self.image_ids = [image_id for image_id in image_ids if counts[image_id]]
        self.mask_count = sum(counts.values())
        self._paths = {image_id: _path(store, image_id) for image_id in self.image_ids}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Sample:
        """Raises InputError if the picture's file is gone or was changed."""
        image_id = self.image_ids[index]
        file = self._files.picture(self._paths[image_id])
        decoded = decode_image_file(
            read_original(file, image_id),
            name=str(file),
            max_megapixels=float("inf"),
            longest_px=self.longest_px,
            bit_depth=self._bit_depth,
        )
        return Sample(decoded.pixels, _kept(self._folder, image_id) or [], f"image {image_id}")


def generator_of(store: Store) -> tuple[ModelInfo, GeneratorConfig]:
    """The model and the settings that made the masks of the fully automatic stage, by its last round.

    Raises InputError where there is no such round.
    """
    stage = BUILTIN_STAGES[-1]
    rounds = store.rounds(stage)
    if not rounds:
        raise InputError(
            f"{store.files}: no round of {stage} yet, whose model makes the masks of `points`; run it with: sam-engine "
            f"run {stage} {store.files} --until-done, or leave points out of experiments"
        )
    config, chosen = store.files.settings().fully_automatic.generator_config(), rounds[-1].metrics.generator_threshold
    if chosen is not None:
        config = config.model_copy(update={"pred_iou_thresh": min(1.0, chosen.threshold)})
    return find_model(rounds[-1].model_before, store.files.model_roots()), config


def images_to_generate(store: Store, *, version: int, most: int, seed: int) -> list[int]:
    """Pictures that are not held out, at most so many of them at random; the order is that of the draw."""
    index = store.image_index(version)
    ids: list[int] = index.ids[~index.held_out].tolist()
    return sorted(ids, key=lambda image_id: rank(seed, image_id))[:most]


def rank(seed: int, image_id: int) -> str:
    """Where a picture stands in a random order that follows from the seed; the first of few are the first of many."""
    return content_key("ablation", seed, image_id)


def make_masks(
    store: Store,
    image_ids: Sequence[int],
    folder: Place,
    model: ModelInfo,
    config: GeneratorConfig,
    *,
    device: str,
    progress: Progress,
) -> Place:
    """Generate the masks of pictures that have none kept yet. Those that cannot be read are told and left out.

    Returns the folder of these settings' masks.
    """
    own = folder / work_key("generated", model.model_id, config.config_hash())
    missing = [image_id for image_id in image_ids if _kept(own, image_id) is None]
    if not missing:
        return own
    sam, _ = load_model(model.folder, store.files.model_roots(), device=device)
    generator = MaskGenerator(Predictor(sam, contract=config.contract), config)
    what = f"masks of {config.points_per_side} points a side"
    for number, image_id in enumerate(missing, start=1):
        note = ""
        try:
            masks = generator.generate(store.load_image(image_id)).masks
            (own / f"{image_id}.json").write(json.dumps([mask.rle.to_coco() for mask in masks]).encode())
        except InputError as error:
            note = f"image {image_id} left out: {error}"
        progress(what, number, len(missing), note)
    return own


def _kept(folder: Place, image_id: int) -> list[CocoRle] | None:
    try:
        found: list[dict[str, Any]] = json.loads((folder / f"{image_id}.json").read())
    except FileNotFoundError:
        return None
    return [{"size": mask["size"], "counts": mask["counts"].encode("ascii")} for mask in found]


def _path(store: Store, image_id: int) -> str:
    return str(store.read_image("images", image_id)["path"][0].as_py())
