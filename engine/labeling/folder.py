"""What is kept of the work with Label Studio beside the tables, in two folders of a workspace.

labeling/              can be had again, and be deleted at any moment: what people did is in the tables alone
images/                pictures that annotators see; Label Studio's document root
projects.json          purpose -> project id
detectors/, verifiers/ trained for a round or a gate; features/ that a verifier learns from
prompts/, embeddings/  of the model backend

label_studio/          of a local server: it is to Label Studio what `tables` is to the engine
server/                its database and uploads
credentials.json       account and API token; readable by their owner alone
backend.key            secret of the model backend; likewise
pictures.key           signs links to pictures, where Label Studio is on another machine; likewise
server.log
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.json_files import read_json, write_json
from engine.places import place
from engine.workspace import Workspace
from schemas.errors import InputError
from schemas.labeling import GATES, Purpose
from schemas.stages import Stage

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
_ANEW = "delete it, it is made anew from Label Studio"


@dataclass(frozen=True)
class Credentials:
    """Where Label Studio is, and the token to speak to it with, which no text about this object shows."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, token=...)"


@dataclass(frozen=True)
class Scope:
    """Which tasks of a project belong together: those of one round of a stage, for people to work on or for a gate."""

    purpose: Purpose
    stage: Stage
    round: int

    @property
    def data(self) -> dict[str, Any]:
        """What says so in the data of each of these tasks."""
        gate = {"gate": self.purpose} if self.purpose in GATES else {}
        return {**gate, "stage": self.stage, "round": self.round}

    @property
    def path(self) -> str:
        """Of a folder that is theirs alone."""
        return f"{self.purpose}/{self.stage}-{self.round}"

    def holds(self, task: Mapping[str, Any]) -> bool:
        data = task.get("data") or {}
        return all(data.get(key) == value for key, value in {"gate": None, **self.data}.items())


class LabelingFolder:
    """Paths of the two folders and their small JSON files, which are written whole or not at all."""

    def __init__(self, workspace: str | Path | Workspace) -> None:
        """For a workspace at a URL they are on this machine's disk: other machines have others."""
        files = Workspace(workspace)
        self.root = files.labeling.on_disk()
        self.images = self.root / "images"
        self.server = files.label_studio.on_disk()
        self.credentials_file = self.server / "credentials.json"
        self._projects_file = place(self.root / "projects.json")
        self.wake_file = self.root / "wake"  # touched by the backend when a webhook says that something was done

    def pictures(self) -> list[Path]:
        """The pictures that annotators see, the oldest first."""
        paths = [found.local_path("a picture") for found in place(self.images).find("**/*.jpg")]
        return sorted(paths, key=lambda path: path.stat().st_mtime)

    def credentials(self, url: str) -> Credentials:
        """The token for the server at `url`: from the environment, else what `labeling server` left here.

        Raises InputError, with the ways to give one, if there is none.
        """
        if token := os.environ.get(TOKEN_VARIABLE, ""):
            return Credentials(url, token)
        found = read_json(place(self.credentials_file), {}, remedy=_ANEW)
        if token := str(found.get("token", "")):
            return Credentials(url, token)
        raise InputError(
            f"no API token for Label Studio at {url}: set {TOKEN_VARIABLE} (its web page shows it under Account & "
            f"Settings), or start a server here with: sam-engine labeling server {self.root.parent}"
        )

    def project(self, purpose: Purpose) -> int | None:
        """The id of the project of a purpose, if it was set up."""
        found = self._projects().get(purpose)
        return None if found is None else int(found)

    def put_project(self, purpose: Purpose, project: int) -> None:
        write_json(self._projects_file, self._projects() | {purpose: project})

    def _projects(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self._projects_file, {}, remedy=_ANEW)
        return found
