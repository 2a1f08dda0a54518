"""Label files of tools whose form is not read, known by a few of their fields, with what to export instead."""

from typing import Any

_ASK_FOR = "export it as COCO instead"


def other_tool(content: Any) -> str:
    """What a label file is, and what to do with it; "" where it is of no form that is known."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return ""
    keys = first.keys()
    if _is_of_boxes(first, keys):
        return "boxes, which are no masks; sam-engine masks makes masks of boxes in COCO json or a .csv"
    if {"data_row", "projects"} <= keys or {"Labeled Data", "Label"} <= keys:
        return f"an export of Labelbox, whose masks lie behind links; {_ASK_FOR}"
    if {"dataset", "release"} & keys and isinstance(first.get("dataset"), dict) and "samples" in first["dataset"]:
        return f"a release of Segments.ai, whose masks lie behind links; {_ASK_FOR}"
    if {"frames", "ontology"} <= keys or {"objectLabels", "frames"} <= keys:
        return f"labels of a video; {_ASK_FOR}, a picture each"
    if "samples" in keys and "_id" not in keys and isinstance(first.get("samples"), list):
        return f"FiftyOne's own form; {_ASK_FOR} (COCODetectionDataset)"
    return ""


def _is_of_boxes(first: dict[Any, Any], keys: Any) -> bool:
    """Of results of a detector, a table of boxes, or CreateML."""
    names = {str(key).strip().lower() for key in keys}
    if {"image_id", "bbox"} <= names or {"xmin", "ymin", "xmax", "ymax"} <= names or {"x1", "y1", "x2", "y2"} <= names:
        return True
    drawn = first.get("annotations")
    return (
        "image" in names
        and isinstance(drawn, list)
        and bool(drawn)
        and isinstance(drawn[0], dict)
        and "coordinates" in drawn[0]
    )
