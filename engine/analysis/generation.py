"""What a run of the mask generator took and threw away, summed over its images."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from engine.masks.counters import PHASES
from engine.masks.filters import REASONS
from schemas.round_metrics import GenerationMetrics

_PHASE_NAMES = {
    "decode_image": "decode image",
    "encode": "encode",
    "prompt_decode": "prompt + decode",
    "filter": "filter",
    "nms": "NMS",
    "rle": "RLE",
}


@dataclass(frozen=True)
class GenerationSummary:
    """Sums over a run's images. seconds: for each phase. dropped: masks for each reason."""

    images: int
    masks: int
    seconds: dict[str, float]
    dropped: dict[str, int]

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def images_per_s(self) -> float:
        return self.images / self.total_s if self.total_s > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "masks": self.masks,
            "images_per_s": round(self.images_per_s, 4),
            "seconds": {phase: round(spent, 4) for phase, spent in self.seconds.items()},
            "dropped": self.dropped,
        }

    def __str__(self) -> str:
        """Two lines for people: time by phase, and what was dropped for which reason."""
        phases = ", ".join(f"{_PHASE_NAMES.get(phase, phase)} {spent:.2f}" for phase, spent in self.seconds.items())
        reasons = (f"{reason.replace('_', ' ')} {count:,}" for reason, count in self.dropped.items() if count)
        dropped = ", ".join(reasons) or "none"
        return f"{self.images_per_s:.3g} img/s; seconds: {phases}\nmasks dropped: {dropped}"


def summarise(parts: Iterable[tuple[int, Mapping[str, float], Mapping[str, int]]]) -> GenerationSummary:
    """parts: for each image its masks, the seconds of each phase, and the masks dropped for each reason."""
    images = masks = 0
    seconds, dropped = dict.fromkeys(PHASES, 0.0), dict.fromkeys(REASONS, 0)
    for made, spent, lost in parts:
        images, masks = images + 1, masks + made
        seconds = {phase: seconds.get(phase, 0.0) + spent.get(phase, 0.0) for phase in {**seconds, **spent}}
        dropped = {reason: dropped.get(reason, 0) + lost.get(reason, 0) for reason in {**dropped, **lost}}
    return GenerationSummary(images, masks, seconds, dropped)


def generation_sums(generation: pa.Table) -> dict[str, Any]:
    """Rows of the table `generation` summed, as plain values: of `summarise`, and what the contract `fast` changed."""
    rows = generation.select(["masks", "seconds", "dropped", "difference_to_exact"]).to_pylist()
    summary = summarise((row["masks"], json.loads(row["seconds"]), json.loads(row["dropped"])) for row in rows)
    differences = [json.loads(row["difference_to_exact"]) for row in rows if row["difference_to_exact"]]
    return asdict(summary) | {"differences": differences}


def generation_metrics(sums: Mapping[str, Any]) -> GenerationMetrics:
    """What is kept of a round, from `generation_sums` added up."""
    summary = GenerationSummary(**{name: sums[name] for name in ("images", "masks", "seconds", "dropped")})
    seen = {"difference_to_exact": sums["differences"]} if sums["differences"] else {}
    return GenerationMetrics.model_validate(summary.to_dict() | seen)
