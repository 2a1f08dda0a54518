"""The card of a release: its `README.md`, which people read and Hugging Face's `datasets` loads the release by."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from engine.release.licences import LICENSE_FILE, known_licence
from schemas.config import SIMULATED, CardConfig
from schemas.counted import counted
from schemas.release import Manifest
from schemas.stages import ANNOTATED_STAGES

CARD_FILE = "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
_NUMBERS = {"list": "float64"}
_SEGMENTATION = [{"name": "size", "list": "int64"}, {"name": "counts", "dtype": "string"}]
# Of the json. Told, because `datasets` would take them from the first pictures, which need not have every field.
_ANNOTATION = [
    {"name": "id", "dtype": "int64"},
    {"name": "segmentation", "struct": _SEGMENTATION},
    {"name": "bbox", **_NUMBERS},
    {"name": "area", "dtype": "int64"},
    {"name": "predicted_iou", "dtype": "float64"},
    {"name": "stability_score", "dtype": "float64"},
    {"name": "crop_box", **_NUMBERS},
    {"name": "point_coords", "list": _NUMBERS},
    {
        "name": "prompt",
        "struct": [
            {"name": "points", "list": _NUMBERS},
            {"name": "box", **_NUMBERS},
            {"name": "segmentation", "struct": _SEGMENTATION},
        ],
    },
]
_IMAGE = [{"name": name, "dtype": "int64"} for name in ("image_id", "width", "height")]
_FEATURES = [
    {"name": "__key__", "dtype": "string"},
    {"name": "__url__", "dtype": "string"},
    {"name": "jpg", "dtype": "image"},
    {
        "name": "json",
        "struct": [
            {"name": "image", "struct": [*_IMAGE, {"name": "file_name", "dtype": "string"}]},
            {"name": "annotations", "list": _ANNOTATION},
        ],
    },
]
_READ = """import json, tarfile
from PIL import Image
from pycocotools import mask

with tarfile.open("NAME/sa_000000.tar") as tar:
    for name in sorted({member.split(".")[0] for member in tar.getnames()}):
        picture = Image.open(tar.extractfile(f"{name}.jpg"))
        record = json.load(tar.extractfile(f"{name}.json"))
        masks = [mask.decode(each["segmentation"]) for each in record["annotations"]]  # (H, W) uint8 each
"""


def card_text(manifest: Manifest) -> str:
    """The whole file: YAML that the hub and `datasets` read, and what people read."""
    card = manifest.config.card
    # Through JSON, so that no part is the same object twice: YAML would write an alias, which `datasets` does not read.
    front_matter = json.loads(json.dumps(_front_matter(manifest, card)))
    front = yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True, width=120)
    sections = {
        "": _summary(manifest, card),
        "What is in it": _contents(manifest),
        "How it was made": _making(manifest, card),
        "Reading it": _reading(manifest),
        "Privacy": _privacy(manifest),
        "What it does not say": _limits(manifest),
        "Uses": card.uses.strip(),
        "Licence, citation, contact": _terms(card),
    }
    body = "\n".join(f"## {title}\n\n{text}\n" if title else f"{text}\n" for title, text in sections.items() if text)
    return f"---\n{front}---\n\n# {card.name or manifest.name}\n\n{body}"


def _front_matter(manifest: Manifest, card: CardConfig) -> Mapping[str, Any]:
    size = next((name for limit, name in _SIZES if manifest.images < limit), "n>10M")
    return {
        **_licence(card),
        "pretty_name": card.name or manifest.name,
        "task_categories": ["image-segmentation", "mask-generation"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": "*.tar"}],
        "dataset_info": {"features": _FEATURES},
    }


def _licence(card: CardConfig) -> dict[str, str]:
    """The hub refuses names of licences that it does not know."""
    if not card.license:
        return {}
    if known_licence(card):
        return {"license": card.license.lower()}
    slug = re.sub(r"[^a-z0-9]+", "-", card.license.lower()).strip("-")
    return {"license": "other", "license_name": slug or "other", "license_link": LICENSE_FILE}


def _summary(manifest: Manifest, card: CardConfig) -> str:
    each = manifest.masks / manifest.images if manifest.images else 0.0
    text = (
        f"{counted(manifest.masks, 'mask')} on {counted(manifest.images, 'picture')} "
        f"({each:.1f} a picture), in the form of "
        "[SA-1B](https://ai.meta.com/datasets/segment-anything/), made with sam-data-engine."
    )
    if manifest.withheld:
        text += " These pictures were withheld from all other releases of the same workspace, as a test set."
    shown = "![Some of its pictures, each beside itself with its masks](preview.jpg)"
    return "\n\n".join(part for part in (text, card.motivation.strip(), card.pictures.strip(), shown) if part)


def _contents(manifest: Manifest) -> str:
    lines = [
        "| file | what it holds |",
        "| --- | --- |",
        f"| `sa_000000.tar`, ... ({len(manifest.tars)}) | `sa_1.jpg` and `sa_1.json` side by side |",
        "| `index/images`, `index/masks` | Parquet: a row a picture, a row a mask, with stage, round, model, scores |",
        "| [`DATASHEET.md`](DATASHEET.md) | why and how it was made, what is in it, what it is not good for |",
        "| `statistics.json`, `preview.jpg` | its numbers, and some of its pictures |",
        "| `croissant.json` | the same for programs ([Croissant](https://mlcommons.org/croissant) with RAI fields) |",
        "| `LICENSE` | under which terms |",
        "| `manifest.json` | what the release was made of; size and sha256 of every other file |",
    ]
    if manifest.changes:
        lines.append(f"| `changes.json` | what was added, removed and changed since `{manifest.previous}` |")
    return "\n".join(lines)


def _making(manifest: Manifest, card: CardConfig) -> str:
    how = {
        True: "annotators worked with the model's help, in rounds after each of which the model was retrained",
        False: "the model worked alone, and its masks were filtered by predicted IoU, stability and overlap",
    }
    lines = [f"- `{stage}`: {how[stage in ANNOTATED_STAGES]}." for stage in manifest.stages]
    if simulated := manifest.annotators.get(SIMULATED, 0):
        lines.append(
            f"- {simulated:,} of the masks come from a simulated annotator: a program that knows the ground truth, in "
            "place of people."
        )
    if manifest.merged:
        named = ", ".join(f"`{each.name}` ({counted(each.images, 'picture')})" for each in manifest.merged)
        lines.append(f"- Merged of {len(manifest.merged)} releases: {named}. The datasheet says more.")
    chosen = manifest.config.masks.model_dump(exclude_defaults=True)
    if chosen:
        said = ", ".join(f"{name} {value}" for name, value in chosen.items())
        lines.append(f"- Of these masks, those with: {said}.")
    lines.append(f"- Pictures are JPEG, the shortest side at most {manifest.config.shortest_side_px:,} px.")
    if manifest.masks_lost:
        lines.append(f"- Masks that were too thin to show at that size are left out: {manifest.masks_lost:,}.")
    if manifest.images_without_masks:
        lines.append(f"- Pictures without a mask are left out: {manifest.images_without_masks:,}.")
    return "\n".join(lines)


def _reading(manifest: Manifest) -> str:
    last = manifest.tars[-1].tar.name if manifest.tars else "sa_000000.tar"
    tars = last if len(manifest.tars) == 1 else f"sa_{{000000..{last[3:-4]}}}.tar"
    text = (
        f"From the folder that holds it:\n\n```python\n{_READ}```\n\n"
        "or, with [datasets](https://huggingface.co/docs/datasets):\n\n"
        '```python\nfrom datasets import load_dataset\n\npictures = load_dataset("NAME", split="train")\n'
        'pictures[0]["jpg"], pictures[0]["json"]["annotations"]\n```\n\n'
        "or, as a stream, with [webdataset](https://github.com/webdataset/webdataset):\n\n"
        '```python\nimport webdataset\n\nfor picture in webdataset.WebDataset("NAME/TARS", shardshuffle=False).decode('
        '"pil"):\n    picture["jpg"], picture["json"]["annotations"]\n```\n\n'
        "Masks are COCO's compressed run lengths. Boxes are XYWH, points (x, y), in pixels of the picture. A score "
        "that nobody measured is null: masks that people drew have none."
    )
    return text.replace("NAME", manifest.name).replace("TARS", tars)


def _privacy(manifest: Manifest) -> str:
    if not manifest.blur_versions:
        return "Nothing was blurred: faces and licence plates are as they were photographed."
    named = ", ".join(f"{name} ({version})" for name, version in manifest.blur_versions.items())
    return (
        f"Blurred where they were found: {named}. No detector finds all; the index says where, with the score "
        "(`blurred`). Masks were made on the pictures before. Released pictures carry no EXIF, GPS or thumbnail."
    )


def _limits(manifest: Manifest) -> str:
    lines = ["- Masks are of no class, unless `label` in the index says one."]
    if any(stage not in ANNOTATED_STAGES for stage in manifest.stages):
        lines.append("- Automatic masks were not looked at one by one. Parts and wholes may both be there.")
    lines.append("- What no mask shows is not background: pictures need not be annotated to the last object.")
    return "\n".join(lines)


def _terms(card: CardConfig) -> str:
    known = known_licence(card)
    named = f"[{known.spdx}]({known.url})" if known else card.license
    lines = [
        f"Licence: {named}, see [`LICENSE`](LICENSE)"
        if card.license
        else "No licence was stated: ask before you use it.",
        f"Rights holder: {card.holder}" if card.holder else "",
        f"Contact: {card.contact}" if card.contact else "",
        f"Page: {card.url}" if card.url else "",
        f"Version: {card.version}" if card.version else "",
        f"Published: {card.published}" if card.published else "",
        f"```bibtex\n{card.citation.strip()}\n```" if card.citation else "",
        card.maintenance.strip(),
    ]
    return "\n\n".join(line for line in lines if line)
