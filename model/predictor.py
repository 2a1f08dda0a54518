"""Prompts in pixels of the picture in, masks of the picture out: the image is encoded once, then prompted many times.

Shapes: N prompts, P points each, C masks a prompt; (h, w) low-resolution mask logits, a quarter of the model's input
size; (H, W) the picture. Points are (x, y), boxes XYXY, both in pixels of the picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from model.contract import Contract, ContractName
from model.image_holder import ImageHolder
from model.mask_decoder import MaskPrediction
from model.promptable import DecodedMasks, PromptableModel, PromptedMasks, SharingModel, TextModel
from model.prompts import (
    Prompts,
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
from model.text_prompts import FoundText, TextPrompter, points_for_texts
from schemas.errors import InputError

Numbers = ArrayLike | Tensor | Sequence[ArrayLike]
_PROMPTS_AT_ONCE = 64


class Predictor(ImageHolder):
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
        super().__init__(sam, Contract(contract, sam.device))
        self.text = text

    def mask_prompt(self, mask: ArrayLike) -> NDArray[np.float32]:
        """A mask (H, W) of the picture in use as `mask_input` (1, h, w): logits at the decoder's resolution.

        Raises InputError for another size, WaitError before `set_image`.
        """
        array = np.asarray(mask).astype(bool)
        if array.shape != self.image_hw:
            raise InputError(f"mask: expected the shape of the picture, {self.image_hw}, found {array.shape}")
        return mask_logits([array], input_hw=self.input_hw, side=self.sam.image_size).numpy()

    @torch.no_grad()
    def predict_low_res(
        self,
        points: Numbers | None,
        labels: Numbers | None,
        *,
        boxes: Numbers | None = None,
        mask_inputs: Numbers | None = None,
        multimask_output: bool = True,
    ) -> MaskPrediction:
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

    def _predict_low_res(
        self,
        points: Numbers | None,
        labels: Numbers | None,
        boxes: Numbers | None,
        mask_inputs: Numbers | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        embedding = self.encoded.embedding
        if is_ragged(points):
            return self._predict_ragged(points, labels, boxes, mask_inputs, multimask_output)
        prompts = self._read(points, labels, boxes, mask_inputs)
        return self.sam.decode(embedding, **prompts._asdict(), multimask_output=multimask_output)

    def _read(
        self, points: Numbers | None, labels: Numbers | None, boxes: Numbers | None, mask_inputs: Numbers | None = None
    ) -> Prompts:
        """Prompts in pixels of the picture, checked, as the model takes them."""
        device, image_hw = self.sam.device, self.image_hw
        clicks = to_points(points, labels, device=device)
        xyxy = clip_boxes(to_boxes(boxes, device=device), image_hw)
        masks = to_mask_inputs(mask_inputs, side=self.sam.image_size // 4, device=device)
        check_same_count(points=clicks and clicks[0], boxes=xyxy, mask_inputs=masks)
        check_points_inside(clicks, image_hw)
        return Prompts(
            clicks and (self.transform.apply_coords_torch(clicks[0], image_hw), clicks[1]),
            None if xyxy is None else self.transform.apply_boxes_torch(xyxy, image_hw),
            masks,
        )

    def _predict_ragged(
        self, points: Any, labels: Any, boxes: Numbers | None, mask_inputs: Numbers | None, multimask_output: bool
    ) -> MaskPrediction:
        """Decode prompts with the same number of points together: a padding point is a token too and changes masks."""
        xyxy = to_boxes(boxes, device=self.sam.device)
        masks = to_mask_inputs(mask_inputs, side=self.sam.image_size // 4, device=self.sam.device)
        check_same_count(points=points, labels=labels, boxes=xyxy, mask_inputs=masks)
        lengths = np.array([len(prompt) for prompt in points])
        groups = [np.flatnonzero(lengths == length).tolist() for length in np.unique(lengths)]
        parts = [
            self.predict_low_res(
                [points[row] for row in rows] if lengths[rows[0]] else None,
                [labels[row] for row in rows] if lengths[rows[0]] and labels is not None else None,
                boxes=None if xyxy is None else xyxy[rows],
                mask_inputs=None if masks is None else masks[rows],
                multimask_output=multimask_output,
            )
            for rows in groups
        ]
        back = torch.as_tensor(np.argsort(np.concatenate(groups)), device=self.sam.device)
        return MaskPrediction(*(torch.cat(tensors)[back] for tensors in zip(*parts, strict=True)))

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
        prompts = self._read(points, labels, boxes)
        if self._image.shared is None:
            dtype, shown_hw = self.contract.decoder_dtype, self.input_hw
            self._image.shared = self.sam.precompute(self.encoded.embedding, dtype=dtype, shown_hw=shown_hw)
        return self.sam.prompt(self._image.shared, points=prompts.points, boxes=prompts.boxes, multimask_output=True)

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

    @torch.no_grad()
    def predict_texts(
        self,
        texts: Sequence[str],
        points: Numbers | None = None,
        labels: Numbers | None = None,
        *,
        boxes: Numbers | None = None,
    ) -> MaskPrediction:
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
    def unite(self, found: FoundText) -> MaskPrediction:
        """As `predict_texts` of texts alone, for texts that were found before."""
        with self._alone():
            return found.united(self._grid_logits())

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

    def _grid_logits(self) -> Tensor:
        """All masks (K, h, w) of a grid of points over the picture in use, made when they are first asked for."""
        if self._image.grid is None:
            points = points_for_texts(self.image_hw, self.input_hw, side=self.sam.image_size)
            parts = [self._prompt(some, torch.ones(len(some), 1), None) for some in points.split(_PROMPTS_AT_ONCE)]
            every = [torch.arange(part.predicted_iou.numel(), device=self.device) for part in parts]
            logits = torch.cat([part.logits(rows) for part, rows in zip(parts, every, strict=True)]).float()
            side = self.sam.image_size // 4
            lacking = (0, side - logits.shape[-1], 0, side - logits.shape[-2])  # what shows no picture
            self._image.grid = F.pad(logits, lacking, value=float(logits.min()))
        return self._image.grid
