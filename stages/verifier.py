"""The verifier at a gate: it learns from the answers of earlier gates and answers where it is sure; people are asked
the rest, and a share of what it is sure about (SAM 3 paper, section 4: AI verifiers).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from engine import rle as rle_codec
from engine.files import storage_errors
from engine.keys import content_key
from engine.labeling.folder import Scope
from engine.mirrors import folder_here, put_folder
from engine.quality.gate_records import GateRecords
from engine.quality.gate_sample import GateSample
from engine.quality.sampling import sample_size
from engine.store import Store
from model.devices import device_of
from model.mask_features import mask_features
from model.mask_verifier import MaskVerifier, fit_verifier, load_verifier, out_of_fold_scores, save_verifier
from model.predictor import Predictor
from model.registry import find_model
from model.storage import load_model
from model.weights_folder import CARD_FILE
from schemas.config import EngineConfig
from schemas.errors import InputError
from schemas.labeling import Verdict
from schemas.rle import Rle
from schemas.stages import STAGES
from schemas.tables import Round
from stages.progress import Progress, silent
from stages.sure_threshold import SureFrom
from stages.verifier_thresholds import VerifierThresholds, choose_thresholds

# Part of every verifier's key and of the names of kept features: raise it when equal answers would give another one.
VERIFIER_VERSION = 1
MIN_ANSWERS = 200  # with 50 and 100 the stated precision was missed on four and on one of five sets
MIN_OF_A_KIND = 10
AUDIT_FRAC = 0.1  # of the masks that it is sure about, of each answer


class TrainedVerifier(NamedTuple):
    """A verifier, where it is sure, and the card that says where it comes from."""

    verifier: MaskVerifier
    thresholds: VerifierThresholds
    card: Mapping[str, Any]


class _Answered(NamedTuple):
    """What people said of the masks of one earlier gate.

    gate: with its stage and round. which: (K,) places in its sample. good: (K,) bool.
    """

    gate: str
    sample: GateSample
    which: Sequence[int]
    good: Sequence[bool]

    @property
    def image_ids(self) -> list[int]:
        ids: list[int] = self.sample.masks["image_id"].take(pa.array(self.which, pa.int64())).to_pylist()
        return ids


class RoundVerifier:
    """Draws the sample of one verification gate, and answers of it what is sure.

    The embeddings are those of the model that the workspace started from: they stay the same while the stages retrain,
    so that the answers of all gates count together and no picture is encoded twice.
    """

    def __init__(self, store: Store, config: EngineConfig, record: Round, progress: Progress = silent) -> None:
        self._store, self._config, self._record, self._progress = store, config, record, progress

    def sample(self, masks: pa.Table) -> GateSample:
        """The sample with what the verifier is sure about; equal masks and earlier answers give an equal sample.

        masks: rows of a masks table, in the order of the draw. Raises InputError for damaged files or a full disk.
        """
        sample, precision = GateSample(masks), self._config.labeling.verifier_precision
        if precision is None or not len(masks):
            return sample
        good = [each for answered in self._answered for each in answered.good]
        card: dict[str, Any] = {"stated_precision": precision, "learnt_from": len(good)}
        if len(good) < MIN_ANSWERS or min(sum(good), len(good) - sum(good)) < MIN_OF_A_KIND:
            few = f"earlier gates gave {len(good)} answers, {sum(good)} of them good"
            needed = f"the verifier learns from {MIN_ANSWERS}, {MIN_OF_A_KIND} of each kind"
            return replace(sample, verifier={**card, "reason": f"{few}; {needed}"})
        trained = self._trained(precision)
        if trained is None:
            reason = f"of the pictures of {len(good)} answers of earlier gates too few can still be read"
            return replace(sample, verifier={**card, "reason": reason})
        thresholds = trained.thresholds.to_dict()
        card |= {"id": f"verifier:{self.key(precision)}", "out_of_fold": thresholds}
        if trained.thresholds.good.threshold is None and trained.thresholds.bad.threshold is None:
            reason = (
                f"on {len(good)} answers of earlier gates the verifier is nowhere sure with precision {precision:g}"
            )
            return replace(sample, verifier={**card, "reason": reason})
        sure = self._sure_answers(trained, sample)
        if self._unreadable:
            card["unreadable"] = len(self._unreadable)
        return replace(sample, pre_answers=sure, audited=frozenset(_audited(sure)), verifier=card)

    def _sure_answers(self, trained: TrainedVerifier, sample: GateSample) -> dict[int, Verdict]:
        """What it is sure about, by mask; nothing of pictures that cannot be read."""
        features = self._features(_gate_name(self._record), sample)
        seen = features.isfinite().all(dim=1)
        if not seen.any():
            return {}
        ids = [each for each, is_seen in zip(sample.mask_ids, seen.tolist(), strict=True) if is_seen]
        scores = trained.verifier(features[seen]).tolist()
        given = {each: trained.thresholds.answer(score) for each, score in zip(ids, scores, strict=True)}
        return {each: verdict for each, verdict in given.items() if verdict is not None}

    def key(self, precision: float) -> str:
        """16 hex digits: equal keys, equal verifiers and thresholds."""
        answers = [(each.gate, each.sample.mask_ids, each.which, each.good) for each in self._answered]
        return content_key(VERIFIER_VERSION, self._model_id, answers, precision, self._config.seed)

    @cached_property
    def _model_id(self) -> str:
        return find_model(self._config.model.start, self._store.files.model_roots()).model_id

    @cached_property
    def _predictor(self) -> Predictor:
        device = device_of(self._config.model.device)
        return Predictor(load_model(self._model_id, self._store.files.model_roots(), device=device)[0])

    @cached_property
    def _answered(self) -> list[_Answered]:
        """Earlier gates with answers, in the order of stages and rounds."""
        here, found = (STAGES.index(self._record.stage), self._record.round), []
        for record in self._store.rounds():
            if (STAGES.index(record.stage), record.round) < here:
                gate = GateRecords(self._store, Scope("verification", record.stage, record.round))
                sample, answers = gate.sample(), gate.verdicts()
                if sample is not None and answers:
                    which = [place for place, each in enumerate(sample.mask_ids) if each in answers]
                    good = [answers[sample.mask_ids[place]] == "good" for place in which]
                    found.append(_Answered(_gate_name(record), sample, which, good))
        return found

    def _trained(self, precision: float) -> TrainedVerifier | None:
        """Load the gate's verifier, or train it, choose its thresholds and keep it.

        None where too few answers are of pictures that can still be read.
        """
        there = self._store.files.verifiers / self.key(precision)
        folder = folder_here(there)
        if not (folder / CARD_FILE).exists():
            if not self._train(folder, precision):
                return None
            put_folder(folder, there)
        verifier, card = load_verifier(folder)
        thresholds = {name: SureFrom(**card["thresholds"][name]) for name in ("good", "bad")}
        return TrainedVerifier(verifier, VerifierThresholds(**thresholds), card)

    def _train(self, folder: Path, precision: float) -> bool:
        """Whether there was enough to learn from."""
        answered = self._answered
        good = torch.tensor([one for each in answered for one in each.good])
        image_ids = np.array([one for each in answered for one in each.image_ids])
        parts = [self._features(each.gate, each.sample)[each.which] for each in answered]
        seen = torch.cat([part.isfinite().all(dim=1) for part in parts])
        good, image_ids = good[seen], image_ids[seen.numpy()]
        if len(good) < MIN_ANSWERS or min(int(good.sum()), int((~good).sum())) < MIN_OF_A_KIND:
            return False
        features = torch.cat([part[part.isfinite().all(dim=1)] for part in parts if part.isfinite().any()])
        scores = out_of_fold_scores(features, good, image_ids, seed=self._config.seed)
        card = {
            "model_id": self._model_id,
            "gates": [each.gate for each in answered],
            "answers": len(good),
            "good": int(good.sum()),
            "images": len(np.unique(image_ids)),
            "stated_precision": precision,
            "thresholds": choose_thresholds(scores.numpy(), good.numpy(), precision=precision).to_dict(),
        }
        with storage_errors(folder):
            save_verifier(fit_verifier(features, good), folder, card)
        return True

    def _features(self, gate: str, sample: GateSample) -> torch.Tensor:
        """(N, D) of all masks of a sample, in its order; made once and kept.

        Rows are NaN for masks of pictures that cannot be read; then they are made anew the next time.
        """
        key = content_key(VERIFIER_VERSION, self._model_id, sample.mask_ids)
        file = self._store.files.features / f"{gate}-{key}.safetensors"
        if not file.exists():
            made = self._made_features(sample)
            if not made.isfinite().all():
                return made
            file.write(save({"features": made}))
        try:
            return load(file.read())["features"]
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{file}: damaged ({error}); delete it, it is then made anew") from error

    def _made_features(self, sample: GateSample) -> torch.Tensor:
        by_image: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for place, row in enumerate(sample.masks.to_pylist()):
            by_image.setdefault(row["image_id"], []).append((place, row))
        of_images: dict[int, torch.Tensor] = {}
        for done, (image_id, placed) in enumerate(sorted(by_image.items()), start=1):
            note = ""
            try:
                self._predictor.set_image(self._store.load_image(image_id))
                rows = [row for _, row in placed]
                masks = [rle_codec.decode(Rle.of_row(row)) for row in rows]
                scores = [[row[name] for row in rows] for name in ("predicted_iou", "stability_score")]
                of_images[image_id] = mask_features(self._predictor, masks, *scores)
            except InputError as error:
                note = f"left without an answer: {error}"
                self._unreadable.add(image_id)
            self._progress("verifier: look at masks", done, len(by_image), note)
        width = next((features.shape[1] for features in of_images.values()), 1)
        made = torch.full((len(sample.mask_ids), width), torch.nan)
        for image_id, features in of_images.items():
            made[[place for place, _ in by_image[image_id]]] = features
        return made

    @cached_property
    def _unreadable(self) -> set[int]:
        """Images that could not be read when features of their masks were made."""
        return set()


def _audited(sure: Mapping[int, Verdict]) -> list[int]:
    """Masks to ask people all the same: of each answer the first of the draw, which are a random sample of them."""
    found = []
    for verdict in ("good", "bad"):
        alike = [each for each, given in sure.items() if given == verdict]
        found += alike[: sample_size(len(alike), AUDIT_FRAC)]
    return found


def _gate_name(record: Round) -> str:
    return f"verification-{record.stage}-{record.round}"
