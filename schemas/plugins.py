"""Things that are found by name: the built-in ones, and those that other distributions bring as entry points.

A distribution adds one by a line in its `pyproject.toml`, for example

    [project.entry-points."sam_data_engine.exporters"]
    labelme = "labelme_exporter:export_labelme"

Nothing is imported before it is asked for by name.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from schemas.errors import InputError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Registry(Mapping[str, T], Generic[T]):
    """All things of one kind by their names, built-in ones first; a mapping that imports a value when it is looked up.

    Looking up raises InputError, where other mappings raise KeyError: for a name that nothing has (it lists those there
    are), for a name that two distributions claim, and for an entry point that does not load or lacks what the kind
    needs; the last two name the distribution. A built-in name always means the built-in thing.
    """

    def __init__(self, kind: str, *, group: str, needs: tuple[str, ...], builtin: Mapping[str, str]) -> None:
        """kind: for messages. group: of entry points. needs: attributes that a thing must have.

        builtin: names with the place of each, "module:attribute".
        """
        self.kind, self.group = kind, group
        self._needs, self._builtin = needs, dict(builtin)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = self._load_builtin(name) if name in self._builtin else self._load_foreign(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._foreign()

    def __iter__(self) -> Iterator[str]:
        """Names, built-in ones first. What hides behind a built-in name is told in the log."""
        foreign = self._foreign()
        for name in foreign.keys() & self._builtin.keys():
            _log.warning(
                "%s: the %s %r is built in and stays what it is; the distribution must choose another name",
                _whose(foreign[name]),
                self.kind,
                name,
            )
        yield from self._builtin
        yield from sorted(foreign.keys() - self._builtin.keys())

    def __len__(self) -> int:
        return len(self._builtin.keys() | self._foreign().keys())

    def working(self) -> Iterator[tuple[str, T]]:
        """Name and value of all that load; a warning in the log for each that does not."""
        for name in self:
            try:
                yield name, self[name]
            except InputError as error:
                _log.warning("%s", error)

    def _load_builtin(self, name: str) -> T:
        module, _, attribute = self._builtin[name].partition(":")
        return cast(T, getattr(import_module(module), attribute))

    def _load_foreign(self, name: str) -> T:
        found = self._foreign().get(name, [])
        if not found:
            raise InputError(f"unknown {self.kind} {name!r}; known: {', '.join(self) or 'none'}")
        if len(found) > 1:
            raise InputError(f"{self.kind} {name!r}: claimed by {_whose(found)}; uninstall all but one of them")
        try:
            thing = found[0].load()
        except Exception as error:  # whatever somebody else's module does must not look like a fault of ours
            raise InputError(f"{self._named(found)} does not load: {type(error).__name__}: {_line(error)}") from error
        missing = [attribute for attribute in self._needs if not hasattr(thing, attribute)]
        if missing:
            raise InputError(f"{self._named(found)} lacks {', '.join(missing)}; see docs/extending.md")
        return cast(T, thing)

    def _named(self, found: list[EntryPoint]) -> str:
        return f"{self.kind} {found[0].name!r} ({found[0].value}) of {_whose(found)}"

    def _foreign(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, []).append(point)
        return found


def settings_of(what: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, if they are all arguments that the function takes by keyword alone.

    Raises InputError, which names `what` and the settings there are, for another.
    """
    parameters = inspect.signature(function).parameters.values()
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for setting in settings:
        if setting not in known:
            raise InputError(f"{what} has no setting {setting!r}; it has: {', '.join(known) or 'none'}")
    return dict(settings)


def known_name(name: str, *, group: str, builtin: tuple[str, ...]) -> str:
    """The name, for a validator of settings: things that are only found on a floor above can be named there.

    Raises ValueError that lists the names there are.
    """
    if name in builtin:
        return name
    names = (*builtin, *sorted({point.name for point in entry_points(group=group)} - set(builtin)))
    if name in names:
        return name
    from pydantic_core import PydanticCustomError  # only here: it takes longer to import than all else

    raise PydanticCustomError("unknown_name", "choose one of {names}", {"names": ", ".join(names) or "none"})


def _whose(points: list[EntryPoint]) -> str:
    return " and ".join(f"{point.dist.name} {point.dist.version}" if point.dist else "unknown" for point in points)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
