"""An ablation: one YAML file that says which trainings on a workspace's masks are compared, validated key by key."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.suite import (
    Clicks,
    SuiteSet,
    Texts,
    each_once,
    in_order,
    one_or_several,
    output_from,
    output_of,
    sets_from,
)
from schemas.yaml_sections import Section, parse_yaml

ExperimentName = Literal["stages", "data", "encoder", "points"]
EXPERIMENTS: tuple[ExperimentName, ...] = get_args(ExperimentName)
# Which masks a training sees: those of the stages up to that one; all, those of people oversampled; automatic ones.
Mix = Literal["manual", "semi", "automatic", "oversampled", "automatic_only"]
MIXES: tuple[Mix, ...] = get_args(Mix)


Experiments = Annotated[
    tuple[ExperimentName, ...], Field(min_length=1), BeforeValidator(one_or_several), AfterValidator(each_once)
]
Mixes = Annotated[tuple[Mix, ...], Field(min_length=1), BeforeValidator(one_or_several), AfterValidator(each_once)]
Fractions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], ...],
    Field(min_length=1),
    BeforeValidator(one_or_several),
    AfterValidator(each_once),
    AfterValidator(in_order),
]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...],
    Field(min_length=1),
    BeforeValidator(one_or_several),
    AfterValidator(each_once),
]


class Ablation(Section):
    """What to train on the masks of a workspace, and what to measure the models on (SAM paper, figure 13).

    sets: as of a suite; none of their pictures may be learned from. experiments: curves to draw. start: the model that
    every training starts from. mixes: the points of `stages` after the start model, in their order. encoders: models to
    start from in the experiment of that name, smallest first. mix: the masks that `data` and `encoder` train on; the
    paper has automatic_only there. oversampling: how often a picture with masks of people comes in the mix
    `oversampled`. data: shares of the pictures. points_per_side: grids of the generator, whose masks `points` trains
    on. generator_images: on how many pictures it makes them at most.
    preset, steps, settings: the recipe, the same for all trainings; steps: null for what it says of all pictures
    together. replay_frac: share of pictures of what the start model knew, null for the workspace's own.
    seeds: of trainings; with several, each point is the mean of as many models. seed: of samples and choices.
    """

    sets: Annotated[dict[str, SuiteSet], Field(min_length=1)]
    output: str = Field(min_length=1)
    experiments: Experiments = EXPERIMENTS
    start: str = Field("nano", min_length=1)
    mixes: Mixes = MIXES
    encoders: Texts | None = None
    mix: Mix = "oversampled"
    oversampling: float = Field(10, gt=0)
    data: Fractions = (0.01, 0.1, 1.0)
    points_per_side: Clicks = (8, 16, 32)
    generator_images: int = Field(1000, ge=1)
    preset: str = "retrain"
    steps: int | None = Field(None, ge=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    replay_frac: float | None = Field(None, ge=0, lt=1)
    seeds: Seeds = (0,)
    clicks: Clicks = (1, 2, 3, 5)
    first_point: Literal["centre", "random"] = "centre"
    seed: int = Field(0, ge=0)


def parse_ablation(content: bytes, *, file: Path) -> Ablation:
    """Validate what an ablation's file holds; its paths are made to begin where the file lies.

    Raises InputError naming the file, the key, its value and what is allowed.
    """
    found = parse_yaml(content, Ablation, file=file, among="sets", inner={"sets.": SuiteSet}, defaults=output_of(file))
    update = {"sets": sets_from(file.parent, found.sets), "output": output_from(file.parent, found.output)}
    return found.model_copy(update=update)
