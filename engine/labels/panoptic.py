"""COCO's panoptic form: for each picture a PNG whose colours are segment ids (red + 256 green + 65536 blue)."""

from pathlib import Path
from typing import Any

import numpy as np

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.mask_pictures import inside, read_indices, read_samples


class PanopticImporter:
    """Reads segments of things and of stuff alike. The PNGs lie beside the file, or in the folder of its name."""

    def recognises(self, content: Any) -> bool:
        """Whether annotations have `segments_info`."""
        annotations = content.get("annotations") if isinstance(content, dict) else None
        return isinstance(annotations, list) and any(
            isinstance(record, dict) and isinstance(record.get("segments_info"), list) for record in annotations
        )

    def read(self, content: Any, path: Path) -> Imported:
        """One annotation for each segment; without a mask where its PNG is missing or lacks it."""
        annotations: list[Any] = []
        files: set[Path] = set()
        for record in content["annotations"]:
            if not isinstance(record, dict) or not isinstance(record.get("segments_info"), list):
                annotations.append(record)
                continue
            name = str(record.get("file_name", ""))
            png = inside(path.parent, name) or inside(path.parent, f"{path.stem}/{name}")
            files.update([png] if png else [])
            ids = _ids(png, _wanted(record["segments_info"]))
            for segment in record["segments_info"]:
                fields = segment if isinstance(segment, dict) else {}
                annotations.append({**fields, "image_id": record.get("image_id"), "segmentation": _rle(ids, fields)})
        return Imported({**content, "annotations": annotations}, frozenset(files))


def _wanted(segments: list[Any]) -> set[int]:
    return {each["id"] for each in segments if isinstance(each, dict) and isinstance(each.get("id"), int)}


def _ids(png: Path | None, wanted: set[int]) -> np.ndarray | None:
    """The segment of each pixel: by its colour, or by its number where more of the wanted are there so (16 bits)."""
    colours = read_samples(png, "RGB") if png else None
    if png is None or colours is None:
        return None
    ids = colours.astype(np.int64) @ np.array([1, 256, 65536])
    there = wanted & set(np.unique(ids).tolist())
    numbers = None if there == wanted else read_indices(png)
    by_number = numbers is not None and len(wanted & set(np.unique(numbers).tolist())) > len(there)
    return numbers if by_number else ids


def _rle(ids: np.ndarray | None, segment: dict[str, Any]) -> Any:
    wanted = segment.get("id")
    return None if ids is None or not isinstance(wanted, int) else rle_codec.encode(ids == wanted).to_coco()


IMPORTER = PanopticImporter()
