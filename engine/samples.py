"""COCO files as samples for training and evaluation, without a store."""

import copy
import zlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from engine.coco import CocoImage, CocoMask, Problem, read_coco
from engine.images import DEFAULT_MAX_MEGAPIXELS, decode_image_file, orientation_of
from engine.labels.frames import MaskFrame, upright_masks
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError


class CocoSamples:
    """The images of COCO files that have masks; crowds and empty masks are left out (SAM paper, appendix A).

    problems: what the files hold that could not be read. bad: a line on each image that cannot be had, its picture
    missing or all its masks broken. longest_px: how large a picture's longest side is needed; larger ones may be
    decoded at a fraction of their size, None for never.
    """

    longest_px: int | None = None

    def __init__(
        self,
        files: Sequence[Path],
        *,
        images_root: Path | None = None,
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
        one_annotator: bool = False,
        mask_frame: MaskFrame = "auto",
    ) -> None:
        """images_root: folder that file names are relative to; None for the folder of each file.

        one_annotator: of images that several people annotated, only the masks of the first of them, by name.
        mask_frame: in which frame masks of turned photos were drawn, see `engine.labels.frames.upright_masks`.
        Raises InputError where a file is no COCO file, or where no image with a mask is left.
        """
        datasets = [read_coco(file, images_root=images_root) for file in files]
        self.problems: list[Problem] = [problem for dataset in datasets for problem in dataset.problems]
        self._max_megapixels = max_megapixels
        self._mask_frame = mask_frame
        self.bad = [f"{each.source}: {each.reason}" for each in self.problems if each.kind == "image"]
        self._images: list[tuple[CocoImage, list[CocoMask]]] = []  # masks alone, without crowds
        self._without: list[tuple[CocoImage, list[CocoMask]]] = []  # images that have none
        self._is_part = False  # whether some masks were left out on purpose
        read = [image for dataset in datasets for image in dataset.images]
        images = [image for image in read if image.masks]
        self._without += [(image, []) for image in read if not image.masks and not image.bad_masks]
        self.bad += [_broken(image) for image in read if image.bad_masks and not image.masks]
        with ThreadPoolExecutor() as pool:
            turned = list(pool.map(_is_turned, images))
        for image, is_turned in zip(images, turned, strict=True):
            shown = self._upright(image) if is_turned else image
            if shown is None:
                continue
            first = min(mask.annotator for mask in shown.masks) if one_annotator else None
            masks = [mask for mask in shown.masks if not mask.iscrowd and first in (None, mask.annotator)]
            (self._images if masks else self._without).append((shown, masks))
        if not self._images:
            names = ", ".join(str(file) for file in files)
            raise InputError(f"{names}: no image with a mask in it" + _first(self.problems))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Raises InputError where the picture cannot be read or has another size than the file claims."""
        image, masks = self._images[index]
        decoded = decode_image_file(image.path, max_megapixels=self._max_megapixels, longest_px=self.longest_px)
        height, width = decoded.full_hw
        if image.masks and (height, width) != (image.height, image.width):
            raise InputError(
                f"{image.path}: the picture is {width}x{height}, its COCO file says "
                f"{image.width}x{image.height}; correct the file"
            )
        return Sample(
            decoded.pixels,
            [mask.rle.coco() for mask in masks],
            str(image.path),
            image.coco_id,
            [_facts(mask) for mask in masks],
            [(mask.rle.coco(), _facts(mask)) for mask in _crowds(image)],
        )

    def _upright(self, image: CocoImage) -> CocoImage | None:
        """An image whose photo is turned, with its masks in the frame of the upright picture; None where unsure."""
        try:
            decoded = decode_image_file(image.path, max_megapixels=self._max_megapixels)
            rles = [mask.rle for mask in image.masks]
            turned = upright_masks(rles, decoded.pixels, orientation=decoded.orientation, frame=self._mask_frame)
        except InputError as error:
            reason = str(error).removeprefix(f"{image.path}: ")
            self.problems.append(Problem(str(image.path), "image", reason))
            self.bad.append(f"{image.path}: {reason}")
            return None
        masks = [replace(mask, rle=rle) for mask, rle in zip(image.masks, turned, strict=True)]
        return replace(image, height=turned[0].height, width=turned[0].width, masks=masks)

    def complete(self) -> "CocoSamples":
        """The same with all images of the files, those without masks at the end.

        Raises InputError where masks were left out (`sampled`): what is missing would count as not there.
        """
        if self._is_part:
            raise InputError("all masks of a picture are needed here; leave --max-masks and --min-area out")
        whole = copy.copy(self)
        whole._images = self._images + self._without
        return whole

    def of_annotations(self, ids: Collection[int | str]) -> "CocoSamples | None":
        """The same with the masks alone whose annotations have these ids; None where there are none."""
        kept = [(image, [mask for mask in masks if mask.annotation_id in ids]) for image, masks in self._images]
        fewer = copy.copy(self)
        fewer._images = [(image, masks) for image, masks in kept if masks]
        fewer._is_part = True
        return fewer if fewer._images else None

    def annotation_ids(self, index: int) -> list[int | str | None]:
        """Of the masks of an image, in their order."""
        return [mask.annotation_id for mask in self._images[index][1]]

    def sampled(self, *, max_masks: int | None, min_area_px: int = 1, seed: int = 0) -> "CocoSamples":
        """The same with fewer masks: those of at least `min_area_px`, and of these a random choice over all images.

        Raises InputError where no mask is left.
        """
        every = [(number, mask) for number, (_, masks) in enumerate(self._images) for mask in masks]
        large = [(number, mask) for number, mask in every if coco_mask.area(mask.rle.coco()) >= min_area_px]
        if not large:
            raise InputError(f"no mask has {min_area_px} px or more; lower --min-area")
        chosen = list(range(len(large)))
        if max_masks is not None and max_masks < len(large):
            chosen = sorted(np.random.default_rng(seed).permutation(len(large))[:max_masks].tolist())
        kept: dict[int, list[CocoMask]] = {}
        for index in chosen:
            number, mask = large[index]
            kept.setdefault(number, []).append(mask)
        fewer = copy.copy(self)
        fewer._images = [(self._images[number][0], masks) for number, masks in kept.items()]
        fewer._is_part = self._is_part or len(chosen) < len(every)
        return fewer

    def labels(self) -> set[str]:
        """Of all masks and crowds; "" where one has none."""
        return {mask.label for image, masks in self._images for mask in (*masks, *_crowds(image))}

    @property
    def paths(self) -> list[Path]:
        """(N,) the file of each picture."""
        return [image.path for image, _ in self._images]

    @property
    def mask_count(self) -> int:
        """Of all images together."""
        return sum(len(masks) for _, masks in self._images)

    def sampled_images(self, *, least_masks: int, seed: int = 0) -> "CocoSamples":
        """Images at random, each with all its masks, as many as it takes to have that many masks; at most all."""
        order = np.random.default_rng(seed).permutation(len(self))
        counts = np.cumsum([len(self._images[index][1]) for index in order])
        chosen = sorted(order[: int(np.searchsorted(counts, least_masks)) + 1].tolist())
        fewer = copy.copy(self)
        fewer._images = [self._images[index] for index in chosen]
        fewer._is_part = True
        return fewer

    def filtered(self, keep: Callable[[Path], bool]) -> "CocoSamples | None":
        """The same with the pictures alone whose file `keep` wants; None where it wants none."""
        fewer = copy.copy(self)
        fewer._images = [(image, masks) for image, masks in self._images if keep(image.path)]
        fewer._without = [(image, masks) for image, masks in self._without if keep(image.path)]
        return fewer if fewer._images else None

    def some(self, count: int, *, seed: int = 0) -> list[Sample]:
        """`count` images at random, all where there are fewer, in the order of the files."""
        chosen = np.random.default_rng(seed).permutation(len(self))[:count]
        return [self[int(index)] for index in sorted(chosen)]

    def fingerprint(self) -> str:
        """8 hex digits that change with the images' names and masks, for the card of a model trained on them."""
        value = 0
        for image, masks in self._images:
            value = zlib.crc32(image.path.name.encode(), value)
            for mask in masks:
                value = zlib.crc32(mask.rle.counts, value)
        return f"{value:08x}"


def _crowds(image: CocoImage) -> list[CocoMask]:
    return [mask for mask in image.masks if mask.iscrowd]


def _facts(mask: CocoMask) -> MaskFacts:
    return MaskFacts(mask.annotator, mask.category_id, mask.frequency, mask.label)


def _broken(image: CocoImage) -> str:
    return f"{image.path}: none of its {image.bad_masks} masks can be read"


def _first(problems: list[Problem]) -> str:
    return f"; first of {len(problems)} problems: {problems[0].source}: {problems[0].reason}" if problems else ""


def _is_turned(image: CocoImage) -> bool:
    try:
        return orientation_of(image.path) != 1
    except InputError:  # whoever reads the picture says so
        return False
