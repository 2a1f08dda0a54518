"""What a single request may cost the model backend, measured with the model that ships: any that is allowed takes less
than two seconds of a core and 200 MB more memory, and one that nobody waits for is not computed."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from engine.labeling import prompting
from engine.labeling.backend import make_app
from engine.labeling.embeddings import EmbeddingCache, ReadyImage
from engine.labeling.gatekeeper import MAX_BODY_BYTES
from engine.labeling.prompting import MAX_PROMPTS, Prompter
from engine.labeling.routes import CLICKS_AT_ONCE
from engine.workspace import Workspace
from model.registry import ModelInfo
from model.sam import Sam
from model.storage import load_model
from schemas.config import LONGEST_SIDE_PX
from tests.engine.labeling.bodies import click_body, point, task_body

MIB = 2**20
STATUS = Path("/proc/self/status")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="memory is measured as Linux tells it")


@pytest.fixture(scope="module")
def nano() -> tuple[Sam, ModelInfo]:
    return load_model("nano", Workspace(Path()).model_roots())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A usual picture, and the largest that is ever published."""
    images = tmp_path_factory.mktemp("workspace") / "labeling" / "images"
    images.mkdir(parents=True)
    for name, width in (("usual", 640), ("huge", LONGEST_SIDE_PX)):
        blocks = (np.random.default_rng(0).random((width * 3 // 64, width // 16, 3)) * 255).astype(np.uint8)
        Image.fromarray(blocks).resize((width, width * 3 // 4)).save(images / f"{name}.jpg")
    return images.parents[1]


@pytest.fixture(scope="module")
def client(workspace: Path, nano: tuple[Sam, ModelInfo]) -> Iterator[TestClient]:
    """Whose usual picture was clicked on before."""
    sam, info = nano
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with TestClient(make_app(workspace, sam, model_id=info.model_id), base_url="http://127.0.0.1:9090") as made:
        click(made, "usual", clicks(1, "warm"))
        yield made
    torch.set_num_threads(threads)


def clicks(count: int, name: str) -> list[dict[str, Any]]:
    places = np.random.default_rng(1).uniform(5, 95, (count, 2))
    return [point(float(x), float(y), id=f"{name} {number}") for number, (x, y) in enumerate(places)]


def click(client: TestClient, picture: str, prompts: list[dict[str, Any]], **task: Any) -> dict[str, Any]:
    body = click_body(task_body(f"{picture}.jpg", **task), *prompts)
    result: dict[str, Any] = client.post("/predict", json=body).json()["results"][0]
    return result


@contextmanager
def bounded() -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is what it is now
    before, began_s = memory_mb("VmRSS"), time.process_time()
    yield
    assert time.process_time() - began_s < 2
    assert memory_mb("VmHWM") - before < 200


def memory_mb(name: str) -> float:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def test_as_many_points_as_are_allowed_and_one_more(client: TestClient) -> None:
    with bounded():
        assert len(click(client, "usual", clicks(MAX_PROMPTS, "many"), task=11)["result"]) == 1
    with bounded():
        assert "65 prompts for one object" in click(client, "usual", clicks(MAX_PROMPTS + 1, "more"), task=12)["error"]


def test_a_mask_that_is_refined(client: TestClient) -> None:
    prompts = clicks(MAX_PROMPTS, "refined")
    assert len(click(client, "usual", prompts[:-1], task=13)["result"]) == 1
    with bounded():
        assert len(click(client, "usual", prompts, task=13)["result"]) == 1


def test_the_largest_picture(client: TestClient) -> None:
    for name in ("first", "second"):  # it is encoded, then it is in memory
        with bounded():
            assert len(click(client, "huge", clicks(1, name), task=14)["result"]) == 1


def test_the_largest_body(client: TestClient) -> None:
    """Masks on the picture, as a draft carries them along where the server is another than ours."""
    numbers = [255] * (MAX_BODY_BYTES // 1000 // 4 - 100)
    regions = [
        {"id": f"r{number}", "type": "brushlabels", "value": {"format": "rle", "rle": numbers}}
        for number in range(1000)
    ]
    body = click_body(task_body("usual.jpg", task=15), *clicks(1, "body"))
    body["tasks"][0]["drafts"] = [{"result": regions}]
    with bounded():
        answer = client.post("/predict", json=body)
    assert len(answer.request.content) > 0.9 * MAX_BODY_BYTES
    assert len(answer.json()["results"][0]["result"]) == 1


@contextmanager
def listening(app: FastAPI) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield opened.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def test_a_click_that_nobody_waits_for_is_not_computed(
    workspace: Path, nano: tuple[Sam, ModelInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    go_on = threading.Event()

    def predict(_: Prompter, request: dict[str, Any], left: Any) -> dict[str, Any]:
        computed.append(request["project"])
        assert go_on.wait(60)
        return {"results": [{"result": []}]}

    monkeypatch.setattr(Prompter, "predict", predict)
    app = make_app(workspace, nano[0], model_id=nano[1].model_id)
    with listening(app) as (host, port), ThreadPoolExecutor(CLICKS_AT_ONCE + 1) as pool:

        def ask(name: str) -> int:
            return httpx.post(f"http://{host}:{port}/predict", json={"project": name}, timeout=60).status_code

        answers = [pool.submit(ask, f"at work {number}") for number in range(CLICKS_AT_ONCE)]
        wait_for(lambda: len(computed) == CLICKS_AT_ONCE)
        body = b'{"project": "left"}'
        head = (
            f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        for _ in range(3):
            with socket.create_connection((host, port)) as leaving:
                leaving.sendall(f"{head}\r\n\r\n".encode() + body)
                time.sleep(0.2)  # it has come, and waits
        answers.append(pool.submit(ask, "stays"))
        time.sleep(0.2)
        go_on.set()
        assert [answer.result() for answer in answers] == [200] * (CLICKS_AT_ONCE + 1)
    assert sorted(computed) == [*(f"at work {number}" for number in range(CLICKS_AT_ONCE)), "stays"]


def test_a_click_whose_client_leaves_is_computed_no_further(
    workspace: Path, nano: tuple[Sam, ModelInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its picture is encoded."""
    at_work, go_on, encoded, decoded = threading.Event(), threading.Event(), [], []
    get, decode = EmbeddingCache.get, prompting.decode

    def slowly(cache: EmbeddingCache, path: Path) -> ReadyImage:
        at_work.set()
        assert go_on.wait(60)
        encoded.append(path)
        return get(cache, path)

    monkeypatch.setattr(EmbeddingCache, "get", slowly)
    monkeypatch.setattr(prompting, "decode", lambda *given, **more: decoded.append(1) or decode(*given, **more))
    with listening(make_app(workspace, nano[0], model_id=nano[1].model_id)) as (host, port):

        def ask(timeout_s: float) -> int:
            body = click_body(task_body("usual.jpg", task=16), *clicks(1, "leaving"))
            return httpx.post(f"http://{host}:{port}/predict", json=body, timeout=timeout_s).status_code

        with pytest.raises(httpx.ReadTimeout):
            ask(1.0)
        assert at_work.is_set()
        time.sleep(0.2)  # it is heard that the client has left
        go_on.set()
        wait_for(lambda: len(encoded) == 1)
        assert ask(60) == 200
    assert len(decoded) == 1, "of the one that stayed"


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
