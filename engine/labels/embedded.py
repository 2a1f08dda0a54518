"""Pictures that lie within label files, in base64."""

import base64
import binascii
import re
from pathlib import Path

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


def picture_in(text: object) -> bytes | None:
    """The bytes of a picture in base64 or in such an address; None where it is none, or empty."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text.partition(",")[2] if _DATA_URL.match(text) else text) or None
    except (binascii.Error, ValueError):
        return None


def is_data_url(text: str) -> bool:
    """Whether it is an address that holds its picture, `data:image/...;base64,...`."""
    return _DATA_URL.match(text) is not None


def put_picture(folder: Path, name: str, data: bytes) -> Path:
    """Write a picture as a file of its own into a folder, which is made where it is missing. name: tells the ending."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}{Path(name).suffix.lower()[:8]}"
    path.write_bytes(data)
    return path
