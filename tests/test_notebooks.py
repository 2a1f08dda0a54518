"""The notebooks of examples/ run from top to bottom in an empty folder."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from engine.store import Store
from tests.documents import ROOT, own_files


def run_notebook(path: Path, folder: Path) -> list[str]:
    """Returns what its cells printed. Raises CellExecutionError where a cell failed."""
    notebook = nbformat.read(ROOT / path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.text for output in outputs if output.output_type == "stream"]


@pytest.mark.slow
@pytest.mark.parametrize("path", own_files("examples/*.ipynb"), ids=str)
def test_notebook(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    printed = "".join(run_notebook(path, tmp_path))
    assert "error: " not in printed, "a command failed"
    if path.stem == "your_own_images":
        masks = Store(tmp_path / "work").counts()["assisted_manual"]
        assert masks > 5
        assert f"{masks} masks, " in printed
