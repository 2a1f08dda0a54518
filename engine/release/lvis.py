"""A release as LVIS instances: `images/` and `annotations.json`, which the `lvis` package reads."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from engine.release.coco import export_coco
from engine.release.reader import Release

_RARE, _COMMON = 10, 100  # pictures that a category is on, at most, to be rare or common (LVIS, section 3)


def export_lvis(release: Release, folder: Path) -> None:
    """COCO's form with what LVIS adds; the whole json is in memory while that is added.

    No picture is known to lack a category, nor to be annotated to its last object: `neg_category_ids` are empty and
    `not_exhaustive_category_ids` has all categories of the picture.
    """
    export_coco(release, folder)
    file = folder / "annotations.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    of_picture: dict[int, set[int]] = defaultdict(set)
    instances: Counter[int] = Counter()
    for annotation in content["annotations"]:
        of_picture[annotation["image_id"]].add(annotation["category_id"])
        instances[annotation["category_id"]] += 1
        del annotation["iscrowd"]
    on_pictures = Counter(category for found in of_picture.values() for category in found)
    for image in content["images"]:
        there = sorted(of_picture[image["id"]])
        image |= {"coco_url": "", "neg_category_ids": [], "not_exhaustive_category_ids": there}
    for category in content["categories"]:
        images = on_pictures[category["id"]]
        category |= {
            "synset": "",
            "synonyms": [category["name"]],
            "def": "",
            "frequency": "r" if images <= _RARE else "c" if images <= _COMMON else "f",
            "image_count": images,
            "instance_count": instances[category["id"]],
        }
    file.write_text(json.dumps(content), encoding="utf-8")
