"""The training loop: encode a batch once, then prompt, predict and correct, round by round (SAM paper, appendix A)."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.image_encoder import DropPath, growing_rates
from model.sam import ImageEmbedding, Sam
from model.training.batches import StepBatches, batch_loader
from model.training.checkpoint import load_checkpoint, save_checkpoint
from model.training.config import TrainingConfig
from model.training.interaction import (
    Prompts,
    correction_points,
    first_prompts,
    plan_rounds,
    resize_masks,
)
from model.training.losses import interaction_loss, mask_iou
from model.training.optimizer import ema_update, learning_rate, parameter_groups
from model.training.samples import Batch, SampleSource

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepReport:
    """What one step did. loss, focal, dice, iou_error: means over its rounds; ious: mean IoU after each round."""

    step: int
    loss: float
    focal: float
    dice: float
    iou_error: float
    ious: tuple[float, ...]
    lr: float
    masks: int
    seconds: float
    wait_s: float

    def to_json(self) -> str:
        return json.dumps({key: _rounded(value) for key, value in self.__dict__.items()})


def train(
    sam: Sam,
    source: SampleSource,
    config: TrainingConfig,
    *,
    weights: Sequence[float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 200,
    on_step: Callable[[StepReport], None] | None = None,
) -> list[StepReport]:
    """Train `sam` in place and leave it ready for inference.

    source: what to learn from; weights: how often each sample comes, see `StepBatches`. checkpoint: a file; where it
    exists the run goes on from it, to the same weights as if it had never stopped.
    Returns the reports of the steps that this call made.
    Raises InputError where nothing can be trained on, the checkpoint is of another run, or the loss is not finite.
    """
    run = _Run(sam, config)
    batches = StepBatches(source, config, image_size=sam.image_size, weights=weights)
    step = load_checkpoint(checkpoint, run.state(), config) if checkpoint and checkpoint.exists() else 0
    reports = []
    loader = batch_loader(batches, first_step=step, workers=config.loader_workers)
    asked = time.perf_counter()
    for batch in loader:
        started = time.perf_counter()
        report = run.step(step, batch, wait_s=started - asked)
        reports.append(report)
        step += 1
        if on_step:
            on_step(report)
        if checkpoint and (step % checkpoint_every == 0 or step == config.steps):
            save_checkpoint(checkpoint, run.state(), config, step=step)
        asked = time.perf_counter()
    run.finish()
    return reports


class _Run:
    """A model with its optimiser and averaged weights."""

    def __init__(self, sam: Sam, config: TrainingConfig) -> None:
        self.sam = sam
        self.config = config
        self.native_size = sam.image_size
        _set_dropout(sam, config.dropout)
        _set_drop_path(sam, config.drop_path)
        sam.image_encoder.requires_grad_(not config.freeze_encoder)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(sam, config), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.ema: dict[str, Tensor] | None = None
        if config.ema_decay is not None:
            self.ema = {name: value.detach().clone() for name, value in sam.state_dict().items()}

    def state(self) -> dict[str, object]:
        """The parts of a checkpoint; tensors are shared with the run, so that loading into them restores it."""
        return {"model": self.sam, "optimizer": self.optimizer, "ema": self.ema}

    def step(self, step: int, batch: Batch, *, wait_s: float) -> StepReport:
        started = time.perf_counter()
        phase = self.config.phase(step)
        if phase.input_size_px is not None and phase.input_size_px != self.sam.image_size:
            self.sam.set_input_size(phase.input_size_px)
        self.sam.train()
        torch.manual_seed(_mix(self.config.seed, step))
        generator = torch.Generator().manual_seed(_mix(self.config.seed, step) + 1)
        lr = learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        self.optimizer.zero_grad(set_to_none=True)
        sums, ious = self._interact(batch, generator, phase.correction_points, phase.mask_only_rounds)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.sam.parameters(), self.config.grad_clip)
        self.optimizer.step()
        if self.ema is not None and self.config.ema_decay is not None:
            ema_update(self.ema, self.sam, decay=self.config.ema_decay, step=step)
        loss, focal, dice, iou_error = (sums / len(ious)).tolist()
        seconds = time.perf_counter() - started
        return StepReport(step, loss, focal, dice, iou_error, tuple(ious), lr, len(batch.masks), seconds, wait_s)

    def finish(self) -> None:
        """Leave the averaged weights in the model, at its own input size, without dropout."""
        if self.ema is not None:
            self.sam.load_state_dict(self.ema)
        if self.sam.image_size != self.native_size:
            self.sam.set_input_size(self.native_size)
        _set_dropout(self.sam, 0.0)
        _set_drop_path(self.sam, 0.0)
        self.sam.requires_grad_(True)
        self.sam.eval()

    def _interact(
        self, batch: Batch, generator: torch.Generator, corrections: int, mask_only: bool
    ) -> tuple[Tensor, list[float]]:
        """All rounds of one step, each back-propagated at once: memory does not grow with the number of rounds."""
        rounds = plan_rounds(correction_points=corrections, mask_only_rounds=mask_only, generator=generator)
        with self._autocast(), torch.set_grad_enabled(not self.config.freeze_encoder):
            embedding = self.sam.encode(self.sam.preprocess(batch.images))
        leaves = ImageEmbedding(_leaf(embedding.features), tuple(_leaf(part) for part in embedding.high_res))
        targets = resize_masks(batch.masks, self.sam.prompt_encoder.mask_input_size)
        prompts: Prompts | None = None
        logits: Tensor | None = None
        sums, ious = torch.zeros(4), []
        for kind in rounds:
            if kind == "first" or prompts is None:
                prompts = first_prompts(batch.masks, box_prob=self.config.box_prob, generator=generator)
            elif kind == "point" and logits is not None:
                prompts = prompts.add(*correction_points(batch.masks, logits, generator=generator))
            logits, losses, iou = self._round(leaves, batch, prompts, logits, targets, share=1 / len(rounds))
            sums += losses
            ious.append(iou)
        parts = [embedding.features, *embedding.high_res]
        grads = [leaves.features.grad, *(leaf.grad for leaf in leaves.high_res)]
        used = [(part, grad) for part, grad in zip(parts, grads, strict=True) if part.requires_grad]
        if used:
            torch.autograd.backward([part for part, _ in used], [grad for _, grad in used])
        return sums, ious

    def _round(
        self,
        image: ImageEmbedding,
        batch: Batch,
        prompts: Prompts,
        previous: Tensor | None,
        targets: Tensor,
        share: float,
    ) -> tuple[Tensor, Tensor, float]:
        """Predict, and back-propagate `share` of the loss. Returns the logits to feed back, losses, and mean IoU.

        One prompt is ambiguous and gets three masks; once there is more than one, the fourth token answers.
        """
        with self._autocast():
            sparse = self.sam.prompt_encoder.embed_points(prompts.coords, prompts.labels)
            dense = self.sam.prompt_encoder.embed_masks(
                None if previous is None else previous[:, None], len(prompts.coords)
            )
            prediction = self.sam.decode_tokens(
                image, sparse, dense, image_index=batch.image_index, multimask_output=previous is None
            )
        logits, predicted_iou = prediction.logits.float(), prediction.predicted_iou.float()
        loss = interaction_loss(
            logits=logits,
            predicted_iou=predicted_iou,
            targets=targets.float(),
            supervise_all_iou=self.config.supervise_all_iou,
        )
        if not torch.isfinite(loss.total):
            raise FloatingPointError("the loss is not a finite number; lower the learning rate")
        (loss.total * share).backward()
        best = predicted_iou.detach().argmax(1)
        fed_back = logits.detach()[torch.arange(len(logits)), best]
        losses = torch.stack([loss.total.detach(), loss.focal.mean(), loss.dice.mean(), loss.iou.mean()])
        return fed_back, losses, float(mask_iou(fed_back, targets).mean())

    def _autocast(self) -> torch.autocast:
        dtype = _PRECISIONS.get(self.config.precision)
        return torch.autocast(self.sam.device.type, dtype=dtype, enabled=dtype is not None)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _set_dropout(sam: Sam, probability: float) -> None:
    for module in sam.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability


def _set_drop_path(sam: Sam, last: float) -> None:
    modules = [module for module in sam.image_encoder.modules() if isinstance(module, DropPath)]
    for module, rate in zip(modules, growing_rates(last, len(modules)), strict=True):
        module.rate = rate


def _mix(seed: int, step: int) -> int:
    """A seed for this step, far from those of its neighbours."""
    return (seed * 1_000_003 + step * 7_919 + 12_345) % 2**62


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    return [round(part, 4) for part in value] if isinstance(value, tuple) else value
