"""The names of the published package `segment_anything`: notebooks written for it run on our models as they are.

from engine.published import stand_in
stand_in()  # from here on `from segment_anything import SamPredictor, sam_model_registry` means ours
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.masks.generator import MaskGenerator
from model.checkpoints import load_weights_file
from model.config import MODEL_SIZES
from model.predictor import Predictor
from model.published import ResizeLongestSide
from model.sam import Sam, build_sam
from schemas.errors import InputError
from schemas.mask import Box, Mask
from schemas.presets import generator_preset
from schemas.sa1b import to_xywh

OutputMode = Literal["binary_mask", "coco_rle"]
_PACKAGE = "segment_anything"


class _SizesByName(Mapping[str, Callable[..., Sam]]):
    """`sam_model_registry`: for each size a function that makes its model, with the weights of a file."""

    def __getitem__(self, name: str) -> Callable[..., Sam]:
        wanted = "vit_h" if name == "default" else name
        make = MODEL_SIZES[wanted]

        def build(checkpoint: str | Path | None = None) -> Sam:
            """Raises InputError where the file holds a model of another size."""
            if checkpoint is None:
                return build_sam(make())
            size, sam = load_weights_file(Path(checkpoint))
            if size != wanted:
                raise InputError(f"{checkpoint}: weights of {size}, not of {wanted}; use sam_model_registry[{size!r}]")
            return sam

        return build

    def __iter__(self) -> Iterator[str]:
        yield from ("default", *MODEL_SIZES)

    def __len__(self) -> int:
        return 1 + len(MODEL_SIZES)


sam_model_registry = _SizesByName()


class SamAutomaticMaskGenerator:
    """Our generator with the arguments and results of the published one, and its defaults (`library-default`)."""

    def __init__(self, model: Sam, *, output_mode: OutputMode = "binary_mask", **settings: Any) -> None:
        """settings: of `schemas.presets.GeneratorConfig`, which have the published names.

        Raises InputError for settings that are none.
        """
        if output_mode not in ("binary_mask", "coco_rle"):
            raise InputError(f"output_mode: expected binary_mask or coco_rle, found {output_mode!r}")
        self.predictor = Predictor(model)
        self._generator = MaskGenerator(self.predictor, generator_preset("library-default", **settings))
        self._output_mode: OutputMode = output_mode

    def generate(self, image: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The masks of a picture, (H, W, 3) uint8 RGB, one record each as `as_published` makes them."""
        return [as_published(mask, self._output_mode) for mask in self._generator.generate(image).masks]


def as_published(mask: Mask, output_mode: OutputMode = "binary_mask") -> dict[str, Any]:
    """A mask as the published generator gives it; boxes are XYWH, counted to the last pixel itself."""
    return {
        "segmentation": rle_codec.decode(mask.rle) if output_mode == "binary_mask" else mask.rle.to_coco(),
        "area": mask.area,
        "bbox": _to_last_pixel(mask.box),
        "predicted_iou": mask.predicted_iou,
        "point_coords": [list(point) for point in mask.prompt.on_object],
        "stability_score": mask.stability_score,
        "crop_box": list(to_xywh(mask.crop_box)),
    }


def stand_in() -> None:
    """Let `import segment_anything` mean this module, for the rest of the process.

    Has `sam_model_registry`, `SamPredictor`, `SamAutomaticMaskGenerator`, and `utils.transforms.ResizeLongestSide`.
    """
    names = {
        "sam_model_registry": sam_model_registry,
        "SamPredictor": Predictor,
        "SamAutomaticMaskGenerator": SamAutomaticMaskGenerator,
        **{f"build_sam_{size}": sam_model_registry[size] for size in ("vit_h", "vit_l", "vit_b")},
        "build_sam": sam_model_registry["default"],
    }
    transforms = _module(f"{_PACKAGE}.utils.transforms", {"ResizeLongestSide": ResizeLongestSide})
    utils = _module(f"{_PACKAGE}.utils", {"transforms": transforms})
    _module(_PACKAGE, {**names, "utils": utils})


def _module(name: str, content: Mapping[str, Any]) -> ModuleType:
    made = ModuleType(name, __doc__)
    made.__path__ = []  # a package, whose parts are already there
    vars(made).update(content)
    sys.modules[name] = made
    return made


def _to_last_pixel(box: Box) -> list[float]:
    x, y, width, height = to_xywh(box)
    return [x, y, width - 1, height - 1]
