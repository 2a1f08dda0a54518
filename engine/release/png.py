"""A release as pictures of masks: `images/sa_1.jpg` and, for each of its masks, `masks/sa_1/ID.png`, 0 or 255."""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.release.reader import Release
from engine.rle import decode


def export_png(release: Release, folder: Path) -> None:
    """One file a mask, since masks overlap; its name is the mask's number."""
    (folder / "images").mkdir()
    for picture in release:
        (folder / "images" / f"{picture.name}.jpg").write_bytes(picture.jpeg)
        masks = folder / "masks" / picture.name
        masks.mkdir(parents=True)
        for mask, row in zip(picture.masks(), picture.mask_rows, strict=True):
            pixels = np.where(decode(mask.rle), np.uint8(255), np.uint8(0))
            Image.fromarray(pixels).convert("1").save(masks / f"{row['id']}.png", optimize=True)
