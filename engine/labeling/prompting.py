"""Label Studio's questions answered: the context of a click becomes prompts, prompts become a mask, a mask a region.

A context holds all points and boxes that an annotator has set for one object: points alone, a box alone, or both
together; what is left in it of earlier objects is taken out (`object_in_hand`). One point alone, or a box alone, is
ambiguous: the model gives three masks, and the one of the highest predicted IoU is answered. A second click at the same
place within ten seconds asks for the next of the three; a suggestion in Label Studio is one mask, so the others cannot
be shown beside it. More points refine: the logits of the mask before go in with them, if this process still has them;
if not, the prompts alone are decoded.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from cachetools import LRUCache
from torch import Tensor

from engine.labeling import prompt_log
from engine.labeling.contexts import OUR_TAGS, Click, DrawnBox, Prompt, Tags, near, read_context, read_tags
from engine.labeling.embeddings import EmbeddingCache, Precomputer, ReadyImage
from engine.labeling.files import file_below
from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks
from engine.labeling.prompt_log import PromptCall, PromptHistory, Seen
from engine.labeling.regions import brush_region
from model.devices import exact_dtype
from model.predictor import Predictor
from model.promptable import PromptedMasks
from model.sam import Sam
from schemas.errors import InputError

SAME_PLACE_S = 10.0
MASKS_OF_A_CLICK = 3
MAX_PROMPTS = 64  # of one object
_REMEMBERED_LOGITS = 128  # of `vit_t` a quarter of a megabyte each
_REMEMBERED_TASKS = 1024
_log = logging.getLogger(__name__)


class ClientLeftError(RuntimeError):
    """Nobody waits for the answer any more."""


class TaskPlace(NamedTuple):
    """A task of a project; None for what a request does not say."""

    project: int | None
    task: int | None


class Decoded(NamedTuple):
    """mask: (H, W) bool. others: predicted IoU of the masks that were not taken, best first. logits: (1, h, w)."""

    mask: npt.NDArray[np.bool_]
    predicted_iou: float
    others: tuple[float, ...]
    logits: Tensor


class Prompter:
    """Answers bodies of POST /predict. Safe to use from several threads; no click waits for another's."""

    def __init__(
        self,
        workspace: Path,
        sam: Sam,
        *,
        model_id: str,
        cache: EmbeddingCache,
        ahead: Precomputer,
        links: PictureLinks = PictureLinks(),
        history: PromptHistory | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """links: addresses of pictures. history: of prompts that other models answered too. clock: Unix time."""
        self._links = links
        self.model_id = model_id
        self._workspace, self._images = workspace, LabelingFolder(workspace).images
        self._sam, self._cache, self._ahead, self._clock = sam, cache, ahead, clock
        self._memory, self._history = _Memory(), history or PromptHistory(workspace)

    def predict(self, request: Mapping[str, Any], left: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """The answer to a request: for a context at most one region, for none an empty list a task.

        left: whether the client has; asked before each step of the model. Raises ClientLeftError where it has.

        Where a context brings no mask because something is wrong, the result says it in "error", which the page of
        our own server shows. Without a context Label Studio asks for predictions of tasks, also of one that has just
        been opened: there are none, but the pictures are encoded ahead.
        """
        started = time.perf_counter()
        tasks = _dicts(request.get("tasks"))
        params = request.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        tags = read_tags(str(request.get("label_config") or ""))
        if context is None:
            if tags is not None:
                self._encode_ahead(self.pictures(tasks, tags), opened=len(tasks) == 1)
            return {"results": [[] for _ in tasks or [{}]]}  # an empty result would be kept as a prediction of nothing
        if tags is None or not tasks:
            return {"results": [self._result(None)]}
        where = TaskPlace(_whole(str(request.get("project")).split(".")[0]), _whole(tasks[0].get("id")))
        try:
            region = self._click(where, tasks[0], tags, read_context(context), started, left)
        except InputError as error:
            _log.error("project %s, task %s: %s", where.project, where.task, error)
            return {"results": [self._result(None) | {"error": str(error)}]}
        return {"results": [self._result(region)]}

    def pictures(self, tasks: Sequence[Mapping[str, Any]], tags: Tags = OUR_TAGS) -> list[Path]:
        """The files of tasks' pictures; those that are not there are logged and left out."""
        paths = []
        for task in tasks:
            try:
                paths.append(self._picture(task, tags))
            except InputError as error:
                _log.warning("task %s: %s", _whole(task.get("id")), error)
        return paths

    def _encode_ahead(self, pictures: Sequence[Path], *, opened: bool) -> None:
        """A single task was opened; several are the queue."""
        if opened:
            for picture in pictures:
                self._ahead.was_opened(picture)
        else:
            self._ahead.queue(pictures)

    def _click(
        self,
        where: TaskPlace,
        task: Mapping[str, Any],
        tags: Tags,
        prompt: Prompt,
        started: float,
        left: Callable[[], bool],
    ) -> dict[str, Any] | None:
        if not prompt.ids:
            return None
        now = self._clock()
        at = {"project": where.project, "task": where.task}
        prompt = self._history.own(prompt, **at, accepted=_regions_of(task), at=now)
        if len(prompt.ids) > MAX_PROMPTS:
            raise InputError(
                f"{len(prompt.ids)} prompts for one object; at most {MAX_PROMPTS}: accept it, or reject it"
            )
        seen = self._history.note(**at, prompt_ids=prompt.ids, at=now)
        region_id, decoded = "", None
        try:
            decoded = self._mask(where, task, tags, prompt, now, left)
            region_id = "" if decoded is None else _region_id(where, prompt, seen, self.model_id)
        finally:
            self._history.answered(prompt, **at, region_id=region_id, at=now)
            self._write_down(where, task, prompt, region_id, decoded, now, 1000 * (time.perf_counter() - started))
        if decoded is None:
            return None
        meta = _meta(prompt, decoded, seen, now, self.model_id)
        score = min(max(decoded.predicted_iou, 0.0), 1.0)
        return brush_region(decoded.mask, region_id=region_id, score=score, meta=meta, tags=tags)

    def _mask(
        self,
        where: TaskPlace,
        task: Mapping[str, Any],
        tags: Tags,
        prompt: Prompt,
        now: float,
        left: Callable[[], bool],
    ) -> Decoded | None:
        """None where the prompts name no object yet. Raises InputError where there is no mask with any pixels."""
        if not prompt.names_an_object:
            return None
        with self._ahead.clicking():
            _go_on_unless(left)
            image = self._cache.get(self._picture(task, tags))
            _go_on_unless(left)
            decoded = self._decode(where, image, prompt, now)
        if decoded.mask.any():
            return decoded
        raise InputError("the model sees nothing at these prompts; try another place, or a box")

    def _decode(self, where: TaskPlace, image: ReadyImage, prompt: Prompt, now: float) -> Decoded:
        rank, asked = self._memory.wanted_mask(where, prompt, now)
        before = self._memory.logits_before(where, prompt) if rank is None else None
        decoded = decode(self._sam, image, asked, rank=rank, mask_input=before)
        self._memory.put(where, prompt, decoded.logits)
        return decoded

    def _picture(self, task: Mapping[str, Any], tags: Tags) -> Path:
        data = task.get("data")
        return file_below(self._images, self._links.path(data.get(tags.data_key) if isinstance(data, dict) else None))

    def _write_down(
        self,
        where: TaskPlace,
        task: Mapping[str, Any],
        prompt: Prompt,
        region_id: str,
        decoded: Decoded | None,
        now: float,
        server_ms: float,
    ) -> None:
        """The mask is answered all the same where this fails: it carries its own times."""
        if where.project is None or where.task is None:
            _log.warning("prompts of no project and task were answered; they are not in the prompt log")
            return
        data = task.get("data")
        call = PromptCall(
            at=now,
            project=where.project,
            task=where.task,
            image_id=str(data.get("image_id", "")) if isinstance(data, dict) else "",
            prompt_ids=prompt.ids,
            points=tuple((click.x, click.y, click.label) for click in prompt.points),
            boxes=tuple(box.xyxy for box in prompt.boxes),
            region_id=region_id,
            predicted_iou=None if decoded is None else decoded.predicted_iou,
            server_ms=round(server_ms, 3),
            model_id=self.model_id,
        )
        try:
            prompt_log.append(self._workspace, call)
        except (InputError, OSError) as error:
            _log.error("%s; this call is not in the prompt log", error)

    def _result(self, region: dict[str, Any] | None) -> dict[str, Any]:
        score = 0.0 if region is None else region["score"]
        return {"model_version": self.model_id, "score": score, "result": [] if region is None else [region]}


class _Memory:
    """What calls leave behind for the next ones: logits to feed back, and the last click with three masks of a task."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logits: LRUCache[tuple[TaskPlace, frozenset[Click | DrawnBox]], Tensor] = LRUCache(_REMEMBERED_LOGITS)
        self._latest: LRUCache[TaskPlace, _AnsweredClick] = LRUCache(_REMEMBERED_TASKS)

    def put(self, where: TaskPlace, prompt: Prompt, logits: Tensor) -> None:
        with self._lock:
            self._logits[where, prompt.parts] = logits

    def logits_before(self, where: TaskPlace, prompt: Prompt) -> Tensor | None:
        """Of the largest earlier prompt of this task that lacks only points of this one."""
        best: frozenset[Click | DrawnBox] = frozenset()
        with self._lock:
            for task, parts in self._logits:
                if task == where and len(best) < len(parts) < len(prompt.parts) and parts < prompt.parts:
                    best = parts if all(isinstance(part, Click) for part in prompt.parts - parts) else best
            return self._logits[where, best] if best else None

    def wanted_mask(self, where: TaskPlace, prompt: Prompt, now: float) -> tuple[int | None, Prompt]:
        """Which of three masks is wanted, best first, None where one is asked for; and the prompt to decode.

        Clicks at one place ask for the masks of the first of them, so that all three come up one after the other.
        """
        click = prompt.repeated_click
        if click is None:
            return (0, prompt) if not prompt.points else (None, prompt)
        with self._lock:
            latest = self._latest.get(where)
            if latest is not None and latest.parts == prompt.parts:
                new = latest
            elif latest is not None and latest.is_asked_again(prompt, now):
                new = _AnsweredClick(latest.click, prompt.parts, now, (latest.rank + 1) % MASKS_OF_A_CLICK)
            elif len(prompt.points) == 1:
                new = _AnsweredClick(click, prompt.parts, now, 0)
            else:
                return None, prompt
            self._latest[where] = new
        return new.rank, Prompt((new.click,))


class _AnsweredClick(NamedTuple):
    """A click that was answered with one of three masks. at: Unix time. rank: of the mask among them, 0 the best."""

    click: Click
    parts: frozenset[Click | DrawnBox]
    at: float
    rank: int

    def is_asked_again(self, prompt: Prompt, now: float) -> bool:
        at_the_place = all(near(click, self.click) for click in prompt.points)
        return at_the_place and not prompt.parts <= self.parts and now - self.at <= SAME_PLACE_S


@torch.no_grad()
def decode(
    sam: Sam, image: ReadyImage, prompt: Prompt, *, rank: int | None, mask_input: Tensor | None = None
) -> Decoded:
    """The mask of a prompt that names an object.

    rank: of three masks the best (0), second or third by predicted IoU; None: one mask. mask_input: (1, h, w) logits.
    Raises InputError where the model gives no numbers.
    """
    predictor = Predictor(sam)
    predictor.set_embedding(image.encoded)
    prompted = _prompted(sam, image, predictor.input_hw, prompt, mask_input, three=rank is not None)
    predicted_iou = prompted.predicted_iou[0]
    if not predicted_iou.isfinite().all():
        raise InputError("the model answers with no numbers; its weights are damaged: use another model")
    order = predicted_iou.argsort(descending=True, stable=True).tolist()
    taken = order.pop((rank or 0) % len(order))  # SAM-HQ gives one mask where three are asked for
    logits = prompted.logits(torch.tensor([taken], device=sam.device)).clone()
    mask = predictor.upscale(logits[None])[0, 0] > sam.mask_threshold
    others = tuple(float(predicted_iou[other]) for other in order)
    return Decoded(mask.cpu().numpy(), float(predicted_iou[taken]), others, logits)


def _prompted(
    sam: Sam, image: ReadyImage, input_hw: tuple[int, int], prompt: Prompt, mask_input: Tensor | None, *, three: bool
) -> PromptedMasks:
    """input_hw: (height, width) of the picture as the model sees it."""
    across = torch.tensor([input_hw[1], input_hw[0]], dtype=exact_dtype(sam.device), device=sam.device) / 100
    points = boxes = None
    if prompt.points:
        percent = across.new_tensor([[(click.x, click.y) for click in prompt.points]])
        labels = torch.tensor([[click.label for click in prompt.points]], device=sam.device)
        points = ((percent * across).float(), labels)
    if prompt.box is not None:
        boxes = (across.new_tensor(prompt.box).view(2, 2) * across).float().view(1, 4)
    masks = None if mask_input is None else mask_input[None]
    return sam.prompt(image.shared, points=points, boxes=boxes, masks=masks, multimask_output=three)


def _go_on_unless(left: Callable[[], bool]) -> None:
    if left():
        raise ClientLeftError


def _regions_of(task: Mapping[str, Any]) -> set[str]:
    """Ids of all that was accepted on a task, as far as Label Studio was told: drafts are kept after five seconds."""
    works = [each for kind in ("drafts", "annotations") for each in _dicts(task.get(kind))]
    regions = [region for work in works for region in _dicts(work.get("result"))]
    return {str(region.get("id")) for region in regions if region.get("type") == "brushlabels"}


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _whole(value: Any) -> int | None:
    """A number of Label Studio's; None for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _region_id(where: TaskPlace, prompt: Prompt, seen: Seen, model_id: str) -> str:
    return hashlib.sha256(repr((where, prompt.ids, seen, model_id)).encode(errors="replace")).hexdigest()[:16]


def _meta(prompt: Prompt, decoded: Decoded, seen: Seen, now: float, model_id: str) -> dict[str, Any]:
    """What a mask says of how it came about: Unix times, percent of the picture, boxes XYXY."""
    meta: dict[str, Any] = {
        "call": seen.calls,
        "t_first": round(seen.first_at, 3),
        "t_last": round(now, 3),
        "n_points": len(prompt.points),
        "n_boxes": len(prompt.boxes),
        "model_id": model_id,
        "predicted_iou": round(decoded.predicted_iou, 4),
        "points": [[round(click.x, 4), round(click.y, 4), click.label] for click in prompt.points],
        "box": None if prompt.box is None else [round(side, 4) for side in prompt.box],
    }
    return meta | ({"other_predicted_iou": [round(iou, 4) for iou in decoded.others]} if decoded.others else {})
