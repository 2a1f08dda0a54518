"""A suite of evaluations: one YAML file that names data sets, models and baselines, validated key by key."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from schemas.errors import InputError
from schemas.problems import first_problem

Baseline = Literal["felzenszwalb", "grabcut"]
Item = TypeVar("Item")


def _one_or_several(given: Any) -> Any:
    """A list of one where YAML has a value alone."""
    return [given] if isinstance(given, str | int) else given


def _each_once(items: tuple[Item, ...]) -> tuple[Item, ...]:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item} stands there twice")
    return items


def _in_order(counts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(counts))


Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several),
    AfterValidator(_each_once),
]
Baselines = Annotated[tuple[Baseline, ...], BeforeValidator(_one_or_several), AfterValidator(_each_once)]
Clicks = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several),
    AfterValidator(_each_once),
    AfterValidator(_in_order),
]


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that stands twice in a section, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands there twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SuiteSet(_Section):
    """coco: files with ground truth. images: the folder that their file names are relative to, by default theirs.

    max_masks: how many masks to draw at random; without it all, or those of some images where there are very many.
    min_area: in pixels, of the smallest mask.
    """

    coco: Texts
    images: str | None = None
    max_masks: int | None = Field(None, ge=1)
    min_area: int = Field(1, ge=1)


class Suite(_Section):
    """What to measure on what; the first model is the one that all others are compared with.

    clicks: numbers of clicks to report. first_point: the centre of a mask, or any pixel of it. boxes: whether masks are
    also asked for by their boxes, which GrabCut needs. seed: of samples and random points.
    output: folder, or a URL as of a workspace.
    """

    sets: Annotated[dict[str, SuiteSet], Field(min_length=1)]
    models: Texts
    baselines: Baselines = ()
    clicks: Clicks = (1, 2, 3, 5, 9)
    first_point: Literal["centre", "random"] = "centre"
    boxes: bool = True
    seed: int = Field(0, ge=0)
    output: str = Field(min_length=1)


def parse_suite(content: bytes, *, file: Path) -> Suite:
    """Validate what a suite's file holds; its paths are made to begin where the file lies.

    Raises InputError naming the file, the key, its value and what is allowed.
    """
    try:
        values = yaml.load(content.decode("utf-8"), _EachKeyOnce)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: expected keys and values, among them sets, models and output")
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{file}: {_said(error)}") from error
    if "grabcut" in suite.baselines and not suite.boxes:
        raise InputError(f"{file}: baselines: grabcut starts from boxes; leave it out, or set boxes: true")
    if "felzenszwalb" in suite.baselines and 1 not in suite.clicks:
        raise InputError(f"{file}: baselines: felzenszwalb answers 1 click; leave it out, or put 1 among clicks")
    return _from(file.parent, suite)


def _said(error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.unknown:
        known = SuiteSet if problem.key.startswith("sets.") else Suite
        return f"unknown key {problem.key!r}; there are: {', '.join(known.model_fields)}"
    found = "" if isinstance(problem.found, dict) else f", found {problem.found!r}"
    return f"{problem.key}: {problem.message.lower()}{found}"


def _from(folder: Path, suite: Suite) -> Suite:
    sets = {
        name: each.model_copy(
            update={
                "coco": tuple(str(folder / file) for file in each.coco),
                "images": None if each.images is None else str(folder / each.images),
            }
        )
        for name, each in suite.sets.items()
    }
    output = suite.output if "://" in suite.output else str(folder / suite.output)
    return suite.model_copy(update={"sets": sets, "output": output})
