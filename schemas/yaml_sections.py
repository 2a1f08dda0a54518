"""Files of settings in YAML, validated key by key: whatever is wrong with one is said in one line."""

from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import InputError
from schemas.problems import first_problem


class Section(BaseModel):
    """Some keys of such a file; there are no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Section)


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a key that stands twice in a section, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands there twice", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(
    content: bytes,
    model: type[Model],
    *,
    file: object,
    among: str,
    inner: Mapping[str, type[BaseModel]] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Model:
    """Validate what a file holds.

    among: names of some keys, for a file that has none. inner: by the beginning of a key, such as "sets.", the model
    of the section that it stands in, where that is not `model`. defaults: of keys, where they follow from the file.
    Raises InputError naming the file, the key, its value and what is allowed.
    """
    try:
        values = yaml.load(content.decode("utf-8"), _EachKeyOnce)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: expected keys and values, among them {among}")
    try:
        return model.model_validate({**(defaults or {}), **values})
    except ValidationError as error:
        raise InputError(f"{file}: {_said(error, model, inner or {})}") from error


def _said(error: ValidationError, model: type[BaseModel], inner: Mapping[str, type[BaseModel]]) -> str:
    problem = first_problem(error)
    if problem.unknown:
        known = next((section for start, section in inner.items() if problem.key.startswith(start)), model)
        return f"unknown key {problem.key!r}; there are: {', '.join(known.model_fields)}"
    found = "" if isinstance(problem.found, dict) else f", found {problem.found!r}"
    return f"{problem.key}: {problem.message.lower()}{found}"
