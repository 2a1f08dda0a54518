"""The training loop: encode a batch once, then prompt, predict and correct, round by round (SAM paper, appendix A)."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model import denormals
from model.encoders import ImageEmbedding
from model.image_encoder import DropPath, growing_rates
from model.sam import Sam
from model.training.bad_samples import BadLimit, BadSamples
from model.training.batches import TOO_SMALL, StepBatches, batch_loader
from model.training.checkpoint import Checkpoints
from model.training.config import Phase, TrainingConfig
from model.training.embedding_cache import EmbeddingCache
from model.training.interaction import Draws, RoundKind, interact, plan_rounds
from model.training.losses import interaction_loss, mask_iou
from model.training.memory import images_at_once
from model.training.optimizer import ema_update, learning_rate, parameter_groups
from model.training.processes import OneProcess, Processes
from model.training.regions import resize_masks
from model.training.samples import Batch, SampleSource
from schemas.errors import DivergedError

_SUMS = 4  # losses that are summed over a step
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
    checkpoints: Path | None = None,
    checkpoint_every_s: float = 20.0,
    on_checkpoint: Callable[[], None] | None = None,
    data: str = "",
    too_small: str = TOO_SMALL,
    bad: BadSamples | None = None,
    step_shares: Mapping[str, Tensor] | None = None,
    on_step: Callable[[StepReport], None] | None = None,
) -> list[StepReport]:
    """Train `sam` in place and leave it ready for inference.

    source: what to learn from; weights: how often each sample comes, see `StepBatches`. checkpoints: a folder; where it
    holds some the run goes on from them, to the same weights as if it had never stopped. checkpoint_every_s: a step
    that ends this long after the last checkpoint is followed by one; so is the last step. on_checkpoint: called when
    one was written. data: what tells the source apart from others, for the checkpoints. too_small: see `StepBatches`.
    bad: takes what was skipped, since it cannot be read or shows no mask; None for the default limit.
    step_shares: of each step the share that weights go, by name and in their shapes; others go all of it.
    Where torchrun started several processes, they share each step's pictures. Programs that call it do so under
    `if __name__ == "__main__"`: the processes that make
    batches ahead import the program's file anew.
    Returns the reports of the steps that this call made, the same in every process.
    Raises InputError where nothing can be trained on, too much of it cannot be read, or the checkpoints are of another
    run, DivergedError where the loss is no number any more: the step is not taken, and the last checkpoint stays.
    """
    run = _Run(sam, config, Processes(), step_shares)
    if sam.config.remembers is not None:
        raise ValueError("a model that remembers another is trained without it: model.remembering.newest(sam)")
    bad = BadSamples(BadLimit(len(source))) if bad is None else bad
    batches = StepBatches(
        source,
        config,
        image_size=sam.image_size,
        pad_rgb=sam.pad_rgb,
        weights=weights,
        process=run.processes.index,
        processes=run.processes.count,
        too_small=too_small,
        bad_limit=bad.limit,
    )
    kept = Checkpoints(checkpoints, config, data=data) if checkpoints else None
    step = kept.load({**run.parts(), "bad": bad}) if kept else 0
    reports = []
    loader = batch_loader(batches, first_step=step, workers=config.loader_workers)
    asked = saved = time.perf_counter()
    for batch in loader:
        bad.add(batch.skipped)
        started = time.perf_counter()
        try:
            with denormals.flushed():
                report = run.step(step, batch, wait_s=started - asked)
        except FloatingPointError as error:
            raise DivergedError(_diverged(step, config, kept)) from error
        reports.append(report)
        step += 1
        if on_step:
            on_step(report)
        asked = time.perf_counter()
        if kept and run.processes.is_main and (asked - saved >= checkpoint_every_s or step == config.steps):
            kept.save({**run.parts(), "bad": bad} if bad else run.parts(), step=step)
            if on_checkpoint:
                on_checkpoint()
            asked = saved = time.perf_counter()
    bad.add(run.processes.joined(bad.found()))
    run.processes.wait()
    run.finish()
    return reports


def mean_squared_gradients(
    sam: Sam,
    source: SampleSource,
    config: TrainingConfig,
    *,
    weights: Sequence[float] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Of each weight that is trained, the mean of its squared gradient over the steps of a training that is not made.

    The model stays as it is. Each of several processes sees all of it, and finds the same. Pictures that cannot be read
    are passed over. on_step: told how many steps were looked at.
    Raises InputError where nothing can be trained on, DivergedError where a loss is no number.
    """
    run = _Run(sam, config, OneProcess())
    batches = StepBatches(
        source,
        config,
        image_size=sam.image_size,
        pad_rgb=sam.pad_rgb,
        weights=weights,
        bad_limit=BadLimit(len(source), max_frac=1.0),
    )
    squares = {name: torch.zeros_like(weight) for name, weight in run.trained().items()}
    for step, batch in enumerate(batch_loader(batches, first_step=0, workers=0)):
        try:
            with denormals.flushed():
                run.gradients(step, batch)
        except FloatingPointError as error:
            raise DivergedError(f"look {step}: {error}; the model or the pictures hold what is none") from error
        for name, weight in run.trained().items():
            if weight.grad is not None:
                squares[name] += weight.grad.detach() ** 2 / config.steps
        if on_step:
            on_step(step + 1)
    run.optimizer.zero_grad()
    run.finish()
    return squares


class _Run:
    """A model with its optimiser and averaged weights."""

    def __init__(
        self,
        sam: Sam,
        config: TrainingConfig,
        processes: Processes,
        step_shares: Mapping[str, Tensor] | None = None,
    ) -> None:
        if sam.device.type == "cuda":
            torch.backends.cuda.enable_cudnn_sdp(False)  # compiles anew for every number of masks: .74 s a step, not .2
        self.sam = sam
        self.config = config
        self.processes = processes
        self.step_shares = step_shares or {}
        self.native_size = sam.image_size
        _set_dropout(sam, config.dropout)
        _set_drop_path(sam, config.drop_path)
        sam.image_encoder.requires_grad_(not config.freeze_encoder)
        sam.image_encoder.checkpoint_activations = config.checkpoint_activations
        self.optimizer = torch.optim.AdamW(parameter_groups(sam, config), betas=config.betas)
        self.scaler = torch.amp.GradScaler(sam.device.type, enabled=config.precision == "fp16")
        self.cache = EmbeddingCache(config.cache_embeddings_mib) if config.cache_embeddings_mib else None
        self.ema: dict[str, Tensor] | None = None
        if config.ema_decay is not None:
            self.ema = {name: value.detach().clone() for name, value in sam.state_dict().items()}

    def parts(self) -> dict[str, object]:
        """What a checkpoint holds. All else, data and random numbers, follows from the seed and the step."""
        parts = {"model": self.sam, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts if self.ema is None else parts | {"ema": self.ema}

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The weights that are trained, by name."""
        return {name: weight for name, weight in self.sam.named_parameters() if weight.requires_grad}

    def step(self, step: int, batch: Batch, *, wait_s: float) -> StepReport:
        """Raises FloatingPointError, with the weights as they were, where a loss is not finite."""
        started = time.perf_counter()
        lr = learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        sums, rounds, masks = self.gradients(step, batch)
        self._update(step)
        loss, focal, dice, iou_error = (sums[:_SUMS] / (masks * rounds)).tolist()
        ious = tuple((sums[_SUMS:] / masks).tolist())
        seconds = time.perf_counter() - started
        return StepReport(step, loss, focal, dice, iou_error, ious, lr, masks, seconds, wait_s)

    def gradients(self, step: int, batch: Batch) -> tuple[Tensor, int, int]:
        """Those of one step, in the weights. Returns sums over its masks as `_learn`, its rounds and its masks.

        Raises FloatingPointError where a loss is not finite.
        """
        phase = self.config.phase(step)
        side_px = phase.input_size_px or self.native_size
        if side_px != self.sam.image_size:
            self.sam.set_input_size(side_px)
        self.sam.train()
        torch.manual_seed(_mix(self.config.seed, step, self.processes.index))
        self.optimizer.zero_grad()
        rounds = plan_rounds(
            correction_points=phase.correction_points,
            mask_only_rounds=phase.mask_only_rounds,
            mask_first_prob=self.config.mask_first_prob,
            generator=torch.Generator().manual_seed(_mix(self.config.seed, step)),
        )
        masks = int(self.processes.sum(torch.tensor(len(batch.masks), device=self.sam.device)))
        sums = torch.zeros(_SUMS + len(rounds), device=self.sam.device)
        at_once = images_at_once(self.sam, self.config, side_px=side_px, device=self.sam.device.type)
        for part in batch.parts(at_once):
            draws = Draws.joined([self._draws(step, part, row, phase) for row in range(len(part.images))])
            sums += self._learn(part.to(self.sam.device), draws, rounds, masks=masks)
        sums = self.processes.sum(sums)
        if not torch.isfinite(sums).all():
            raise FloatingPointError("the loss is not a finite number")
        return sums, len(rounds), masks

    def finish(self) -> None:
        """Leave the averaged weights in the model, at its own input size, without dropout."""
        if self.ema is not None:
            self.sam.load_state_dict(self.ema)
        if self.sam.image_size != self.native_size:
            self.sam.set_input_size(self.native_size)
        _set_dropout(self.sam, 0.0)
        _set_drop_path(self.sam, 0.0)
        self.sam.image_encoder.checkpoint_activations = False
        self.sam.requires_grad_(True)
        self.sam.eval()

    def _draws(self, step: int, part: Batch, row: int, phase: Phase) -> Draws:
        seed = _mix(self.config.seed, step, 1 + int(part.slots[row]))
        return Draws.of_picture(part.masks_of(row), phase.correction_points, seed=seed)

    def _learn(self, batch: Batch, draws: Draws, rounds: Sequence[RoundKind], *, masks: int) -> Tensor:
        """Gradients of a batch's share of a step with `masks` masks.

        Every round of every group of masks is back-propagated at once, into the embedding, and the embedding's gradient
        goes through the encoder at the end: memory grows neither with the rounds nor with the masks.
        Returns sums over the masks: total, focal, dice and IoU loss over all rounds, then the IoU of each round.
        """
        with self._autocast(), torch.set_grad_enabled(not self.config.freeze_encoder):
            embedding = self._encode(batch)
        leaves = ImageEmbedding(_leaf(embedding.features), tuple(_leaf(part) for part in embedding.high_res))
        sums = torch.zeros(_SUMS + len(rounds), device=batch.masks.device)
        for first in range(0, len(batch.masks), self.config.masks_at_once):
            some = slice(first, first + self.config.masks_at_once)
            sums += self._interact(leaves, batch, some, draws, rounds, share=1 / (masks * len(rounds)))
        parts = [embedding.features, *embedding.high_res]
        grads = [leaves.features.grad, *(leaf.grad for leaf in leaves.high_res)]
        used = [(part, grad) for part, grad in zip(parts, grads, strict=True) if part.requires_grad]
        if used:
            torch.autograd.backward([part for part, _ in used], [grad for _, grad in used])
        return sums

    def _encode(self, batch: Batch) -> ImageEmbedding:
        def encode(images: Tensor) -> ImageEmbedding:
            return self.sam.encode(self.sam.preprocess(images))

        if self.cache is None:
            return encode(batch.images)
        return self.cache.embeddings(batch.images, batch.samples, encode)

    def _interact(
        self,
        image: ImageEmbedding,
        batch: Batch,
        some: slice,
        draws: Draws,
        rounds: Sequence[RoundKind],
        *,
        share: float,
    ) -> Tensor:
        """All rounds with some of a batch's masks; `share` weighs the loss of one mask in one round."""
        masks, image_index = batch.masks[some], batch.image_index[some]
        targets = resize_masks(masks, self.sam.prompt_encoder.mask_input_size)
        sums = torch.zeros(_SUMS, device=masks.device)
        ious: list[Tensor] = []
        interaction = interact(
            self.sam,
            image,
            masks,
            image_index,
            rounds=rounds,
            draws=draws.part(some, masks.device),
            box_prob=self.config.box_prob,
        )
        while True:
            with self._autocast():
                done = next(interaction, None)
            if done is None:
                return torch.cat([sums, torch.stack(ious)])
            loss = interaction_loss(
                logits=done.prediction.logits,
                predicted_iou=done.prediction.predicted_iou,
                targets=targets.float(),
                supervise_all_iou=self.config.supervise_all_iou,
            )
            self.scaler.scale(loss.total * (len(masks) * share)).backward()
            means = (loss.total.detach(), loss.focal.mean(), loss.dice.mean(), loss.iou.mean())
            sums += torch.stack(means) * len(masks)
            ious.append(mask_iou(done.handed_on, targets).sum())

    def _update(self, step: int) -> None:
        named = self.trained()
        parameters = list(named.values())
        self.processes.sum_gradients(parameters)
        if self.config.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        before = {name: named[name].detach().clone() for name in self.step_shares if name in named}
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            for name, weight in before.items():
                named[name].copy_(weight.lerp(named[name], self.step_shares[name].to(weight.device)))
        if self.ema is not None and self.config.ema_decay is not None:
            ema_update(self.ema, self.sam, decay=self.config.ema_decay, step=step)

    def _autocast(self) -> torch.autocast:
        dtype = _PRECISIONS.get(self.config.precision)
        return torch.autocast(self.sam.device.type, dtype=dtype, enabled=dtype is not None)


def _diverged(step: int, config: TrainingConfig, kept: Checkpoints | None) -> str:
    good = kept.files()[:1] if kept else []
    way_out = f"; the last good checkpoint is {good[0]}" if good else "; no checkpoint was written yet"
    return f"step {step}: the loss is not a finite number; lower the learning rate ({config.lr:g}){way_out}"


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


def _mix(seed: int, step: int, extra: int = 0) -> int:
    """A seed for this step, and for one of several things in it, far from those of their neighbours."""
    return (seed * 1_000_003 + step * 7_919 + extra * 104_729 + 12_345) % 2**62


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    return [round(part, 4) for part in value] if isinstance(value, tuple) else value
