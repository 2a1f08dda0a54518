"""A suite of evaluations: one YAML file that names data sets, models and baselines, validated key by key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.errors import InputError
from schemas.yaml_sections import Section, parse_yaml

Baseline = Literal["felzenszwalb", "grabcut"]
Item = TypeVar("Item")
Number = TypeVar("Number", int, float)


def one_or_several(given: Any) -> Any:
    """A list of one where YAML has a value alone."""
    return [given] if isinstance(given, str | int | float) else given


def each_once(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Raises ValueError where one stands there twice."""
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item} stands there twice")
    return items


def in_order(counts: tuple[Number, ...]) -> tuple[Number, ...]:
    """Sorted."""
    return tuple(sorted(counts))


Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(one_or_several),
    AfterValidator(each_once),
]
Baselines = Annotated[tuple[Baseline, ...], BeforeValidator(one_or_several), AfterValidator(each_once)]
Clicks = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(min_length=1),
    BeforeValidator(one_or_several),
    AfterValidator(each_once),
    AfterValidator(in_order),
]


class SuiteSet(Section):
    """coco: files with ground truth. images: the folder that their file names are relative to, by default theirs.

    max_masks: how many masks to draw at random; without it all, or those of some images where there are very many.
    min_area: in pixels, of the smallest mask.
    """

    coco: Texts
    images: str | None = None
    max_masks: int | None = Field(None, ge=1)
    min_area: int = Field(1, ge=1)


class Suite(Section):
    """What to measure on what; the first model is the one that all others are compared with.

    clicks: numbers of clicks to report. first_point: the centre of a mask, or any pixel of it. boxes: whether masks are
    also asked for by their boxes, which GrabCut needs. seed: of samples and random points.
    output: folder, or a URL as of a workspace; a file that says none has its own name with "-results".
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
    suite = parse_yaml(
        content, Suite, file=file, among="sets and models", inner={"sets.": SuiteSet}, defaults=output_of(file)
    )
    if "grabcut" in suite.baselines and not suite.boxes:
        raise InputError(f"{file}: baselines: grabcut starts from boxes; leave it out, or set boxes: true")
    if "felzenszwalb" in suite.baselines and 1 not in suite.clicks:
        raise InputError(f"{file}: baselines: felzenszwalb answers 1 click; leave it out, or put 1 among clicks")
    return _from(file.parent, suite)


def _from(folder: Path, suite: Suite) -> Suite:
    return suite.model_copy(update={"sets": sets_from(folder, suite.sets), "output": output_from(folder, suite.output)})


def sets_from(folder: Path, sets: Mapping[str, SuiteSet]) -> dict[str, SuiteSet]:
    """Sets whose paths begin in a folder, as paths from where one is."""
    return {
        name: each.model_copy(
            update={
                "coco": tuple(str(folder / file) for file in each.coco),
                "images": None if each.images is None else str(folder / each.images),
            }
        )
        for name, each in sets.items()
    }


def output_of(file: Path) -> dict[str, str]:
    """Where results go if a file does not say it: beside it, under its name."""
    return {"output": f"{file.stem}-results"}


def output_from(folder: Path, output: str) -> str:
    """A path that begins in a folder, as one from where one is; a URL stays what it is."""
    return output if "://" in output else str(folder / output)
