"""An ablation from its plan to its page: models trained on parts of a workspace's masks, measured on the same suite."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.evaluation.ablation_plots import ablation_figure
from engine.evaluation.ablation_report import Curve, Point, ablation_markdown, ablation_values, lines_of
from engine.evaluation.peers import suite_peers
from engine.evaluation.suite import SuiteResult, run_suite
from engine.figures import drawn as drawn_as
from engine.images import read_bytes
from engine.places import place
from engine.samples import CocoSamples
from engine.store import Store
from model.registry import ModelInfo, find_model
from schemas.ablation import Ablation
from schemas.content_ids import content_id
from schemas.counted import counted
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.suite import Suite, SuiteSet
from stages.ablation_plan import LABELS, Experiment, Training, Variant, experiments_of, trainings_of
from stages.ablation_training import AblationTrainer
from stages.progress import Progress, silent


class AblationRun:
    """One ablation of a workspace. Whatever is done already is found: the same calls go on where a run was killed."""

    def __init__(
        self, store: Store, ablation: Ablation, *, device: str | None = None, progress: Progress = silent
    ) -> None:
        """device: None for the workspace's own. Raises InputError where pictures to measure on are learned from."""
        self.store, self.ablation, self.progress = store, ablation, progress
        self.trainer = AblationTrainer(store, ablation, device=device, progress=progress)
        self.experiments: list[Experiment] = experiments_of(ablation)
        self.trainings: list[Training] = trainings_of(self.experiments)
        check_not_learned(store, ablation.sets)

    def done(self) -> list[bool]:
        """Of each training whether its model is there. Raises InputError for one that has nothing to learn from."""
        return [self.trainer.found(training) is not None for training in self.trainings]

    def train(self, number: int) -> ModelInfo:
        """The model of a training, trained where it is not there yet."""
        return self.trainer.train(self.trainings[number])

    def measure(self, *, tell: Callable[[str], None] = print) -> SuiteResult:
        """Scores of the start model and of all models on all sets; see `engine.evaluation.suite.run_suite`."""
        peers = suite_peers(self.suite, self.trainer.roots, device=self.trainer.device)
        return run_suite(self.suite, peers, place(self.ablation.output), progress=self.progress, tell=tell)

    @cached_property
    def suite(self) -> Suite:
        """What is measured; its first model is the one that the trainings start from."""
        start = find_model(self.ablation.start, self.store.files.model_roots()).name
        return Suite(
            sets=self.ablation.sets,
            models=(start, *dict.fromkeys(self._trained(training).name for training in self.trainings)),
            clicks=self.ablation.clicks,
            first_point=self.ablation.first_point,
            boxes=False,
            seed=self.ablation.seed,
            output=self.ablation.output,
        )

    def curves(self) -> list[Curve]:
        """What was trained, for the report; all trainings have to be done."""
        return [
            Curve(each.name, each.title, tuple(self._point(variant) for variant in each.variants))
            for each in self.experiments
        ]

    def report(self, result: SuiteResult) -> dict[str, Any]:
        """Write ablation.md, ablation.json and ablation.png into the output's folder; gives back what the second holds.

        Raises InputError where no set could be measured.
        """
        folder = place(self.ablation.output)
        if not result.sets:
            raise InputError(f"no set could be measured: {'; '.join(result.left_out.values())}")
        curves = self.curves()
        drawn = [lines_of(self.suite, result, curve) for curve in curves]
        values = {"facts": self.facts(), "output": str(folder), **ablation_values(self.suite, result, curves, drawn)}
        figure = ablation_figure(curves, drawn, sets=len(result.sets))
        (folder / "ablation.png").write(drawn_as(figure))
        (folder / "ablation.md").write(ablation_markdown(result, curves, drawn, facts=self.facts()).encode())
        (folder / "ablation.json").write((json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())
        return values

    def facts(self) -> list[str]:
        """What has to be known of the trainings, a line each."""
        ablation, settings = self.ablation, self.store.files.settings()
        by = "people" if settings.annotator.by_people else "the simulated annotator, no people"
        seeds = f"seed {ablation.seeds[0]}" if len(ablation.seeds) == 1 else f"{len(ablation.seeds)} seeds a point"
        lines = [
            f"Workspace {self.store.files.name}, annotated by {by}.",
            f"Every model is trained from {ablation.start} (but those of another encoder) by the recipe "
            f"{ablation.preset}, {counted(self.trainer.steps, 'step')}, {seeds}; "
            f"{counted(len(self.trainings), 'training')}.",
        ]
        if "data" in ablation.experiments or "encoder" in ablation.experiments:
            mix = LABELS[ablation.mix].format(times=f"{ablation.oversampling:g}").removeprefix("+ ")
            meant = "" if mix == ablation.mix else f": {mix}"
            lines.append(f"Models of shares of the pictures and of encoders learn from the mix {ablation.mix}{meant}.")
        return lines

    def _point(self, variant: Variant) -> Point:
        if not variant.trainings:
            return Point(variant.label, variant.x, (self.suite.models[0],), None, None)
        learned = self.trainer.trained_on(variant.trainings[0])
        names = tuple(self._trained(training).name for training in variant.trainings)
        return Point(variant.label, variant.x, names, learned.images, learned.masks)

    def _trained(self, training: Training) -> ModelInfo:
        found = self.trainer.found(training)
        if found is None:
            raise InputError(f"{self.ablation.output}: not all models are trained yet; run the same command again")
        return found


def check_not_learned(store: Store, sets: Mapping[str, SuiteSet]) -> None:
    """Raise InputError where a set has pictures that the workspace does not hold out. Reads every picture of the sets;
    files that cannot be read are left to the suite."""
    index = store.image_index()
    held_out = index.held_out

    def is_learned(path: Path) -> bool:
        try:
            places = index.places_of(ImageIds([content_id(read_bytes(path))]))
        except InputError:
            return False
        return bool(len(places) and not held_out[places[0]])

    for name, of_set in sets.items():
        try:
            root = None if of_set.images is None else Path(of_set.images)
            samples = CocoSamples([Path(file) for file in of_set.coco], images_root=root)
        except InputError:
            continue
        learned = [path for path in samples.paths if is_learned(path)]
        if learned:
            raise InputError(
                f"sets.{name}: {len(learned)} of its pictures are learned from in {store.files}, the first: "
                f"{learned[0]}; measure on pictures that are held out, or on others"
            )
