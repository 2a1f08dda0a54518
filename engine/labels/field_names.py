"""Names of COCO's fields as tools spell them: `Images`, `imageId`, `fileName`, `is_crowd`, `polygon`."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

_OF_FILE = {name: name for name in ("images", "annotations", "categories")}
_OF_RECORD = {
    **{name.replace("_", ""): name for name in ("id", "image_id", "category_id", "bbox", "iscrowd", "label")},
    **dict.fromkeys(("segmentation", "polygon", "polygons", "rle"), "segmentation"),
}
_OF_IMAGE = {name: name for name in ("id", "width", "height")} | {"imageid": "id", "filename": "file_name"}
# Of a picture's name or address, those that mean it first.
_NAMES = (
    *("file_name", "coco_url", "flickr_url", "path", "url", "filename", "name", "image", "file", "image_path"),
    *("file_path", "filepath", "image_name", "imgname", "img", "src"),
)
_WRITTEN = "names of fields written in another way"


def usual_file(content: Any, mended: Counter[str]) -> Any:
    """A COCO file whose lists have names in other letters, or that lies alone within an object or a list.

    Anything else as it is.
    """
    if _is_coco(content):
        return content
    found = content[0] if isinstance(content, list) and len(content) == 1 else content
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if _is_coco(renamed := _renamed(found, _OF_FILE)):
        mended["COCO file within something else" if _is_coco(found) else _WRITTEN] += 1
        return renamed
    return content


def usual_record(record: Any, needed: str, mended: Counter[str]) -> Any:
    """An annotation with the usual names of its fields, where it lacks `needed` and has another one for it."""
    return _usual(record, needed, _OF_RECORD, mended)


def usual_image(record: Any, mended: Counter[str]) -> Any:
    """An image with the usual names of its fields, where it has its id under another one."""
    return _usual(record, "id", _OF_IMAGE, mended)


def _usual(record: Any, needed: str, fields: Mapping[str, str], mended: Counter[str]) -> Any:
    if not isinstance(record, dict) or needed in record or needed not in (renamed := _renamed(record, fields)):
        return record
    mended[_WRITTEN] += 1
    return renamed


def name_of(record: Mapping[str, Any]) -> str | None:
    """The name or address of an image's picture; None where it has none."""
    usual = {_plain(key): value for key, value in record.items()} if "file_name" not in record else {}
    names = (record.get(key) or usual.get(_plain(key)) for key in _NAMES)
    return next((name for name in names if isinstance(name, str) and name and "\0" not in name), None)


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("images"), list | dict) and "annotations" in content


def _renamed(record: Any, fields: Mapping[str, str]) -> Any:
    """With the usual name beside each that is written otherwise; what has its usual name stays."""
    if not isinstance(record, dict):
        return record
    usual = {fields.get(_plain(key), key): value for key, value in record.items()}
    return {**usual, **record}


def _plain(key: Any) -> str:
    return str(key).replace("_", "").replace("-", "").replace(" ", "").casefold()
