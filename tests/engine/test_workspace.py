import pickle
from pathlib import Path
from uuid import uuid4

import pytest

from engine.store import Store
from engine.workspace import Workspace, roots_of
from model.registry import model_roots
from schemas.config import CONFIG_FILE, EngineConfig
from schemas.default_settings import DEFAULT_YAML
from schemas.errors import InputError


def test_the_bit_depth_is_kept_in_the_settings(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "w")
    assert store.files.settings().images.bit_depth is None
    for bits in (12, 14):
        store.files.set_bit_depth(bits)
        assert store.files.settings().images.bit_depth == bits
    assert Store(tmp_path / "w").bit_depth == 14
    (tmp_path / "w" / CONFIG_FILE).write_text("seed: 3\n")
    with pytest.raises(InputError, match="write bit_depth: 12 into its section images"):
        store.files.set_bit_depth(12)


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


@pytest.mark.parametrize("root", ["some/folder", "memory://somewhere/w"])
def test_every_kind_of_file_has_its_place(root: str) -> None:
    workspace = Workspace(root)
    places = {
        "images": workspace.images,
        "tables": workspace.tables,
        "models": workspace.models,
        "models/.training": workspace.checkpoints,
        "releases": workspace.releases,
        "reports": workspace.reports,
        "studies": workspace.studies,
        "labeling": workspace.labeling,
        "labeling/detectors": workspace.detectors,
        "labeling/verifiers": workspace.verifiers,
        "labeling/features": workspace.features,
        "label_studio": workspace.label_studio,
    }
    assert {name: str(found) for name, found in places.items()} == {name: f"{root}/{name}" for name in places}
    assert repr(workspace) == f"Workspace('{root}')"


def test_workspaces_are_equal_where_their_places_are() -> None:
    one, same, other = Workspace("a"), Workspace(Path("a")), Workspace("b")
    assert one == same
    assert one != other
    assert one != one.root
    assert len({one, same, other}) == 2


def test_pictures_lie_below_it_or_elsewhere(tmp_path: Path) -> None:
    workspace = Workspace("w")
    assert str(workspace.picture("images/000000/1.png")) == "w/images/000000/1.png"
    assert str(workspace.picture(str(tmp_path / "1.png"))) == str(tmp_path / "1.png")
    assert str(workspace.picture("memory://there/1.png")) == "memory://there/1.png"


def test_its_address_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace("w").full_name == str(tmp_path / "w")
    assert Workspace("memory://w").full_name == "memory://w"


def test_only_a_folder_has_a_path_on_this_disk(tmp_path: Path) -> None:
    assert Workspace(tmp_path).local_path("a server") == tmp_path
    with pytest.raises(InputError, match="a server must lie on a disk of this machine"):
        Workspace("memory://w").local_path("a server")


def test_models_are_looked_for_in_it_first(tmp_path: Path) -> None:
    found = Workspace(tmp_path).model_roots()
    assert found == [tmp_path / "models", *model_roots()]
    assert roots_of(tmp_path) == roots_of(Workspace(tmp_path)) == found
    assert roots_of(None) == model_roots()
