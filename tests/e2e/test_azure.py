"""A workspace at az://, through the command line: Azurite stands for Azure's blob storage, as a process of its own."""

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from engine.store import Store
from schemas.errors import InputError
from tests.e2e.object_stores import cli, from_nothing_to_a_verified_release, two_writers_lose_no_row, with_tiny_model

adlfs = pytest.importorskip("adlfs", reason="the extra [az] is not installed")
pytestmark = pytest.mark.skipif(
    not shutil.which("azurite-blob"), reason="Azurite is not installed; npm install --global azurite brings it"
)
# Azurite's only account; its key stands in its documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    options = ("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["azurite-blob", *options, "--blobPort", str(port)], cwd=folder, stdout=log, stderr=log
        )
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}/{_ACCOUNT}"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "it ended"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(port)


def connection(address: str, key: str = _KEY) -> str:
    """A connection string, as Azure's page shows it."""
    return f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={key};BlobEndpoint={address};"


@pytest.fixture(autouse=True)
def place_of_work(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    # It lists all objects where a part is asked for; what is beneath deltalake then looks through them itself.
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", address.rpartition("/")[0])
    monkeypatch.chdir(tmp_path)
    _connect_by(connection(address), monkeypatch)


def _connect_by(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec keeps a client with the credentials that it first saw."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    adlfs.AzureBlobFileSystem.clear_instance_cache()


@pytest.fixture
def url(place_of_work: None) -> str:
    """A workspace that is still to be made, in a container of its own."""
    return f"az://{_new_container()}/some/w"


def _new_container() -> str:
    name = f"container-{uuid4().hex[:8]}"
    _files().mkdir(name)
    return name


def _files() -> Any:
    return adlfs.AzureBlobFileSystem()


def test_from_an_empty_container_to_a_verified_release(url: str, tmp_path: Path) -> None:
    from_nothing_to_a_verified_release(url, tmp_path)


def test_writers_that_race_lose_no_row(url: str) -> None:
    two_writers_lose_no_row(url)


@pytest.mark.parametrize("command", [["init"], ["status"], ["run", "assisted_manual"], ["release", "build"]])
def test_a_missing_container_is_told_in_one_line(command: list[str]) -> None:
    status, said, err = cli(*command, "az://no-such-container/w")
    assert (status, err.count("\n")) == (2, 1), err
    assert "container does not exist" in said["error"]
    assert "make the bucket, or correct its name" in said["error"]


def test_a_container_that_vanishes_is_told_in_one_line(url: str) -> None:
    cli("init", url)
    with_tiny_model(url)
    opened = Store(url)
    _files().rm(url.split("/")[2], recursive=True)
    for command in (["status"], ["run", "assisted_manual"], ["release", "build"], ["janitor"], ["vacuum"]):
        status, said, err = cli(*command, url)
        assert (status, err.count("\n")) == (2, 1), err
        assert "container does not exist" in said["error"]
    with pytest.raises(InputError, match="container does not exist"):
        opened.rounds()


def test_a_wrong_key_is_told_in_one_line(url: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.create(url)
    _connect_by(connection(address, base64.b64encode(b"wrong" * 10).decode()), monkeypatch)
    for command in (["init"], ["status"], ["run", "assisted_manual"], ["release", "build"]):
        status, said, err = cli(*command, url)
        assert (status, err.count("\n")) == (2, 1), err
        assert "check the address, the credentials" in said["error"]
