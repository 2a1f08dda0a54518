"""What docs/site_build.py makes of docstrings and links; .ci/run builds the whole site."""

import importlib.util
from types import ModuleType

import pytest

from tests.documents import ROOT

pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")


@pytest.fixture(scope="module")
def site_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments_become_a_list_and_what_follows_paragraphs(site_build: ModuleType) -> None:
    docstring = (
        "How little a mask changes: a score.\n\n"
        "logits: (N, H, W),\n    unnormalised. offset: of both.\n"
        "other: no argument.\n"
        "Returns (N,).\n"
        "Raises ValueError if offset < 0."
    )
    assert site_build.laid_out(docstring, {"logits", "offset"}).splitlines() == [
        "How little a mask changes: a score.",
        "",
        "",
        "- `logits`: (N, H, W),",
        "    unnormalised.",
        "- `offset`: of both.",
        "    other: no argument.",
        "",
        "Returns (N,).",
        "",
        "Raises ValueError if offset < 0.",
    ]


def test_a_docstring_without_arguments_stays_as_it_is(site_build: ModuleType) -> None:
    assert site_build.laid_out("One: two. three: four.", set()) == "One: two. three: four."
