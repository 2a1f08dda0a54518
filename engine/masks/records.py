"""Generated masks as an SA-1B record."""

from collections.abc import Iterable, Sequence

from schemas.mask import Mask, mask_id
from schemas.sa1b import Sa1bAnnotation, Sa1bRecord, image_record


def sa1b_record(
    masks: Iterable[Mask],
    *,
    image_id: int,
    file_name: str,
    height: int,
    width: int,
    parents: Sequence[int | None] | None = None,
) -> Sa1bRecord:
    """The record of a picture of height x width pixels and the masks that were generated for it.

    A mask's id follows from the picture's and its pixels, so that records of many pictures can be put together; of
    masks that are equal pixel for pixel the first is written. Boxes are COCO's: pycocotools finds the same.
    parents: for each mask the index of its parent (`engine.masks.nesting`), written as the parent's id; without them
    the records have no such field. Nor have they labels, but for masks that have one.
    Raises ValueError if there are not as many parents as masks.
    """
    masks = list(masks)
    ids = [mask_id(image_id, "generate", 0, mask.rle.counts) for mask in masks]
    annotations: dict[int, Sa1bAnnotation] = {}
    for annotation_id, mask in zip(ids, masks, strict=True):
        named = {"label": mask.label} if mask.label else {}
        annotations.setdefault(annotation_id, mask.to_sa1b(annotation_id).model_copy(update=named))
    if parents is not None:
        for annotation_id, parent in zip(ids, parents, strict=True):
            nested = {"parent": None if parent is None else ids[parent]}
            annotations[annotation_id] = annotations[annotation_id].model_copy(update=nested)
    image = image_record(image_id=image_id, width=width, height=height, file_name=file_name)
    return Sa1bRecord(image=image, annotations=list(annotations.values()))
