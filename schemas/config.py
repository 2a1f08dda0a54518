"""The configuration of a workspace: one commented YAML file, validated key by key."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from schemas.errors import InputError
from schemas.plugins import known_name
from schemas.presets import GeneratorConfig, generator_preset
from schemas.problems import first_problem
from schemas.stages import BUILTIN_STAGES, INSTALLED_STAGES, STAGES, STAGES_GROUP, Stage, StageOptions

CONFIG_FILE = "engine.yaml"
LONGEST_SIDE_PX = 4096  # of pictures that annotators see: the backend bounds what a click costs

PREFILL_DETECTORS_GROUP = "sam_data_engine.detectors"
ANNOTATION_TOOLS_GROUP = "sam_data_engine.annotation_tools"
PRIVACY_DETECTORS_GROUP = "sam_data_engine.privacy_detectors"
PRIVACY_DETECTORS = ("faces", "plates")  # the built-in ones
SIMULATED = "simulated"
APPROVE_RELEASE = "release"  # beside the stages, what a person may have to approve


def _prefill_detector(name: str) -> str:
    return known_name(name, group=PREFILL_DETECTORS_GROUP, builtin=("detector", "generator", "grounding_dino"))


def _annotation_tool(name: str) -> str:
    return known_name(name, group=ANNOTATION_TOOLS_GROUP, builtin=(SIMULATED, "label_studio"))


def _stage(name: str) -> Stage:
    return known_name(name, group=STAGES_GROUP, builtin=BUILTIN_STAGES)


def _approvable(name: str) -> str:
    return known_name(name, group=STAGES_GROUP, builtin=(*BUILTIN_STAGES, APPROVE_RELEASE))


def _stage_options(given: Any) -> Any:
    """The options of each stage that a package brings, read as the package says."""
    if not isinstance(given, dict):
        return given
    return {name: _options_of(name, options) for name, options in given.items()}


def _options_of(name: object, given: Any) -> StageOptions:
    if name not in INSTALLED_STAGES:
        known = ", ".join(INSTALLED_STAGES) or "none"
        raise _problem(f"no installed package brings a stage {name!r} (there are: {known}); install it, or take it out")
    try:
        return INSTALLED_STAGES[str(name)].options.model_validate({} if given is None else given)
    except ValidationError as error:
        found = first_problem(error)
        what = "unknown key" if found.unknown else f"{found.message.lower()}, found {found.found!r} for"
        raise _problem(f"{name}: {what} {found.key!r}") from error


def _problem(text: str) -> Exception:
    from pydantic_core import PydanticCustomError  # only here: it takes longer to import than all else

    return PydanticCustomError("stage", "{text}", {"text": text})


def _date(given: Any) -> Any:
    """A day as text; YAML reads one without quotes as a date."""
    if isinstance(given, date):
        return given.isoformat()
    if isinstance(given, str) and given:
        try:
            date.fromisoformat(given)
        except ValueError as error:
            raise _problem("a day is written as 2026-01-31") from error
    return given


def _privacy_detector(name: str) -> str:
    return known_name(name, group=PRIVACY_DETECTORS_GROUP, builtin=PRIVACY_DETECTORS)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImagesConfig(_Section):
    shard_size: int = Field(1000, ge=1)
    copy_images: bool = True
    max_megapixels: float = Field(500.0, gt=0)
    holdout_frac: float = Field(0.1, ge=0, lt=1)
    bit_depth: int | None = Field(None, ge=8, le=32)
    country_from_gps: bool = False


class ModelConfig(_Section):
    start: str = "nano"
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")


class AnnotatorConfig(_Section):
    """kind: where annotators work. The simulated one clicks from ground truth and keeps a simulated clock; all other
    settings are its own, times in simulated seconds. In any other tool people work."""

    kind: Annotated[str, AfterValidator(_annotation_tool)] = SIMULATED
    max_clicks: int = Field(6, ge=1)
    accept_iou: float = Field(0.85, ge=0, le=1)
    seconds_to_find: float = Field(3.0, ge=0)
    seconds_per_click: float = Field(1.5, ge=0)
    seconds_to_review: float = Field(1.5, ge=0)
    seconds_to_draw: float = Field(15.0, ge=0)
    seconds_per_mask_limit: float = Field(30.0, gt=0)

    @property
    def by_people(self) -> bool:
        """Whether people annotate: a round waits for them, and needs no ground truth."""
        return self.kind != SIMULATED


class LabelingConfig(_Section):
    """Label Studio and the model backend beside it; used where `annotator.kind` is label_studio.

    pictures_url: where browsers reach the pictures that `labeling serve` hands out by signed links, each good for
    links_days; None where Label Studio shares the workspace's folder. done_frac: share of a round's images that must be
    annotated or skipped before it is closed. overlap_frac: share of them that two people annotate.
    """

    url: str = "http://127.0.0.1:8080"
    backend_url: str = "http://127.0.0.1:9090"
    pictures_url: str | None = Field(None, pattern=r"^https?://[^/?#\s]+$")
    links_days: float = Field(30.0, gt=0)
    longest_side_px: int = Field(1024, ge=16, le=LONGEST_SIDE_PX)
    images_per_chunk: int = Field(25, ge=1, le=100)
    done_frac: float = Field(1.0, gt=0, le=1)
    embeddings_in_memory: int = Field(16, ge=1)
    embeddings_on_disk_mb: int = Field(4096, ge=0)
    verify_frac: float = Field(0.05, ge=0, le=1)
    verifier_precision: float | None = Field(0.95, gt=0, lt=1)
    audit_images: int = Field(50, ge=1)
    overlap_frac: float = Field(0.0, ge=0, le=1)


Asked = Annotated[
    Literal["off", "sample", "all"],
    BeforeValidator(lambda value: "off" if value is False else value),  # a bare `off` is False to YAML
]


class GatesConfig(_Section):
    """Which gates the masks that people made pass before a round is learned from, and of how much of it they ask."""

    verification: Asked = "off"
    exhaustivity: Asked = "off"

    @property
    def wanted(self) -> tuple[Literal["verification", "exhaustivity"], ...]:
        """In the order in which they are asked."""
        return tuple(gate for gate in ("verification", "exhaustivity") if getattr(self, gate) != "off")


class AssistedManualConfig(_Section):
    rounds: int = Field(6, ge=1)
    images_per_round: int = Field(20_000, ge=1)


class PhrasesConfig(_Section):
    """What Grounding DINO looks for, with the weights in `weights`, a folder in the form of Hugging Face."""

    look_for: list[str] = Field(min_length=1)
    weights: Path
    least_score: float = Field(0.3, ge=0, le=1)


class SemiAutomaticConfig(_Section):
    rounds: int = Field(5, ge=1)
    images_per_round: int = Field(36_000, ge=1)
    max_prefilled_masks: int = Field(40, ge=0)
    prefill: Annotated[str, AfterValidator(_prefill_detector)] = "detector"
    prefill_precision: float = Field(0.8, gt=0, lt=1)
    phrases: PhrasesConfig | None = None
    generator_preset: str = "nano"
    generator: dict[str, Any] = Field(default_factory=dict)

    def generator_config(self) -> GeneratorConfig:
        return generator_preset(self.generator_preset, **self.generator)


class FullyAutomaticConfig(_Section):
    generator_preset: str = "nano"
    generator: dict[str, Any] = Field(default_factory=dict)
    precision: float | None = Field(None, gt=0, lt=1)

    def generator_config(self) -> GeneratorConfig:
        return generator_preset(self.generator_preset, **self.generator)


class RetrainingConfig(_Section):
    preset: str = "retrain"
    selection: Literal["new_only", "accumulated"] = "accumulated"
    oversampling: dict[Annotated[Stage, AfterValidator(_stage)], float] = Field(
        {"assisted_manual": 10, "semi_automatic": 10}
    )
    hard_weight: float = Field(1, gt=0)
    steps: int | None = Field(None, ge=1)
    masks_per_image: int | None = Field(None, ge=1)
    lr: float | None = Field(None, gt=0)
    min_mask_frac: float | None = Field(None, ge=0, lt=1)
    max_bad_frac: float = Field(0.1, ge=0, le=1)
    remember: bool = True
    replay: str | None = None
    replay_frac: float = Field(0.4, ge=0, lt=1)
    caution: float = Field(1, ge=0)
    averaging: bool = True


class FlowConfig(_Section):
    """approve: stages, and "release", before which a person has to say yes. concurrency_limit: name of a limit of
    Prefect of which the long steps take a slot, such as one a GPU; None takes none. training: where rounds are
    retrained; training_processes: by how many processes there, None for one a GPU, or one."""

    shards_per_task: int = Field(50, ge=1)
    retries: int = Field(2, ge=0)
    runner: Literal["local", "ray"] = "local"
    ray_actors: int | None = Field(None, ge=1)
    approve: tuple[Annotated[str, AfterValidator(_approvable)], ...] = ()
    concurrency_limit: str | None = Field(None, min_length=1)
    training: Literal["in_process", "process"] = "in_process"
    training_processes: int | None = Field(None, ge=1)


class ReleasedMasksConfig(_Section):
    """Which masks are released: those that pass every line. A score that nobody measured passes: people's masks have
    none."""

    origins: tuple[Literal["manual", "automatic", "automatic_corrected"], ...] | None = None
    min_predicted_iou: float = Field(0, ge=0, le=1)
    min_stability_score: float = Field(0, ge=0, le=1)
    min_area_frac: float = Field(0, ge=0, le=1)
    verified: bool = False


class CardConfig(_Section):
    """The user's own words for the documents of a release: card, datasheet, licence, Croissant.

    license: as Hugging Face writes it, such as cc-by-4.0. license_text: what the file LICENSE is to hold word for word.
    pictures: how they were obtained. published: a date (ISO 8601). Releases follow from their inputs, so no other date
    is known.
    """

    name: str = ""
    version: str = Field("", pattern=r"^(\d+\.\d+\.\d+)?$")
    published: Annotated[str, BeforeValidator(_date)] = ""
    license: str = ""
    license_text: str = ""
    holder: str = ""
    citation: str = ""
    contact: str = ""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    motivation: str = ""
    pictures: str = ""
    annotators: str = ""
    uses: str = ""
    limits: str = ""
    maintenance: str = ""


class ReleaseConfig(_Section):
    images_per_tar: int = Field(1000, ge=1)
    shortest_side_px: int = Field(1500, ge=1)
    jpeg_quality: int = Field(95, ge=1, le=100)
    masks: ReleasedMasksConfig = Field(default_factory=ReleasedMasksConfig)
    splits: tuple[Literal["train", "holdout"], ...] | None = None
    withheld_frac: float = Field(0, ge=0, lt=1)
    withheld_seed: int = 0
    blur: bool = True
    blur_detectors: tuple[Annotated[str, AfterValidator(_privacy_detector)], ...] = Field(
        PRIVACY_DETECTORS, min_length=1
    )
    card: CardConfig = Field(default_factory=CardConfig)


class EngineConfig(_Section):
    """Everything a workspace can be told, one section a concern. Unknown keys are errors."""

    seed: int = 0
    images: ImagesConfig = Field(default_factory=ImagesConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    annotator: AnnotatorConfig = Field(default_factory=AnnotatorConfig)
    labeling: LabelingConfig = Field(default_factory=LabelingConfig)
    gates: GatesConfig = Field(default_factory=GatesConfig)
    assisted_manual: AssistedManualConfig = Field(default_factory=AssistedManualConfig)
    semi_automatic: SemiAutomaticConfig = Field(default_factory=SemiAutomaticConfig)
    fully_automatic: FullyAutomaticConfig = Field(default_factory=FullyAutomaticConfig)
    stages: Annotated[dict[str, SerializeAsAny[StageOptions]], BeforeValidator(_stage_options)] = Field({})
    retraining: RetrainingConfig = Field(default_factory=RetrainingConfig)
    flow: FlowConfig = Field(default_factory=FlowConfig)
    release: ReleaseConfig = Field(default_factory=ReleaseConfig)

    @property
    def stages_in_use(self) -> tuple[Stage, ...]:
        """The stages of the workspace in their order: the built-in ones, and those of packages that it names."""
        return tuple(stage for stage in STAGES if stage in BUILTIN_STAGES or stage in self.stages)


def parse_config(content: bytes | None, *, file: object, workspace: object) -> EngineConfig:
    """Validate what an `engine.yaml` holds, None where there is none. file, workspace: what messages call them.

    Raises InputError naming the file, the key, its value and what is allowed.
    """
    if content is None:
        raise InputError(f"{file}: no such file; make a workspace first with: sam-engine init {workspace}")
    try:
        values = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is not None and not isinstance(values, dict):
        raise InputError(f"{file}: expected keys and values at the top level, found {type(values).__name__}")
    try:
        config = EngineConfig.model_validate(values or {})
        for stage in (config.semi_automatic, config.fully_automatic):
            stage.generator_config()
    except ValidationError as error:
        raise InputError(f"{file}: {_first_problem(error)}") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    return config


def _first_problem(error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.unknown:
        return f"unknown key {problem.key!r}; {_closest_key(error.errors()[0]['loc'])}"
    return f"{problem.key}: {problem.message.lower()}, found {problem.found!r}"


def _closest_key(loc: tuple[int | str, ...]) -> str:
    import difflib

    section: type[BaseModel] = EngineConfig
    for part in loc[:-1]:
        annotation = section.model_fields[str(part)].annotation if str(part) in section.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return "see the comments in a file made by: sam-engine init"
        section = annotation
    close = difflib.get_close_matches(str(loc[-1]), section.model_fields, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known keys here: {', '.join(section.model_fields)}"
