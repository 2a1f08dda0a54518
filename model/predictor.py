"""Prompts in pixels of the picture in, masks of the picture out: the image is encoded once, then prompted many times.

Shapes: N prompts, P points each, C masks a prompt; (h, w) low-resolution mask logits, a quarter of the model's input
size; (H, W) the picture. Points are (x, y), boxes XYXY, both in pixels of the picture.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from model.contract import Contract, ContractName
from model.folded_image import SharedImage
from model.mask_decoder import MaskPrediction
from model.prompts import (
    check_in_pixels,
    check_points_inside,
    check_published,
    check_same_count,
    clip_boxes,
    is_ragged,
    mask_logits,
    to_boxes,
    to_mask_inputs,
    to_points,
)
from model.published import ResizeLongestSide, check_resized, in_rgb
from model.text_prompts import FoundText, TextPrompter
from model.upscaling import Upscaling
from schemas.errors import InputError, WaitError

Numbers = ArrayLike | Tensor | Sequence[ArrayLike]
_TEXT_GRID = 16  # points along the longer side that texts choose among the masks of
_PROMPTS_AT_ONCE = 64
LowRes = MaskPrediction  # what the decoder gives: logits (N, C, h, w) and the IoU it predicts for each, (N, C)


class PromptableModel(Protocol):
    """What the predictor needs of a model; `model.sam.Sam` has it, and so has a fake that replays given outputs."""

    @property
    def image_size(self) -> int: ...

    @property
    def mask_threshold(self) -> float: ...

    @property
    def device(self) -> torch.device: ...

    def preprocess(self, images: Tensor, /) -> Tensor:
        """(B, 3, h, w) uint8 RGB, longest side `image_size`, to what `encode` takes: normalised, padded square."""
        ...

    def encode(self, pixels: Tensor, /) -> Any:
        """Returns whatever `decode` takes as embedding; the predictor only keeps it."""
        ...

    def decode(
        self,
        embedding: Any,
        /,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """points: (N, P, 2) and labels (N, P); boxes: (N, 4); both in pixels of the resized picture."""
        ...


@runtime_checkable
class SharingModel(PromptableModel, Protocol):
    """A model that computes what all prompts of a picture share once; `model.sam.Sam` is one."""

    def precompute(self, embedding: Any, /, *, dtype: torch.dtype, shown_hw: tuple[int, int]) -> Any:
        """Returns whatever `prompt` takes. shown_hw: size of the picture in the padded input."""
        ...

    def prompt(
        self,
        image: Any,
        /,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        multimask_output: bool,
    ) -> "PromptedMasks":
        """points and boxes as `decode` takes them."""
        ...


@runtime_checkable
class TextModel(PromptableModel, Protocol):
    """A model that understands texts by itself, without a text head; `engine.fast_sam.FastSam` is one."""

    def decode_texts(self, embedding: Any, texts: Sequence[str], /) -> MaskPrediction:
        """One mask (C = 1) for each of N texts."""
        ...


class PromptedMasks(Protocol):
    """The masks of N prompts, of which the predicted IoU is known and the logits are made when they are asked for."""

    @property
    def predicted_iou(self) -> Tensor:
        """(N, C) float32."""
        ...

    def logits(self, index: Tensor, /) -> Tensor:
        """(K, h, w) float32 logits of the masks `index` (K,) int64, which counts through (N, C) row by row."""
        ...


@dataclass(frozen=True)
class DecodedMasks:
    """PromptedMasks of which everything is there already. all_logits: (N, C, h, w)."""

    predicted_iou: Tensor
    all_logits: Tensor

    def logits(self, index: Tensor, /) -> Tensor:
        return self.all_logits.flatten(0, 1)[index]


@dataclass(frozen=True)
class EncodedImage:
    """An encoded picture: what its model made of it, and the picture's own (height, width).

    stretched: whether the model saw it stretched to a square, rather than padded.
    """

    embedding: Any
    image_hw: tuple[int, int]
    stretched: bool = False


class Predictor:
    """Masks of one picture for any number of prompts, with the semantics of the published predictor.

    `set_image` (or `set_embedding`) comes first; every prediction then reuses the embedding. Boxes are cut to the
    picture. Threads share a model, not a predictor: a call that comes while another thread is in one raises WaitError.
    """

    def __init__(
        self, sam: PromptableModel, *, contract: ContractName = "exact", text: TextPrompter | None = None
    ) -> None:
        """contract: `exact` gives the published numbers up to rounding, `fast` others in less time.

        text: of the same model (`text_prompter(folder)`), for prompts of words; None to do without.
        Raises InputError for another contract.
        """
        self.sam, self.text = sam, text
        self.contract = Contract(contract, sam.device)
        self._encoded: EncodedImage | None = None
        self._shared: SharedImage | None = None  # what prompts share on the picture in use
        self._grid: Tensor | None = None  # masks of the picture that texts choose among
        self._in_use = threading.RLock()

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.sam.device

    @property
    def encoded(self) -> EncodedImage:
        """The picture in use; keep it and give it to `set_embedding` to come back to it without encoding it again.

        Raises WaitError before the first `set_image`.
        """
        if self._encoded is None:
            raise WaitError("no image is set; call set_image(image) before asking for masks")
        return self._encoded

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
        return self._encoded is not None

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
            self._encoded = self._shared = self._grid = None

    def get_image_embedding(self) -> Tensor:
        """(1, C, h, w) of the picture in use. Raises WaitError before the first `set_image`."""
        embedding = self.encoded.embedding
        return embedding if isinstance(embedding, Tensor) else embedding.features

    def mask_prompt(self, mask: ArrayLike) -> NDArray[np.float32]:
        """A mask (H, W) of the picture in use as `mask_input` (1, h, w): logits at the decoder's resolution.

        Raises InputError for another size, WaitError before `set_image`.
        """
        array = np.asarray(mask).astype(bool)
        if array.shape != self.image_hw:
            raise InputError(f"mask: expected the shape of the picture, {self.image_hw}, found {array.shape}")
        return mask_logits([array], input_hw=self.input_hw, side=self.sam.image_size).numpy()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise WaitError("another thread uses this predictor; give each thread a Predictor of its own, of one model")
        try:
            yield
        finally:
            self._in_use.release()

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
        self._encoded, self._shared, self._grid = encoded, None, None

    @torch.no_grad()
    def predict_low_res(
        self,
        points: Numbers | None,
        labels: Numbers | None,
        *,
        boxes: Numbers | None = None,
        mask_inputs: Numbers | None = None,
        multimask_output: bool = True,
    ) -> LowRes:
        """Masks of N prompts at the decoder's own resolution.

        points: (N, P, 2) with labels (N, P); or, where prompts have different numbers of points, a list of N arrays
            (P_i, 2) with a list of N arrays (P_i,): each prompt then gives what it would give alone. P_i may be 0
            where there are boxes or mask inputs.
        boxes: (N, 4). mask_inputs: (N, 1, h, w) logits of an earlier prediction.
        multimask_output: three masks for each prompt (C = 3), else one (C = 1); SAM-HQ gives the best of three as one.
        Boxes are cut to the picture; a box or a point outside of it is refused.
        Raises InputError where shapes do not fit, a number is not finite, or no prompt is given, and WaitError where
        another thread is in a call.
        """
        with self._alone():
            return self._predict_low_res(points, labels, boxes, mask_inputs, multimask_output)

    @torch.no_grad()
    def predict_texts(
        self,
        texts: Sequence[str],
        points: Numbers | None = None,
        labels: Numbers | None = None,
        *,
        boxes: Numbers | None = None,
    ) -> LowRes:
        """One mask (C = 1) for each of N texts, at the decoder's own resolution.

        Texts alone: everything in the picture that a text says, as one mask, united of those of a grid of points; its
        predicted IoU is how likely all that is. With points and labels, or boxes, as `predict_low_res` takes them: of
        the three masks of each the one that fits its text best, its predicted IoU cut by how likely it is the text's.
        Raises InputError where there is no text encoder, a text is empty, or counts differ; else as `predict_low_res`.
        """
        with self._alone():
            if isinstance(self.sam, TextModel):
                if points is not None or boxes is not None:
                    raise InputError(f"{type(self.sam).__name__} takes texts, points or boxes, not several of them")
                return self.sam.decode_texts(self.encoded.embedding, texts)
            found = self.find_texts(texts)
            if points is not None or boxes is not None:
                check_same_count(texts=texts, points=points, boxes=boxes)
                return found.best(self._predict_low_res(points, labels, boxes, None, True))
            return found.united(self._grid_logits())

    @torch.no_grad()
    def unite(self, found: FoundText) -> LowRes:
        """As `predict_texts` of texts alone, for texts that were found before."""
        with self._alone():
            return found.united(self._grid_logits())

    def _grid_logits(self) -> Tensor:
        """All masks (K, h, w) of a grid of points over the picture in use, made when they are first asked for."""
        if self._grid is None:
            (height, width), (input_h, input_w) = self.image_hw, self.input_hw
            spacing = self.sam.image_size / _TEXT_GRID
            rows, columns = max(1, round(input_h / spacing)), max(1, round(input_w / spacing))
            y, x = (torch.arange(rows) + 0.5) * height / rows, (torch.arange(columns) + 0.5) * width / columns
            points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)
            parts = [self._prompt(some, torch.ones(len(some), 1), None) for some in points.split(_PROMPTS_AT_ONCE)]
            every = [torch.arange(part.predicted_iou.numel(), device=self.device) for part in parts]
            logits = torch.cat([part.logits(rows) for part, rows in zip(parts, every, strict=True)]).float()
            side = self.sam.image_size // 4
            lacking = (0, side - logits.shape[-1], 0, side - logits.shape[-2])  # what shows no picture
            self._grid = F.pad(logits, lacking, value=float(logits.min()))
        return self._grid

    @torch.no_grad()
    def find_texts(self, texts: Sequence[str]) -> FoundText:
        """Where in the picture N texts are, coarsely. Raises InputError as `predict_texts` does."""
        self.check_texts(texts)
        text: Any = self.text
        found: FoundText = text.find(self.get_image_embedding(), texts, shown_hw=self.input_hw)
        return found

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises InputError unless these texts can be looked for, whatever the picture."""
        if isinstance(self.sam, TextModel):
            return
        if self.text is None:
            raise InputError(
                "text: this model has no text head; use the model nano, or train one with: sam-engine train-text"
            )
        if len(texts) == 0:
            raise InputError("text: there is none; say what to look for")
        self.text.embed(texts)

    def _predict_low_res(
        self,
        points: Numbers | None,
        labels: Numbers | None,
        boxes: Numbers | None,
        mask_inputs: Numbers | None,
        multimask_output: bool,
    ) -> LowRes:
        embedding, device = self.encoded.embedding, self.sam.device
        xyxy = clip_boxes(to_boxes(boxes, device=device), self.image_hw)
        masks = to_mask_inputs(mask_inputs, side=self.sam.image_size // 4, device=device)
        if is_ragged(points):
            return self._predict_ragged(points, labels, xyxy, masks, multimask_output)
        clicks = to_points(points, labels, device=device)
        check_same_count(points=clicks and clicks[0], boxes=xyxy, mask_inputs=masks)
        check_points_inside(clicks, self.image_hw)
        return self.sam.decode(
            embedding,
            points=clicks and (self._to_input(clicks[0]), clicks[1]),
            boxes=None if xyxy is None else self._to_input(xyxy.reshape(-1, 2, 2)).reshape(-1, 4),
            masks=masks,
            multimask_output=multimask_output,
        )

    @torch.no_grad()
    def prompt(
        self, points: Numbers | None = None, labels: Numbers | None = None, *, boxes: Numbers | None = None
    ) -> PromptedMasks:
        """Three masks for each of N prompts of P points, (N, P, 2) and (N, P), or of N boxes (N, 4), or of both.

        Logits are made on demand, and what the prompts of a picture share is computed once, so many prompts cost far
        less than by `predict_low_res`. Logits that `upscaling` does not read, those of padding, are left out: they are
        far below zero. Raises InputError as `predict_low_res` does.
        """
        with self._alone():
            return self._prompt(points, labels, boxes)

    def _prompt(self, points: Numbers | None, labels: Numbers | None, boxes: Numbers | None) -> PromptedMasks:
        if not isinstance(self.sam, SharingModel):
            low_res = self.predict_low_res(points, labels, boxes=boxes)
            return DecodedMasks(low_res.predicted_iou, low_res.logits)
        clicks = to_points(points, labels, device=self.sam.device)
        xyxy = clip_boxes(to_boxes(boxes, device=self.sam.device), self.image_hw)
        check_same_count(points=clicks and clicks[0], boxes=xyxy)
        check_points_inside(clicks, self.image_hw)
        if self._shared is None:
            dtype, shown_hw = self.contract.decoder_dtype, self.input_hw
            self._shared = self.sam.precompute(self.encoded.embedding, dtype=dtype, shown_hw=shown_hw)
        return self.sam.prompt(
            self._shared,
            points=None if clicks is None else (self._to_input(clicks[0]), clicks[1]),
            boxes=None if xyxy is None else self._to_input(xyxy.reshape(-1, 2, 2)).reshape(-1, 4),
            multimask_output=True,
        )

    @property
    def upscaling(self) -> Upscaling:
        """The way from low-resolution logits to pixels of the picture."""
        size = self.sam.image_size
        return Upscaling((size, size), self.input_hw, self.image_hw, direct=self._stretched)

    @torch.no_grad()
    def upscale(self, logits: Tensor) -> Tensor:
        """Logits (N, C, h, w) to (N, C, H, W), as `Upscaling` says."""
        return self.upscaling.apply(logits)

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        text: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
        """Masks of one prompt, at the size of the picture.

        point_coords: (P, 2). point_labels: (P,). box: (4,) or (1, 4). mask_input: (1, h, w) logits of an earlier
        prediction, or what `mask_prompt` makes of a mask. No points (0, 2) beside a box or a mask are none.
        text: what to find, alone or beside points or a box, as `predict_texts` says; there is then one mask.
        Returns masks (C, H, W) bool (float logits with return_logits), predicted IoU (C,), and logits (C, h, w) that
        may be given as mask_input of the next prediction.
        Raises InputError as `predict_low_res` does, and where a box is empty or coordinates are fractions of the
        picture; WaitError before `set_image`.
        """
        if box is not None and np.shape(box) == (1, 4):
            box = np.asarray(box)[0]
        if point_coords is not None and np.size(point_coords) == 0 and (box is not None or mask_input is not None):
            point_coords = point_labels = None
        with self._alone():
            check_in_pixels(point_coords, box, self.image_hw)
            points = None if point_coords is None else [point_coords]
            labels = None if point_labels is None else [point_labels]
            boxes = None if box is None else [box]
            if text is None:
                masks_in = None if mask_input is None else [mask_input]
                low_res = self.predict_low_res(
                    points, labels, boxes=boxes, mask_inputs=masks_in, multimask_output=multimask_output
                )
            elif mask_input is None:
                low_res = self.predict_texts([text], points, labels, boxes=boxes)
            else:
                raise InputError("text: goes with points or a box, not with mask_input")
            logits = self.upscale(low_res.logits)[0]
        masks = logits if return_logits else logits > self.sam.mask_threshold
        return masks.cpu().numpy(), low_res.predicted_iou[0].cpu().numpy(), low_res.logits[0].cpu().numpy()

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of N prompts in the input frame, as `transform` makes them of pixels of the picture.

        point_coords: (N, P, 2) with point_labels (N, P). boxes: (N, 4). mask_input: (N, 1, h, w).
        Returns masks (N, C, H, W) bool (float logits with return_logits), predicted IoU (N, C), logits (N, C, h, w).
        Raises InputError as `predict_low_res` does, and as `predict` for empty boxes and fractions; WaitError before
        `set_image`.
        """
        device = self.sam.device
        with self._alone():
            embedding = self.encoded.embedding
            points = to_points(point_coords, point_labels, device=device)
            xyxy = to_boxes(boxes, device=device)
            check_published(points, xyxy, self.input_hw)
            xyxy = clip_boxes(xyxy, self.input_hw)
            masks = to_mask_inputs(mask_input, side=self.sam.image_size // 4, device=device)
            check_same_count(points=points and points[0], boxes=xyxy, mask_inputs=masks)
            decoded = self.sam.decode(
                embedding,
                points=points and (points[0].to(torch.float32), points[1]),
                boxes=None if xyxy is None else xyxy.to(torch.float32),
                masks=masks,
                multimask_output=multimask_output,
            )
            logits = self.upscale(decoded.logits)
        found = logits if return_logits else logits > self.sam.mask_threshold
        return found, decoded.predicted_iou, decoded.logits

    def _predict_ragged(
        self, points: Any, labels: Any, boxes: Tensor | None, masks: Tensor | None, multimask_output: bool
    ) -> LowRes:
        """Decode prompts with the same number of points together: a padding point is a token too and changes masks."""
        check_same_count(points=points, labels=labels, boxes=boxes, mask_inputs=masks)
        lengths = np.array([len(prompt) for prompt in points])
        groups = [np.flatnonzero(lengths == length).tolist() for length in np.unique(lengths)]
        parts = [
            self.predict_low_res(
                [points[row] for row in rows] if lengths[rows[0]] else None,
                [labels[row] for row in rows] if lengths[rows[0]] and labels is not None else None,
                boxes=None if boxes is None else boxes[rows],
                mask_inputs=None if masks is None else masks[rows],
                multimask_output=multimask_output,
            )
            for rows in groups
        ]
        back = torch.as_tensor(np.argsort(np.concatenate(groups)), device=self.sam.device)
        return LowRes(*(torch.cat(tensors)[back] for tensors in zip(*parts, strict=True)))

    def _to_input(self, points_xy: Tensor) -> Tensor:
        """(..., 2) pixels of the picture to float32 pixels of the encoder's input."""
        (height, width), (input_h, input_w) = self.image_hw, self.input_hw
        scale = torch.tensor([input_w / width, input_h / height], dtype=points_xy.dtype, device=points_xy.device)
        return (points_xy * scale).to(torch.float32)


def check_image(image: Any) -> None:
    """Raises InputError unless image is a (H, W, 3) uint8 array with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: expected a numpy array (height, width, 3) of uint8, found {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image: expected (height, width, 3) RGB, found shape {image.shape}")
    if image.dtype != np.uint8:
        raise InputError(f"image: expected uint8 in 0..255, found {image.dtype}; convert it first")
