"""Texts NAME=VALUE on the command line: settings, checked by the model that they belong to, and files with names."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from schemas.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

Section = TypeVar("Section", bound="BaseModel")


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as values, read as YAML. Raises InputError for a text of another form."""
    import yaml

    values: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: expected KEY=VALUE, for example --set seed=1")
        values[key] = yaml.safe_load(value)
    return values


def named_files(option: str, texts: Sequence[str], *, example: str) -> dict[str, Path]:
    """NAME=FILE texts of an option, by name. Raises InputError for another form, or a name that comes twice."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise InputError(f"{option} {text}: give it as NAME=FILE, for example {example}")
        if name in found:
            raise InputError(f"{option} {name}: given twice; give each a name of its own")
        found[name] = Path(file)
    return found


def with_settings(config: Section, settings: Sequence[str]) -> Section:
    """A section of engine.yaml with KEY=VALUE texts in place of its values; A.B=VALUE is for key B of its section A.

    Raises InputError for a key that there is not, or a value that it cannot have.
    """
    from pydantic import ValidationError

    values = config.model_dump()
    for key, value in parse_settings(settings).items():
        *sections, name = key.split(".")
        place = values
        for section in sections:
            inner = place.get(section)
            if not isinstance(inner, dict):
                raise InputError(f"--set {key}: {section} has no settings of its own")
            place = inner
        place[name] = value
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        raise setting_error(error, type(config)) from error


def setting_error(error: ValueError, model: "type[BaseModel]") -> InputError:
    """What is wrong with a setting, in one line; pydantic's own text is many."""
    from pydantic import ValidationError

    from schemas.problems import first_problem

    if not isinstance(error, ValidationError):
        return InputError(str(error))
    problem = first_problem(error)
    if problem.unknown:
        return InputError(f"--set {problem.key}: no such setting; there are: {', '.join(model.model_fields)}")
    if not problem.key:
        return InputError(f"--set: {problem.message}")
    return InputError(f"--set {problem.key}: {problem.message}, found {problem.found!r}")
