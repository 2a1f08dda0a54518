"""A workspace in an object store, through the command line: moto's server stands for S3, as a process of its own."""

import itertools
import math
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
import yaml

from engine.ingest import ingest
from engine.mirrors import models_here, models_to_write
from engine.release.build import build_release
from engine.store import Store
from model.registry import ModelCard, list_models
from model.storage import load_model, save_model
from schemas.errors import InputError
from stages.rounds import tick
from tests.e2e.object_stores import cli, from_nothing_to_a_verified_release, two_writers_lose_no_row, with_tiny_model
from tests.forks import PROCESSES
from tests.stages.workspaces import SETTINGS, tiny_sam, write_pictures

_POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/moto-api/")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


@pytest.fixture(autouse=True)
def place_of_work(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_ENGINE_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    _forget_clients()


def _forget_clients() -> None:
    """fsspec keeps a client with the credentials that it first saw."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def url() -> str:
    """A workspace that is still to be made, in a bucket of its own."""
    bucket = f"bucket-{uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/w"


def test_from_an_empty_bucket_to_a_verified_release(url: str, tmp_path: Path) -> None:
    from_nothing_to_a_verified_release(url, tmp_path)


@pytest.mark.slow
def test_the_same_bytes_as_on_a_disk(url: str, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", images=3)
    rows = []
    for root in (tmp_path / "local", url):
        store = Store.create(root)
        with_tiny_model(str(root))
        ingest(store, [pictures])
        tick(store, "assisted_manual")
        tick(store, "assisted_manual")
        tables = {name: store.read_table(name) for name in ("images", "ground_truth", "assisted_manual")}
        rows.append({name: sorted(map(repr, table.to_pylist())) for name, table in tables.items()})
        rows[-1]["release"] = [repr(build_release(store, stages=["assisted_manual"]).manifest.tars)]
    assert rows[0] == rows[1]


def test_writers_that_race_lose_no_row(url: str) -> None:
    two_writers_lose_no_row(url)


def test_a_model_without_its_card_is_none(url: str) -> None:
    workspace = with_tiny_model(url)
    assert [info.name for info in list_models([models_here(workspace.models)])] == ["tiny"]
    sam, _ = load_model("tiny", workspace.model_roots())
    assert sam.image_size == 64
    (workspace.models / "half" / "weights.safetensors").write(b"half")
    assert [info.name for info in list_models([models_here(workspace.models)])] == ["tiny"]
    (workspace.models / "tiny" / "card.json").remove()
    assert list_models([models_here(workspace.models)]) == []


def test_weights_that_are_gone_are_told(url: str) -> None:
    workspace = with_tiny_model(url)
    (workspace.models / "tiny" / "weights.safetensors").remove()
    with pytest.raises(InputError, match=r"weights\.safetensors: cannot be fetched"):
        load_model("tiny", workspace.model_roots())


def test_another_model_of_the_same_name_is_refused(url: str) -> None:
    workspace = with_tiny_model(url)
    other = tiny_sam()
    next(other.parameters()).data.add_(1.0)
    with pytest.raises(InputError, match="another model has this name"), models_to_write(workspace.models) as models:
        save_model(other, models, ModelCard(name="tiny"))


@pytest.mark.parametrize("command", [["init"], ["status"], ["run", "assisted_manual"], ["release", "build"]])
def test_a_missing_bucket_is_told_in_one_line(command: list[str], tmp_path: Path) -> None:
    status, said, err = cli(*command, "s3://no-such-bucket/w")
    assert status == 2
    assert "bucket does not exist" in said["error"]
    assert err.count("\n") == 1
    assert not {path.name for path in tmp_path.iterdir()} - {"home"}


def test_a_bucket_that_vanishes_is_told_in_one_line(url: str, tmp_path: Path) -> None:
    cli("init", url)
    with_tiny_model(url)
    pictures = write_pictures(tmp_path / "pictures", images=2)
    cli("ingest", url, pictures)
    opened = Store(url)
    tick(opened, "assisted_manual")
    bucket = boto3.resource("s3").Bucket(url.split("/")[2])
    bucket.objects.all().delete()
    bucket.delete()
    commands = (["status"], ["run", "assisted_manual"], ["release", "build"], ["janitor"], ["vacuum"])
    for command in commands:
        status, said, err = cli(*command, url)
        assert (status, err.count("\n")) == (2, 1), err
        assert "bucket does not exist" in said["error"]
    assert cli("ingest", url, pictures)[0] == 2
    with pytest.raises(InputError, match="bucket does not exist"):  # in the middle of a run
        tick(opened, "assisted_manual")


@contextmanager
def bad_line(server: str, *, seed: int) -> Iterator[tuple[str, Any]]:
    """Another address of the server, where every third connection breaks off after some bytes; and how many have.

    A process of its own: who waits for an answer may hold this one's interpreter.
    """
    broken, address = PROCESSES.Value("i", 0), PROCESSES.Queue()
    line = PROCESSES.Process(target=carry_badly, args=(server, seed, broken, address), daemon=True)
    line.start()
    try:
        yield address.get(timeout=60), broken
    finally:
        line.kill()
        line.join()


def carry_badly(server: str, seed: int, broken: Any, address: Any) -> None:
    host, port = server.removeprefix("http://").split(":")
    draw, door = random.Random(seed), socket.create_server(("127.0.0.1", 0))
    address.put(f"http://127.0.0.1:{door.getsockname()[1]}")

    def carry(one: socket.socket, other: socket.socket, left: float) -> None:
        with suppress(OSError):
            while left > 0 and (data := one.recv(4096)):
                other.sendall(data)
                left -= len(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    for number in itertools.count():
        client, upstream = door.accept()[0], socket.create_connection((host, int(port)))
        left = draw.randrange(100, 20_000) if number % 3 == 2 else math.inf
        broken.value += left < math.inf
        for pair in ((client, upstream), (upstream, client)):
            threading.Thread(target=carry, args=(*pair, left), daemon=True).start()


@pytest.mark.slow
def test_connections_that_break_off_lose_nothing(
    server: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not mended by trying again is one line, and the command repeated goes on."""
    pictures = write_pictures(tmp_path / "pictures", images=6)
    cli("init", url)
    with_tiny_model(url)
    with bad_line(server, seed=3) as (address, broken):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        _forget_clients()
        for command in (("ingest", url, pictures), *(("run", "assisted_manual", url),) * 2):
            for _ in range(10):
                status, said, err = cli(*command)
                assert "Traceback" not in err
                if status == 0:
                    break
                assert url in said["error"]
            assert status == 0, said
        assert broken.value > 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    _forget_clients()
    local = Store.create(tmp_path / "w")
    (tmp_path / "w" / "engine.yaml").write_text(yaml.safe_dump(SETTINGS))
    save_model(tiny_sam(), tmp_path / "w" / "models", ModelCard(name="tiny"))
    ingest(local, [pictures])
    for _ in range(2):
        tick(local, "assisted_manual")
    for table in ("images", "ground_truth", "assisted_manual", "events"):
        rows = [
            sorted(repr(row | {"source": ""}) for row in store.read_table(table).to_pylist())
            for store in (local, Store(url))
        ]
        assert rows[0] == rows[1], table


def test_a_wrong_secret_is_told_in_one_line(
    url: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.create(url)
    iam = boto3.client("iam")
    iam.create_user(UserName="user")
    key = iam.create_access_key(UserName="user")["AccessKey"]
    iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=_POLICY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _allow_without_check(server, 0)
    try:
        _forget_clients()
        assert cli("status", url)[0] == 0
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        _forget_clients()
        for command in (["init"], ["status"], ["run", "assisted_manual"], ["release", "build"]):
            status, said, err = cli(*command, url)
            assert (status, err.count("\n")) == (2, 1), err
            assert "check the address, the credentials" in said["error"]
    finally:
        _allow_without_check(server, 10**9)
    assert not {path.name for path in tmp_path.iterdir()} - {"home"}


def _allow_without_check(server: str, requests: int) -> None:
    data, headers = str(requests).encode(), {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset-auth", data=data, headers=headers))
