"""The mask generator at work on images of the workspace: masks, and a row of `generation` for each image."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from engine.masks.comparison import difference_to_exact
from engine.masks.difference import MaskDifference
from engine.masks.generator import GenerationResult, MaskGenerator
from model.predictor import Predictor
from model.sam import Sam
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.presets import GeneratorConfig
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where, add_generation
from stages.workers import Picture


class StageGenerator:
    """Generates the masks of one picture after the other, by the contract of its settings.

    With `fast` it also looks, on its first picture, how the masks differ from those of `exact`.
    """

    def __init__(self, sam: Sam, config: GeneratorConfig) -> None:
        self.config = config
        self.predictor = Predictor(sam, contract=config.contract)
        self.generator = MaskGenerator(self.predictor, config)
        self._compared = config.contract == "exact"

    def generate(self, picture: Picture, where: Where, rows: ShardRows) -> GenerationResult:
        """The masks of a picture; how it went becomes a row. Raises InputError that says which image it was."""
        try:
            result = self.generator.generate(picture.pixels)
        except InputError as error:
            raise InputError(f"image {picture.image_id}: {error}") from error
        config_hash = self.config.config_hash()
        masks = [replace(mask, model_id=where.model_id, generator_config=config_hash) for mask in result.masks]
        result = replace(result, masks=masks, seconds=result.seconds | {"decode_image": picture.decode_s})
        difference = self._difference(picture)
        add_generation(rows, result, where, generator_config=config_hash, difference=difference)
        return result

    def _difference(self, picture: Picture) -> MaskDifference | None:
        if self._compared:
            return None
        self._compared = True
        return difference_to_exact(self.predictor, self.config, picture.pixels)


class GeneratorMasks:
    """The most confident masks of the mask generator, to start from (`stages.prefilling.PrefillDetector`)."""

    def __init__(self, work: RoundWork) -> None:
        self._settings = work.config.semi_automatic
        self._sam = work.sam
        self._config = self._settings.generator_config()

    @property
    def key(self) -> str:
        return self._config.config_hash()

    @cached_property
    def _generator(self) -> StageGenerator:
        return StageGenerator(self._sam, self._config)

    def masks(self, picture: Picture, where: Where, rows: ShardRows) -> list[Mask]:
        result = self._generator.generate(picture, where, rows)
        confident = sorted(result.masks, key=lambda mask: mask.predicted_iou, reverse=True)
        return confident[: self._settings.max_prefilled_masks]

    def metrics(self) -> dict[str, Any]:
        return {}
