"""The checks of .pre-commit-config.yaml, over the whole repository."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
HOOKS = {
    hook["id"]: hook["entry"]
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]
}


def test_all_checks_are_configured() -> None:
    assert {"ruff", "ruff-format", "mypy", "import-linter", "typos"} <= set(HOOKS)


def test_types_are_checked_on_every_floor_and_in_the_examples() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert {*project["importlinter"]["root_packages"], "examples"} <= set(project["mypy"]["files"])


@pytest.mark.checks
@pytest.mark.parametrize("entry", HOOKS.values(), ids=HOOKS)
def test_check(entry: str) -> None:
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": scripts + os.pathsep + os.environ["PATH"]}
    run = subprocess.run(
        shlex.split(entry),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{entry}\n{run.stdout}"
