"""Which models an ablation trains, and which points of which curves they are (SAM paper, figure 13)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.ablation import Ablation, ExperimentName, Mix
from schemas.stages import Stage

_PEOPLE: tuple[Stage, ...] = ("assisted_manual", "semi_automatic")
_AUTOMATIC: Stage = "fully_automatic"
TITLES: Mapping[ExperimentName, str] = {
    "stages": "Stages of the data engine",
    "data": "Share of the pictures",
    "encoder": "Image encoder",
    "points": "Points a side of the generator",
}
LABELS: Mapping[Mix, str] = {
    "manual": "manual",
    "semi": "+ semi-automatic",
    "automatic": "+ automatic",
    "oversampled": "all, people's masks {times}x",
    "automatic_only": "automatic only",
}


@dataclass(frozen=True)
class Training:
    """One model. start: name of the model that it starts from. weights: how often samples of each stage come; of other
    stages none do. data: share of the pictures. points_per_side: of the generator that makes its masks anew, None for
    masks as they are in the workspace."""

    start: str
    weights: tuple[tuple[Stage, float], ...]
    data: float = 1.0
    points_per_side: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Variant:
    """A point of a curve. trainings: one a seed; none for the start model as it is. x: where it stands."""

    label: str
    x: float
    trainings: tuple[Training, ...]


@dataclass(frozen=True)
class Experiment:
    """A curve."""

    name: ExperimentName
    variants: tuple[Variant, ...]

    @property
    def title(self) -> str:
        return TITLES[self.name]


def experiments_of(ablation: Ablation) -> list[Experiment]:
    """Its curves, in the order that it names them."""
    make = {"stages": _stages, "data": _data, "encoder": _encoder, "points": _points}
    return [Experiment(name, tuple(make[name](ablation))) for name in ablation.experiments]


def trainings_of(experiments: Sequence[Experiment]) -> list[Training]:
    """Each training once, in the order in which they are first asked for."""
    every = (training for each in experiments for variant in each.variants for training in variant.trainings)
    return list(dict.fromkeys(every))


def weights_of(mix: Mix, oversampling: float) -> tuple[tuple[Stage, float], ...]:
    """The stages of a mix, with how often a sample of each comes."""
    if mix == "automatic_only":
        return ((_AUTOMATIC, 1.0),)
    people = oversampling if mix == "oversampled" else 1.0
    stages = {"manual": _PEOPLE[:1], "semi": _PEOPLE}.get(mix, (*_PEOPLE, _AUTOMATIC))
    return tuple((stage, 1.0 if stage == _AUTOMATIC else people) for stage in stages)


def _stages(ablation: Ablation) -> list[Variant]:
    start = Variant("start model", 0, ())
    labels = {mix: label.format(times=f"{ablation.oversampling:g}") for mix, label in LABELS.items()}
    places = enumerate(ablation.mixes, start=1)
    return [start, *(_variant(ablation, labels[mix], place, mix=mix) for place, mix in places)]


def _data(ablation: Ablation) -> list[Variant]:
    return [_variant(ablation, f"{frac:.6g}", frac, data=frac) for frac in ablation.data]


def _encoder(ablation: Ablation) -> list[Variant]:
    names = ablation.encoders or (ablation.start,)
    return [_variant(ablation, name, place, start=name) for place, name in enumerate(names)]


def _points(ablation: Ablation) -> list[Variant]:
    return [
        _variant(ablation, str(side), side, mix="automatic_only", points_per_side=side)
        for side in ablation.points_per_side
    ]


def _variant(
    ablation: Ablation,
    label: str,
    x: float,
    *,
    mix: Mix | None = None,
    start: str | None = None,
    data: float = 1.0,
    points_per_side: int | None = None,
) -> Variant:
    weights = weights_of(mix or ablation.mix, ablation.oversampling)
    trainings = (Training(start or ablation.start, weights, data, points_per_side, seed) for seed in ablation.seeds)
    return Variant(label, x, tuple(trainings))
