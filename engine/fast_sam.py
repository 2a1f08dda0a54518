"""FastSAM (arXiv 2306.12156) without its network: masks of everything come first, prompts choose among them.

The masks are the results of any model that segments all instances, a YOLO-seg for one, in the form of COCO. For the
predictor they are a model like any other (`model.promptable.PromptableModel`), but for masks as prompts.

Shapes: M masks of a picture (H, W); N prompts, P points each; C = 3 answers with multimask output, else 1.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.images import decode_image
from engine.labels.pictures import PictureFinder
from engine.labels.repairs import mask_of
from engine.prompt_files import MaskPrompt, folder_of, read_prompt_file
from engine.rle import decode
from model.mask_decoder import MaskPrediction
from model.published import ResizeLongestSide
from schemas.errors import InputError
from schemas.rle import Rle

Image = npt.NDArray[np.uint8]
# How well each of M masks fits each of N texts, (N, M): higher is better. Of a picture and its masks (M, H, W) bool.
TextScores = Callable[[Image, npt.NDArray[np.bool_], Sequence[str]], npt.NDArray[np.float64]]

_SIDE = 256  # of what pictures are told apart by
_SURE = 10.0  # logits inside of a mask, outside as far below 0
_ANSWERS = 3
LEAST_SCORE = 0.4  # as published


@dataclass(frozen=True)
class ProposedMasks:
    """The masks of a picture (H, W, 3), most confident first. labels: "" where the file has none."""

    image: Image
    rles: tuple[Rle, ...]
    scores: tuple[float, ...]
    labels: tuple[str, ...]

    def masks(self) -> npt.NDArray[np.bool_]:
        """(M, H, W)."""
        height, width = self.image.shape[:2]
        return np.array([decode(rle) for rle in self.rles], dtype=bool).reshape(-1, height, width)


class _Several(list[ProposedMasks]):
    """Of several pictures."""

    def split(self) -> list[ProposedMasks]:
        return list(self)


class FastSam:
    """Answers prompts with the masks that were proposed.

    Points: the most confident masks that have all points on the object and none of the others. A box: the masks whose
    IoU with it, all of its pixels taken, is highest. Texts: the masks that `text_scores` takes for the best.
    """

    image_size = _SIDE
    mask_threshold = 0.0
    stretched = True  # so that what `decode` gives goes to the picture in one step; it has its size already
    device = torch.device("cpu")

    def __init__(self, file: "ProposalFile", *, text_scores: TextScores | None = None) -> None:
        self._file, self._text_scores = file, text_scores

    def preprocess(self, images: Tensor) -> Tensor:
        return images

    def encode(self, pixels: Tensor) -> "ProposedMasks | _Several":
        """pixels: (B, 3, 256, 256), pictures stretched. Raises InputError for a picture that the file has not."""
        found = [self._file.of_pixels(one) for one in pixels.split(1)]
        return found[0] if len(found) == 1 else _Several(found)

    def decode(
        self,
        embedding: ProposedMasks,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """Logits (N, C, H, W) and their confidence, or IoU with the box, (N, C). Raises InputError for mask prompts."""
        if masks is not None:
            raise InputError("FastSAM takes points, boxes and texts, no masks as prompts")
        proposed = embedding.masks()
        scale = np.array([embedding.image.shape[1], embedding.image.shape[0]]) / _SIDE
        count = len(points[0]) if points is not None else len(boxes) if boxes is not None else 0
        fits = np.tile(np.array(embedding.scores), (count, 1))
        if boxes is not None:
            corners = boxes.double().numpy().reshape(-1, 2, 2) * scale
            fits = np.array([box_ious(proposed, corner.ravel()) for corner in corners]).reshape(count, -1)
        if points is not None:
            xy, labels = points[0].double().numpy() * scale, points[1].numpy()
            agree = [points_agree(proposed, *prompt) for prompt in zip(xy, labels, strict=True)]
            fits = np.where(np.array(agree).reshape(count, -1), fits, 0.0)
        return _answers(proposed, fits, _ANSWERS if multimask_output else 1)

    def decode_texts(self, embedding: ProposedMasks, texts: Sequence[str]) -> MaskPrediction:
        """The mask that fits each of N texts best: logits (N, 1, H, W), and its confidence (N, 1).

        Raises InputError where nothing was given that scores texts.
        """
        if self._text_scores is None:
            raise InputError("text: FastSAM chooses by text with a text encoder alone; give one, or points or boxes")
        proposed = embedding.masks()
        if not len(proposed):
            return _answers(proposed, np.zeros((len(texts), 0)), 1)
        best = self._text_scores(embedding.image, proposed, texts).argmax(1)
        fits = np.zeros((len(texts), len(proposed)))
        fits[np.arange(len(texts)), best] = np.array(embedding.scores)[best]
        return _answers(proposed, fits, 1)


def box_ious(masks: npt.NDArray[np.bool_], box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU (M,) of masks (M, H, W) with a box, XYXY pixels, as if it were a mask."""
    left, top, right, bottom = np.round(box).astype(int)
    inside = masks[:, top:bottom, left:right].sum((1, 2))
    union = masks.sum((1, 2)) + (right - left) * (bottom - top) - inside
    ious: npt.NDArray[np.float64] = inside / np.maximum(union, 1)
    return ious


def points_agree(
    masks: npt.NDArray[np.bool_], xy: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which of masks (M, H, W) have every point (P, 2) labelled 1 and none labelled 0; -1 is no point."""
    there = labels >= 0
    columns, rows = np.floor(xy[there] + 1e-3).astype(int).T
    height, width = masks.shape[1:]
    hit = masks[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
    agree: npt.NDArray[np.bool_] = (hit == (labels[there] == 1)).all(1)
    return agree


def _answers(masks: npt.NDArray[np.bool_], fits: npt.NDArray[np.float64], count: int) -> MaskPrediction:
    """The `count` masks that fit best, of fits (N, M); empty ones of fit 0 where no more fit at all."""
    none = np.zeros((1, *masks.shape[1:]), dtype=bool)
    with_none = np.concatenate([masks, none])
    padded = np.concatenate([fits, np.zeros((len(fits), count))], axis=1)
    order = np.argsort(-padded, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(padded, order, axis=1)
    places = np.where(chosen > 0, order, len(masks)).clip(max=len(masks))
    logits = np.where(with_none[places], np.float32(_SURE), np.float32(-_SURE))
    return MaskPrediction(torch.from_numpy(logits), torch.from_numpy(chosen).float())


class ProposalFile:
    """Masks by picture, from a file of results. Pictures are known again by how they look, whatever they are called."""

    def __init__(
        self,
        path: Path,
        *,
        names: Path | None = None,
        images: Path | None = None,
        least_score: float = LEAST_SCORE,
    ) -> None:
        """path, names: as `engine.prompt_files.read_prompt_file` takes them. images: folder of the pictures, by default
        the file's own. least_score: masks of less are left out; those without a score count as sure.

        Raises InputError where the file cannot be read, or has no mask of that score.
        """
        self.path = path
        asked = read_prompt_file(path, names=names)
        self.problems = list(asked.problems)
        labels = {each.get("id"): str(each.get("name", "")) for each in asked.categories if isinstance(each, dict)}
        self._labels = labels
        self._prompts = {name: _sure(prompts, least_score) for name, prompts in asked.prompts.items()}
        if not any(self._prompts.values()):
            raise InputError(f"{path}: no mask with a score of {least_score} or more; it has to hold `segmentation`s")
        root = (images or folder_of(path)).absolute()
        found = PictureFinder(root, whole_folder=True).find_all(list(self._prompts), beside=root, mended=Counter())
        self._paths = {name: place for name, place in found.items() if isinstance(place, Path)}
        self._waiting = list(self._paths)
        self._by_look: dict[bytes, str] = {}

    def of_pixels(self, pixels: Tensor) -> ProposedMasks:
        """Of the picture that was made into pixels (1, 3, 256, 256). Raises InputError where it is not in the file."""
        look = _look(pixels)
        while look not in self._by_look and self._waiting:
            name = self._waiting.pop(0)
            try:
                self._by_look.setdefault(_look_of(decode_image(self._paths[name])), name)
            except InputError:  # one that cannot be read is not the one that was
                continue
        if look not in self._by_look:
            raise InputError(f"{self.path}: has no masks of this picture, or its file was not found")
        return self._proposed(self._by_look[look])

    def _proposed(self, name: str) -> ProposedMasks:
        image = decode_image(self._paths[name])
        height, width = image.shape[:2]
        prompts = sorted(self._prompts[name], key=lambda prompt: -_score(prompt))
        rles = []
        for prompt in prompts:
            try:
                rles.append(mask_of(prompt.mask, height, width, Counter()))
            except InputError as error:
                raise InputError(f"{prompt.source}: {error}") from error
        return ProposedMasks(image, tuple(rles), tuple(map(_score, prompts)), tuple(map(self._label, prompts)))

    def _label(self, prompt: MaskPrompt) -> str:
        told = prompt.fields.get("label") or prompt.fields.get("category")
        return str(told or self._labels.get(prompt.fields.get("category_id"), ""))


def _sure(prompts: Sequence[MaskPrompt], least_score: float) -> list[MaskPrompt]:
    return [prompt for prompt in prompts if prompt.mask and _score(prompt) >= least_score]


def _score(prompt: MaskPrompt) -> float:
    """Raises InputError where it is no number."""
    try:
        return float(prompt.fields.get("score", 1.0))
    except (TypeError, ValueError) as error:
        raise InputError(f"{prompt.source}: its score {prompt.fields['score']!r} is no number") from error


def _look_of(image: Image) -> bytes:
    return _look(ResizeLongestSide(_SIDE, stretched=True).to_tensor(image))


def _look(pixels: Tensor) -> bytes:
    return pixels.round().to(torch.uint8).numpy().tobytes()
