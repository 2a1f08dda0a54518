"""Where the masks of a study come from: COCO files, COCO results, releases.

A picture is the same in all sources where its file's name is, without folder and extension.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.coco import CocoDataset, coco_of, read_coco
from engine.images import decode_image
from engine.labels.text import read_label_file
from engine.places import place
from engine.release.reader import Release
from schemas.errors import InputError
from schemas.release import MANIFEST_FILE
from schemas.rle import Rle

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Known:
    """A mask before its pixels are needed. object_id: its own in the source. short_px: shorter side of its box."""

    picture: str
    object_id: str
    short_px: float


class Shown(NamedTuple):
    """A mask to show. points: (x, y) that prompted it, on the object."""

    rle: Rle
    points: Points


class Source(Protocol):
    """Masks on pictures. Both methods may be called again."""

    def masks(self) -> list[Known]:
        """All of them, of whatever size."""
        ...

    def pictures(
        self, wanted: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], npt.NDArray[np.uint8]], dict[str, Shown]]]:
        """Name, pixels (H, W, 3) uint8 RGB and masks by object id of the pictures of these names."""
        ...


def open_source(file: Path, *, images: Path | None = None, coco: Path | None = None) -> Source:
    """A release's folder, or a COCO file or results.

    images: folder of the pictures of COCO files, by default beside each. coco: file whose ids of pictures COCO results
    mean, by default those are in the names of the pictures.
    Raises InputError where it is none of these, or has no mask.
    """
    is_release = (place(file) / MANIFEST_FILE).exists()
    source: Source = ReleaseSource(file) if is_release else CocoSource(file, images, coco)
    if not source.masks():
        raise InputError(f"{file}: no mask on a picture that is there")
    return source


class CocoSource:
    """The masks of a COCO file that are no crowds and have an id that no other mask of their picture has."""

    def __init__(self, file: Path, images: Path | None, coco: Path | None) -> None:
        content = read_label_file(file, Counter())
        if coco is not None and isinstance(content, list):
            content = _with_pictures_of(read_label_file(coco, Counter()), content, coco)
            root = images or coco.parent
            self._data: CocoDataset = coco_of(content, file, Counter(), images_root=root)
        else:
            self._data = read_coco(file, images_root=images)
        self._points = _points_of(content)

    def masks(self) -> list[Known]:
        return [
            Known(image.path.stem, object_id, _short_px(shown.rle))
            for image in self._data.images
            for object_id, shown in self._shown(image).items()
        ]

    def pictures(
        self, wanted: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], npt.NDArray[np.uint8]], dict[str, Shown]]]:
        for image in self._data.images:
            if image.path.stem in wanted:
                yield image.path.stem, lambda path=image.path: decode_image(path), self._shown(image)  # type: ignore[misc]

    def _shown(self, image: Any) -> dict[str, Shown]:
        return {
            str(mask.annotation_id): Shown(mask.rle, self._points.get(str(mask.annotation_id), ()))
            for mask in image.masks
            if not mask.iscrowd and mask.annotation_id is not None
        }


class ReleaseSource:
    """The masks of a release, read tar by tar."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: list[Known] | None = None

    def masks(self) -> list[Known]:
        if self._known is None:
            self._known = [
                Known(picture.name, str(annotation.id), min(annotation.bbox[2:]))
                for picture in Release(self._folder)
                for annotation in picture.record.annotations
            ]
        return self._known

    def pictures(
        self, wanted: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], npt.NDArray[np.uint8]], dict[str, Shown]]]:
        for picture in Release(self._folder):
            if picture.name in wanted:
                ids = [str(annotation.id) for annotation in picture.record.annotations]
                masks = [Shown(mask.rle, tuple(mask.prompt.on_object)) for mask in picture.masks()]
                yield picture.name, picture.pixels, dict(zip(ids, masks, strict=True))


def _with_pictures_of(names: Any, results: Sequence[Mapping[str, Any]], coco: Path) -> dict[str, Any]:
    """COCO results as a COCO file with the pictures of another. Raises InputError where they mean other pictures."""
    images = names.get("images") if isinstance(names, dict) else None
    if not isinstance(images, list):
        raise InputError(f"{coco}: not a COCO file: it has no list of images")
    ids = {image.get("id") for image in images}
    known = [each for each in results if isinstance(each, Mapping) and each.get("image_id") in ids]
    if results and not known:
        raise InputError(f"no image_id of the results is in {coco}, the first: {results[0].get('image_id')!r}")
    return {"images": images, "annotations": [{"id": number, **each} for number, each in enumerate(known, start=1)]}


def _points_of(content: Any) -> dict[str, Points]:
    """`point_coords` of annotations, by their id, as SA-1B has them; none where there are none."""
    annotations = content.get("annotations") if isinstance(content, dict) else content
    found = {}
    for each in annotations if isinstance(annotations, list) else ():
        if isinstance(each, Mapping) and each.get("id") is not None and isinstance(each.get("point_coords"), list):
            pairs = [point for point in each["point_coords"] if isinstance(point, list) and len(point) == 2]
            found[str(each["id"])] = tuple((float(x), float(y)) for x, y in pairs)
    return found


def _short_px(mask: Rle) -> float:
    x0, y0, x1, y1 = rle_codec.box(mask)
    return float(min(x1 - x0, y1 - y0))
