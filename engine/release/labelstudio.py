"""A release for Label Studio: `images/`, `tasks.json` with masks as brush strokes, `labels.xml` to show them."""

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from engine.labeling.contexts import OUR_TAGS
from engine.labeling.regions import brush_region
from engine.release.reader import PictureOfRelease, Release

_NO_LABEL = "object"


def export_labelstudio(release: Release, folder: Path) -> None:
    """A task a picture, a region a mask, under the mask's label.

    The server reads pictures from its local storage, as `NAME/images/sa_1.jpg` below its document root, with the
    release's NAME: export to a folder of that name there.
    """
    (folder / "images").mkdir()
    labels: dict[str, None] = {}
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        for number, picture in enumerate(release):
            (folder / "images" / f"{picture.name}.jpg").write_bytes(picture.jpeg)
            task = _task(picture, release.manifest.name, labels)
            file.write(("[\n" if number == 0 else ",\n") + json.dumps(task))
        file.write("\n]\n" if len(release) else "[]\n")
    (folder / "labels.xml").write_text(_config(list(labels)), encoding="utf-8")


def _task(picture: PictureOfRelease, name: str, labels: dict[str, None]) -> dict[str, Any]:
    regions = []
    for mask, row in zip(picture.masks(), picture.mask_rows, strict=True):
        label = row["label"] or _NO_LABEL
        labels.setdefault(label)
        regions.append(brush_region(mask.rle, region_id=str(row["id"]), tags=OUR_TAGS._replace(label=label)))
    image = f"/data/local-files/?d={name}/images/{picture.name}.jpg"
    return {"data": {OUR_TAGS.data_key: image}, "annotations": [{"result": regions}]}


def _config(labels: list[str]) -> str:
    values = "".join(f"    <Label value={quoteattr(label)}/>\n" for label in labels)
    return (
        f'<View>\n  <Image name="{OUR_TAGS.image}" value="${OUR_TAGS.data_key}" zoom="true"/>\n'
        f'  <BrushLabels name="{OUR_TAGS.brush}" toName="{OUR_TAGS.image}">\n{values}  </BrushLabels>\n</View>\n'
    )
