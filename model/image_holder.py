"""The picture that prompts are about: encoded once, kept, and come back to.

Shapes: (H, W) the picture; (h, w) the picture as the model sees it, before padding, and (h, w) of logits a quarter of
the model's input size.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.contract import Contract
from model.encoded_image import EncodedImage, check_image
from model.folded_image import SharedImage
from model.promptable import PromptableModel
from model.published import ResizeLongestSide, check_resized, in_rgb
from model.upscaling import Upscaling
from schemas.errors import WaitError


@dataclass
class ImageInUse:
    """An encoded picture, and what is made of it once it is asked for.

    shared: what prompts have in common. grid: masks (K, h, w) that texts choose among.
    """

    encoded: EncodedImage
    shared: SharedImage | None = None
    grid: Tensor | None = None


class ImageHolder:
    """Encodes pictures with a model and holds one of them; `model.predictor.Predictor` prompts for its masks."""

    def __init__(self, sam: PromptableModel, contract: Contract) -> None:
        self.sam, self.contract = sam, contract
        self._in_hand: ImageInUse | None = None
        self._lock = threading.RLock()

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.sam.device

    @property
    def encoded(self) -> EncodedImage:
        """The picture in use; keep it and give it to `set_embedding` to come back to it without encoding it again.

        Raises WaitError before the first `set_image`.
        """
        return self._image.encoded

    @property
    def _image(self) -> ImageInUse:
        if self._in_hand is None:
            raise WaitError("no image is set; call set_image(image) before asking for masks")
        return self._in_hand

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the picture."""
        return self.encoded.image_hw

    @property
    def input_hw(self) -> tuple[int, int]:
        """(height, width) of the picture as the encoder saw it, before padding."""
        return self.transform.resized_hw(self.image_hw)

    @property
    def is_image_set(self) -> bool:
        """Whether there is a picture to ask for masks of."""
        return self._in_hand is not None

    @property
    def transform(self) -> ResizeLongestSide:
        """From pixels of a picture to the input frame, which `predict_torch` and `set_torch_image` take."""
        return ResizeLongestSide(self.sam.image_size, stretched=self._stretched)

    @property
    def _stretched(self) -> bool:
        """Whether the model sees pictures stretched to a square."""
        return getattr(self.sam, "stretched", False)

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode a picture, (H, W, 3) uint8. image_format: "RGB" or "BGR".

        Raises InputError for any other shape, type or format.
        """
        with self._alone():
            check_image(image)
            self.set_embedding(self.encode_images([in_rgb(image, image_format)])[0])

    @torch.no_grad()
    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, int]) -> None:
        """Encode a picture (1, 3, h, w) RGB in 0..255 that `transform` resized from (height, width).

        Raises InputError for another shape.
        """
        check_resized(transformed_image, side=self.sam.image_size)
        with self._alone(), self.contract.autocast():
            embedding = self.sam.encode(self.sam.preprocess(transformed_image.to(self.sam.device)))
            height, width = original_image_size
            self.set_embedding(EncodedImage(embedding, image_hw=(height, width), stretched=self._stretched))

    def reset_image(self) -> None:
        """Forget the picture."""
        with self._alone():
            self._in_hand = None

    def get_image_embedding(self) -> Tensor:
        """(1, C, h, w) of the picture in use. Raises WaitError before the first `set_image`."""
        embedding = self.encoded.embedding
        return embedding if isinstance(embedding, Tensor) else embedding.features

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise WaitError("another thread uses this predictor; give each thread a Predictor of its own, of one model")
        try:
            yield
        finally:
            self._lock.release()

    @torch.no_grad()
    def encode_images(self, images: Sequence[NDArray[np.uint8]]) -> list[EncodedImage]:
        """Encode pictures together, each (H, W, 3) uint8 RGB and of any size; `set_embedding` takes what comes back.

        Raises InputError for any other shape or type.
        """
        pixels = []
        for image in images:
            check_image(image)
            pixels.append(self.sam.preprocess(self.transform.to_tensor(image).to(self.sam.device)))
        with self.contract.autocast():
            if len(images) == 1:  # a model that has no batches need not know how to split one
                embeddings = [self.sam.encode(pixels[0])]
            else:
                embeddings = self.sam.encode(torch.cat(pixels)).split() if images else []
        return [
            EncodedImage(embedding, image_hw=(image.shape[0], image.shape[1]), stretched=self._stretched)
            for embedding, image in zip(embeddings, images, strict=True)
        ]

    def set_embedding(self, encoded: EncodedImage) -> None:
        """Go back to a picture that this model encoded before."""
        self._in_hand = ImageInUse(encoded)

    @property
    def upscaling(self) -> Upscaling:
        """The way from low-resolution logits to pixels of the picture."""
        size = self.sam.image_size
        return Upscaling((size, size), self.input_hw, self.image_hw, direct=self._stretched)

    @torch.no_grad()
    def upscale(self, logits: Tensor) -> Tensor:
        """Logits (N, C, h, w) to (N, C, H, W), as `Upscaling` says."""
        return self.upscaling.apply(logits)
