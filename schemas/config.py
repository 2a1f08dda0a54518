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
    replay: str | None = None
    replay_frac: float = Field(0.4, ge=0, lt=1)
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


DEFAULT_YAML = """\
# sam-data-engine: settings of this workspace. Every key may be left out; what stands here are the defaults.

seed: 0                       # everything random follows from it

images:
  shard_size: 1000            # images per shard: the unit of work, of retry and of commit
  copy_images: true           # false: leave the files where they are and remember their paths
  max_megapixels: 500         # larger pictures are rejected
  holdout_frac: 0.1           # share of the images with ground truth that is kept for measuring, never for training
  bit_depth: null             # of values in samples of more than 8 bits, such as 12; null: told by the largest value
  country_from_gps: false     # true: keep the country (and nothing else) of the place in a photo's EXIF, which releases
                              # then tell; pip install "sam-data-engine[geography]"

model:
  start: nano                 # the model of the first round: nano, or any name that `sam-engine models list` shows
  device: auto                # auto, cpu, cuda, cuda:1 or mps

annotator:
  kind: simulated             # clicks from imported ground truth; every row it writes says "simulated"
                              # label_studio: people; see the section `labeling`; or another tool that is installed.
                              # What follows is of the simulated annotator
  max_clicks: 6               # then the mask is finished by hand, with the brush
  accept_iou: 0.85            # a mask at least this close to ground truth is accepted; prefilled ones of people too
  seconds_to_find: 3.0        # simulated seconds to find the next object ...
  seconds_per_click: 1.5      # ... for each click ...
  seconds_to_review: 1.5      # ... to look at a finished or prefilled mask ...
  seconds_to_draw: 15.0       # ... and to finish one with the brush
  seconds_per_mask_limit: 30.0  # once a mask took longer, the annotator goes to the next image (SAM paper, section 4)

labeling:                     # Label Studio, where annotator.kind is label_studio
  url: http://127.0.0.1:8080  # sam-engine labeling server starts one here
  backend_url: http://127.0.0.1:9090  # where sam-engine labeling serve listens, as Label Studio sees it
  pictures_url: null          # where Label Studio runs on another machine: http(s)://HOST:PORT at which browsers reach
                              # sam-engine labeling serve, which then hands out pictures by signed links ...
  links_days: 30              # ... that are good for so long; ticks make new ones in time
  longest_side_px: 1024       # pictures are scaled down to this for the browser, masks scaled back
  images_per_chunk: 25        # pictures in one import
  done_frac: 1.0              # share of a round's images that must be annotated or skipped before the round is closed
  embeddings_in_memory: 16    # images whose embedding is kept in memory, so that a click costs the decoder only ...
  embeddings_on_disk_mb: 4096 # ... and on disk
  verify_frac: 0.05           # share of a round's masks, or images, that a gate asks about
  verifier_precision: 0.95    # of the answers that a verifier gives in people's place, once it has 200 of earlier gates
                              # to learn from; null: people answer all
  audit_images: 50            # images of an audit (SAM paper, section 5: 500)
  overlap_frac: 0.0           # share of a round's images that two people annotate: how far they agree is in the report

gates:                        # passed before a round that people annotated is learned from: off, sample (as much as
                              # labeling.verify_frac) or all; sam-engine labeling setup --gates makes their projects
  verification: "off"         # is this mask good? Rejected masks go, images with bad ones go back to annotators
  exhaustivity: "off"         # does every object have a mask? Images where one is missing go back

assisted_manual:
  rounds: 6                   # the paper's number; each ends with a retraining
  images_per_round: 20000     # at most; where there are fewer images they are shared out over the rounds

semi_automatic:
  rounds: 5
  images_per_round: 36000
  max_prefilled_masks: 40     # confident masks shown to the annotator, most confident first
  prefill: detector           # trained on the masks so far, its boxes prompt the model; or generator: its best masks;
                              # grounding_dino: the boxes of what phrases say, with these as labels; or one that an
                              # installed package adds
  phrases: null               # of grounding_dino: {look_for: [car, tree], weights: FOLDER} (docs/text.md)
  prefill_precision: 0.8      # share of the detector's masks that can surely be kept (at annotator.accept_iou), told
                              # from held-out images, which sets its threshold; out of reach: half of them, or none
  generator_preset: nano      # fits the model that ships; library-default and paper-sa1b are the published settings
  generator: {}               # single settings of the preset to replace, for example {points_per_side: 16}

fully_automatic:
  generator_preset: nano      # with published weights: paper-sa1b, which looks at 20 crops besides
  generator: {}
  precision: null             # share of masks that show an object of the held-out ground truth (at IoU 0.5): it sets
                              # pred_iou_thresh, and wants ground truth that shows everything. null: the preset's value

stages: {}                    # further stages, which installed packages bring, each with its options:
                              # {detector_boxes: {boxes: boxes.json}}; without a package there are none

retraining:
  preset: retrain             # a short schedule; sam-default and sam-amg are the paper's long ones, for its ViTs
  selection: accumulated      # masks to train on: all so far, or new_only (what the last round brought)
  oversampling: {assisted_manual: 10, semi_automatic: 10}  # people's masks weigh most (SAM paper, figure 13)
  hard_weight: 1              # how often a picture comes of which all masks were hard: they took people long for their
                              # round, or came in place of what a gate rejected; 1: as often as any other
  steps: null                 # null: what the preset says (retrain: 40 to 3000, by the number of images)
  masks_per_image: null       # of a step; null: what the preset says, as below
  lr: null                    # learning rate of the mask decoder; retrain: the image encoder's is 4 times that
  min_mask_frac: null         # masks under this share of the model's input are not learned from; the report counts them
  max_bad_frac: 0.1           # pictures that cannot be read are skipped, up to this share of all
  replay: null                # COCO json of pictures that keep old knowledge; null: the set beside the start model
  replay_frac: 0.4            # share of the pictures of a step that come from there; 0: none
  averaging: true             # go only part of the way from the start model, as far as old knowledge is kept

flow:
  shards_per_task: 50         # shards in one Prefect task
  retries: 2                  # of a task
  runner: local               # ray: the same workers as actors on a Ray cluster (pip install -e '.[ray]')
  ray_actors: null            # null: one a GPU of the cluster
  approve: []                 # before what a person has to say yes, in Prefect's page or by sam-engine approve: stages,
                              # such as fully_automatic, and release
  concurrency_limit: null     # a limit of Prefect's server, such as gpu, of which the long steps of a flow take a slot
  training: in_process        # process: rounds are retrained in processes of their own, by accelerate launch ...
  training_processes: null    # ... so many, which share each step; null: one a GPU of the machine, or one

release:
  images_per_tar: 1000
  shortest_side_px: 1500      # larger pictures are scaled down to this, as SA-1B was
  jpeg_quality: 95
  masks:                      # a mask is released if it passes every line; people's masks have no scores and pass those
    origins: null             # null: all; or a list of manual, automatic, automatic_corrected
    min_predicted_iou: 0
    min_stability_score: 0
    min_area_frac: 0          # share of the picture
    verified: false           # true: only masks that were judged good at a verification gate, by people or the verifier
  splits: null                # null: all pictures; [train]: without those that models are measured on, or [holdout]
  withheld_frac: 0            # share of the pictures that come into no release but those of release build --withheld
  withheld_seed: 0
  blur: true                  # false: faces and licence plates stay as they are, and the release says so
  blur_detectors: [faces, plates]  # what is looked for; an installed package may add others
  card:                       # your own words in the README.md, DATASHEET.md, LICENSE and croissant.json of a release
    name: ""
    version: ""               # such as 1.0.0
    published: ""             # a day, such as 2026-01-31
    license: ""               # as Hugging Face writes it, for example cc-by-4.0
    license_text: ""          # the whole text, where the file LICENSE is to hold it
    holder: ""                # who holds the rights
    citation: ""              # BibTeX
    contact: ""
    url: ""                   # the page of the dataset, if it has one
    motivation: ""            # what it was made for, by whom, and who paid
    pictures: ""              # how they were obtained, and who is on them
    annotators: ""            # who they were, how they were instructed and paid
    uses: ""                  # what it is for, and what it is not to be used for
    limits: ""                # what you know to be missing or skewed
    maintenance: ""           # who mends what is wrong, and how a picture is taken out on request
"""


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
