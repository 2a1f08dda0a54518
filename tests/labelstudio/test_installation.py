"""An environment of its own for Label Studio: whole, or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.labeling.installation import HOME_VARIABLE, LABEL_STUDIO_VERSION, install_label_studio
from schemas.errors import InputError, WaitError
from tests.labelstudio.local_server import ROOT, one_line, wait_until


def test_a_folder_with_something_else_is_no_label_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=HOME_VARIABLE) as error:
        install_label_studio()
    assert str(tmp_path) in one_line(error)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.labelstudio
def test_a_failed_installation_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    without_packages(tmp_path, monkeypatch)
    notes: list[str] = []
    with pytest.raises(
        WaitError, match=f"cannot install Label Studio {LABEL_STUDIO_VERSION}: ERROR: .*label-studio"
    ) as e:
        install_label_studio(note=notes.append)
    assert str(home) in one_line(e)
    assert any("about 2 minutes" in note for note in notes)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["packages"]
    assert (tmp_path / "home.install.log").is_file()


def without_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find no package anywhere."""
    (tmp_path / "packages").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "packages"))


@pytest.mark.labelstudio
def test_a_killed_installation_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, temp = tmp_path / "home", tmp_path / ".home.tmp"
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    script = "from engine.labeling.installation import install_label_studio; install_label_studio()"
    killed = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(temp.is_dir)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert temp.is_dir()
    assert not home.exists()
    (temp / "left over").touch()

    without_packages(tmp_path, monkeypatch)
    with pytest.raises(WaitError, match="cannot install"):
        install_label_studio()
    assert not temp.exists(), "the next installation starts anew"
