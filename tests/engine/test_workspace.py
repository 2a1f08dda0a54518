import pickle
from pathlib import Path
from uuid import uuid4

import pytest

from engine.store import Store
from engine.workspace import Workspace
from schemas.config import DEFAULT_YAML, EngineConfig
from schemas.errors import InputError


@pytest.mark.parametrize("root", ["some/folder", "memory://somewhere/w"])
def test_it_is_called_as_the_user_called_it(root: str) -> None:
    workspace = Workspace(root)
    assert str(workspace) == root
    assert str(workspace.config) == f"{root}/engine.yaml"
    assert str(workspace.checkpoints) == f"{root}/models/.training"
    assert workspace == Workspace(workspace) == pickle.loads(pickle.dumps(workspace))
    assert workspace.name == root.rsplit("/", 1)[-1]


def test_its_name_is_the_folders_even_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace(".").name == tmp_path.name


def test_settings_are_read_from_anywhere(tmp_path: Path) -> None:
    for root in (tmp_path, f"memory://{uuid4().hex}"):
        workspace = Workspace(root)
        with pytest.raises(InputError, match=f"{root}/engine.yaml: no such file; .* sam-engine init {root}"):
            workspace.settings()
        workspace.config.write(DEFAULT_YAML.encode())
        assert workspace.settings() == EngineConfig()
        workspace.config.write(b"seed: much")
        with pytest.raises(InputError, match=f"{root}/engine.yaml: seed: "):
            workspace.settings()


def test_a_store_tells_where_its_tables_can_be() -> None:
    with pytest.raises(InputError, match=r"memory://w/tables/\w+: tables can lie on a disk of this machine, or at s3"):
        Store(Workspace("memory://w"))
