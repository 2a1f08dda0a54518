"""Commands and options that documents show are those of the command line."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app
from tests.documents import ROOT, blocks, own_files

DOCUMENTS = [path for path in own_files("*.md") if "sam-engine " in (ROOT / path).read_text(encoding="utf-8")]
_COMMAND = re.compile(r"\bsam-engine ([^#|;&\n]*)")


def commands(path: Path) -> Iterator[list[str]]:
    """The words after each `sam-engine` of the bash blocks."""
    for block in blocks(ROOT / path):
        if block.language == "bash":
            text = re.sub(r"\$\(.*?\)", "", block.text.replace("\\\n", " "))
            yield from (shlex.split(found) for found in _COMMAND.findall(text))


def check(command: Any, words: list[str]) -> None:
    """Raises AssertionError where a word is no command of a group, or no option of a command."""
    while choices := getattr(command, "commands", {}):
        if words[0] not in choices and hasattr(command, "general"):
            command = command.general
            break
        assert words[0] in choices, f"{words[0]}: no command of {command.name}"
        command, words = choices[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    unknown = {word for word in words if word.startswith("-")} - options
    assert not unknown, f"{command.name}: no option {unknown}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_documented_commands_exist(path: Path) -> None:
    for words in commands(path):
        check(typer.main.get_command(app), words)


def test_an_unknown_command_or_option_is_found() -> None:
    assert sum(1 for _ in commands(Path("README.md"))) > 5
    with pytest.raises(AssertionError, match="segment: no command"):
        check(typer.main.get_command(app), ["segment", "--coco", "x"])
    with pytest.raises(AssertionError, match="no option"):
        check(typer.main.get_command(app), ["train", "--cocoa", "x"])
