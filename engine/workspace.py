"""A workspace: where each kind of its files lies, by name."""

import re
from pathlib import Path
from typing import Any

from engine.files import remove_abandoned
from engine.mirrors import models_here
from engine.places import Place, full_name, is_relative, place
from model.registry import model_roots
from schemas.config import CONFIG_FILE, EngineConfig, parse_config
from schemas.errors import InputError


class Workspace:
    """The places of a workspace, a folder or a URL. Cheap to make; it may be sent to other processes.

    Its text is what the user called it.
    """

    def __init__(self, root: "str | Path | Workspace") -> None:
        self.root: Place = root.root if isinstance(root, Workspace) else place(root)

    def __str__(self) -> str:
        return str(self.root)

    def __repr__(self) -> str:
        return f"Workspace({str(self)!r})"

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Workspace) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.name

    @property
    def full_name(self) -> str:
        """Its address, that means the same wherever one is: an absolute path or a URL."""
        return full_name(self.root)

    @property
    def config(self) -> Place:
        """The file of its settings."""
        return self.root / CONFIG_FILE

    @property
    def images(self) -> Place:
        """Copies of the pictures, a folder a shard."""
        return self.root / "images"

    @property
    def tables(self) -> Place:
        """Delta tables, a folder each."""
        return self.root / "tables"

    @property
    def models(self) -> Place:
        """Models that were trained here, a folder each."""
        return self.root / "models"

    @property
    def checkpoints(self) -> Place:
        """Of retrainings that are not done, a folder each."""
        return self.models / ".training"

    @property
    def releases(self) -> Place:
        return self.root / "releases"

    @property
    def reports(self) -> Place:
        return self.root / "reports"

    @property
    def studies(self) -> Place:
        """Human studies, a folder each; see `engine.study.folder`."""
        return self.root / "studies"

    @property
    def cache(self) -> Place:
        """What is made of the tables to find things quickly, and made again where it is gone."""
        return self.root / "cache"

    @property
    def labeling(self) -> Place:
        """What is kept of the work with Label Studio; see `engine.labeling.folder`."""
        return self.root / "labeling"

    @property
    def detectors(self) -> Place:
        """Object detectors that were trained for rounds, a folder each."""
        return self.labeling / "detectors"

    @property
    def verifiers(self) -> Place:
        """Verifiers that were trained for gates, a folder each."""
        return self.labeling / "verifiers"

    @property
    def features(self) -> Place:
        """Of masks, that verifiers learn from."""
        return self.labeling / "features"

    @property
    def label_studio(self) -> Place:
        """What belongs to a local Label Studio."""
        return self.root / "label_studio"

    def remove_abandoned(self, *, older_than_s: float) -> list[str]:
        """Remove what killed writers left on this machine's disk, half models and reports among it; see `model.files`.

        Pictures and tables have their own: an ingest, and the history of each table. Returns what was removed.
        """
        places = (self.models, self.reports, self.releases, self.labeling, self.studies, self.root / "approvals")
        folders = [each.on_disk() for each in places]
        return [str(left) for folder in folders for left in remove_abandoned(folder, older_than_s=older_than_s)]

    def picture(self, path: str) -> Place:
        """A picture by the `path` of its row in `images`: below the workspace, or elsewhere where it was not copied."""
        return self.root / path if is_relative(path) else place(path)

    def local_path(self, what: str) -> Path:
        """Its folder on this machine's disk, without which `what` cannot be. Raises InputError where it is a URL."""
        return self.root.local_path(what)

    def model_roots(self) -> list[Path]:
        """Folders in which models are looked for, its own first; see `engine.mirrors` where it is a URL."""
        return [models_here(self.models), *model_roots()]

    def set_bit_depth(self, bits: int) -> None:
        """Keep `images.bit_depth` in its `engine.yaml`, since all pictures are read by it, now and later.

        Raises InputError where that file has no such line.
        """
        text = self.config.text() if self.config.exists() else ""
        changed, found = re.subn(r"(?m)^(\s+bit_depth:\s*)\S+", rf"\g<1>{bits}", text, count=1)
        if not found:
            raise InputError(f"{self.config}: write bit_depth: {bits} into its section images, then ingest again")
        self.config.write(changed.encode())

    def settings(self) -> EngineConfig:
        """Read and validate its `engine.yaml`. Raises InputError naming the file, the key, its value and what is
        allowed."""
        try:
            content = self.config.read()
        except FileNotFoundError:
            content = None
        return parse_config(content, file=self.config, workspace=self)


def roots_of(workspace: "str | Path | Workspace | None") -> list[Path]:
    """Folders in which models are looked for, those of a workspace first, if there is one."""
    return model_roots() if workspace is None else Workspace(workspace).model_roots()


def workspace_of_release(release: "str | Path | Place") -> Workspace | None:
    """The workspace in whose releases/ a release lies; None where it lies elsewhere."""
    *above, _ = full_name(place(release)).rstrip("/").split("/")
    workspace = Workspace("/".join(above[:-1])) if above[-1:] == ["releases"] else None
    return workspace if workspace and workspace.config.exists() else None
