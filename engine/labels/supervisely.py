"""Supervisely's form: ann/NAME.jpg.json for the picture NAME.jpg, with `size` and `objects`."""

import base64
import io
import zlib
from pathlib import Path
from typing import Any

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.mask_pictures import read_samples
from engine.labels.outlines import even_odd
from engine.labels.repairs import whole
from schemas.errors import InputError

_BACKGROUND = "__bg__"  # of projects that were made for semantic segmentation


class SuperviselyImporter:
    """Reads polygons, with their holes, and bitmaps. Rectangles, lines, points and cuboids are no masks."""

    def recognises(self, content: Any) -> bool:
        """Whether it has a size with height and width, and objects."""
        size = content.get("size") if isinstance(content, dict) else None
        return (
            isinstance(size, dict) and {"height", "width"} <= size.keys() and isinstance(content.get("objects"), list)
        )

    def read(self, content: Any, path: Path) -> Imported:
        """The picture is named by the file alone."""
        size = (whole(content["size"]["height"]), whole(content["size"]["width"]))
        image = {"id": 0, "file_name": path.name.removesuffix(".json"), "height": size[0], "width": size[1]}
        records = [
            {"id": number, "image_id": 0, "label": str(each.get("classTitle", ""))}
            | {"segmentation": _segmentation(each, size)}
            for number, each in enumerate(content["objects"], start=1)
            if isinstance(each, dict) and each.get("classTitle") != _BACKGROUND
        ]
        return Imported({"images": [image], "annotations": records})


def _segmentation(each: dict[str, Any], size: tuple[Any, Any]) -> Any:
    if not all(isinstance(side, int) for side in size):
        return None
    try:
        if isinstance(each.get("bitmap"), dict):
            return _bitmap(each["bitmap"], size)
        if each.get("geometryType", each.get("shape", "polygon")) == "polygon":
            rings = [each["points"]["exterior"], *each["points"].get("interior", [])]
            flat = [[float(number) for corner in ring for number in corner] for ring in rings]
            return even_odd(flat, height=size[0], width=size[1]) if len(flat) > 1 else flat
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        zlib.error,
        InputError,
    ):  # it does not hold what its kind needs
        return None
    return None


def _bitmap(bitmap: dict[str, Any], size: tuple[Any, Any]) -> Any:
    """A PNG in zlib in base64; what is opaque, or not 0, is the object."""
    samples = read_samples(io.BytesIO(zlib.decompress(base64.b64decode(bitmap["data"]))), "RGBA")
    if samples is None:
        return None
    alpha, grey = samples[..., 3], samples[..., :3].max(axis=2)
    inside = alpha > 0 if (alpha == 0).any() else grey > 0
    left, top = (round(number) for number in bitmap["origin"])
    return rle_codec.encode_at(inside, x0=left, y0=top, height=size[0], width=size[1]).to_coco()


IMPORTER = SuperviselyImporter()
