"""What `sam-engine generate` wrote, told from files of others: these it never overwrites, its own it never reads."""

import contextlib
import re
from pathlib import Path

from PIL import Image

from schemas.errors import InputError
from schemas.mask import mask_id
from schemas.sa1b import parse_record

OVERLAY_SUFFIX = "_masks.png"
# Of PNG's text chunks, which programs that draw on leave out.
OVERLAY_MARK = ("Software", "sam-engine generate")
_HEAD = re.compile(rb'\{"image": \{"image_id": (\d+)')
_HEAD_BYTES = 64
_HASHED = 2**32  # image ids are hashes of 63 bits; those of SA-1B are small


def is_own_record(path: Path) -> bool:
    """Whether a JSON file is a record that `generate` wrote: ids in it follow from the picture and the masks."""
    with contextlib.suppress(InputError, OSError, ValueError):
        with path.open("rb") as file:  # most files are told by their beginning
            head = _HEAD.match(file.read(_HEAD_BYTES))
        if head is None or int(head[1]) < _HASHED:
            return False
        record = parse_record(path.read_bytes(), name=str(path))
        image_id, first = record.image.image_id, record.annotations[:1]
        return all(mask.id == mask_id(image_id, "generate", 0, mask.segmentation.counts.encode()) for mask in first)
    return False


def is_own_overlay(path: Path) -> bool:
    """Whether a picture is one with masks drawn in by `generate`."""
    if not path.name.endswith(OVERLAY_SUFFIX):
        return False
    # Pillow's readers raise nearly anything on broken files.
    with contextlib.suppress(Exception), Image.open(path, formats=["PNG"]) as image:
        return image.info.get(OVERLAY_MARK[0]) == OVERLAY_MARK[1]
    return False


def check_overwrites(records: list[Path], overlays: list[Path]) -> None:
    """Raises InputError where one of these files is there and was not written by `generate`."""
    foreign = [path for path in records if path.exists() and not is_own_record(path)]
    foreign += [path for path in overlays if path.exists() and not is_own_overlay(path)]
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"{foreign[0]}{others}: there already, and not written by generate; "
            "choose another --output, or overwrite with --force"
        )
