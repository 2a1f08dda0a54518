"""Documents keep what they promise: links lead somewhere, the README is short and its commands run in CI."""

import ast
import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.tables import TABLES
from tests.documents import ROOT, blocks, own_files, prose

README = ROOT / "README.md"
DOCUMENTS = own_files("*.md")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_has_at_most_900_words_outside_its_blocks() -> None:
    assert len(prose(README).split()) <= 900


def test_every_block_of_the_readme_can_be_run() -> None:
    assert {block.language for block in blocks(README)} == {"bash", "python"}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """tests/e2e/test_newcomer.py runs all others."""
    (line,) = (line for block in blocks(README) for line in block.text.splitlines() if "pytest" in line)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    first, second = (ci.index(command) for command in line.split(" && "))
    assert first < second


def test_the_workflow_runs_the_same_script() -> None:
    assert "- run: bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_and_pictures_exist(document: Path) -> None:
    for link in _LINK.findall(prose(ROOT / document)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, wanted = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: {link}"
        assert target.resolve().is_relative_to(ROOT), f"{document}: {link} leaves the repository"
        if wanted:
            headings = _HEADING.findall(prose(target))
            assert wanted in {anchor(heading) for heading in headings}, f"{document}: {link}"


def test_the_api_pages_name_modules_that_exist() -> None:
    """The site is built late in CI; a renamed module is noticed here."""
    named = {
        name
        for page in own_files("docs/api/*.md")
        for name in re.findall(r"^::: (\S+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert "model.predictor" in named
    assert [name for name in sorted(named) if importlib.util.find_spec(name) is None] == []


def imported_names(code: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every `from module import name`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_what_the_readme_and_the_notebooks_import_is_there() -> None:
    """They run late in CI; a moved function is noticed here."""
    code = [block.text for block in blocks(README) if block.language == "python"]
    for path in own_files("examples/*.ipynb"):
        cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
        code += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code = [text for text in code if not text.startswith("%%")]
    named = {names for text in code for names in imported_names(text)}
    assert ("model.predictor", "Predictor") in named
    assert [(name, of) for of, name in sorted(named) if not hasattr(importlib.import_module(of), name)] == []


def test_no_document_or_docstring_names_a_folder_that_others_do_not_have() -> None:
    foreign = re.compile(r"\.\./shared|/work/|/root/|/home/\w")
    texts = own_files("*.md", "benchmarks/*", "docs/*", "examples/*", "flows/*.py", "engine/*.py", "stages/*.py")
    found = [
        path
        for path in texts
        if path.suffix in {".md", ".py", ".txt", ".ipynb"} and foreign.search((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_table_is_described_once_with_columns_that_it_has_as_its_key() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \| [^|]+ \| (`[^|]+) \|$", text, flags=re.MULTILINE)
    described = [(name, re.findall(r"`(\w+)`", key)) for names, key in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(name for name, _ in described) == sorted(TABLES)
    for name, key in described:
        assert key
        assert set(key) <= set(TABLES[name].names), name
