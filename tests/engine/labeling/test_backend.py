import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine.labeling import prompt_log
from engine.labeling.backend import SERVER_MS_HEADER, make_app, serve
from engine.labeling.brush import decode_brush
from engine.labeling.folder import LabelingFolder
from engine.labeling.secret import backend_login
from engine.labeling.served import Successor
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig, HieraConfig, TinyViTConfig
from model.predictor import Predictor
from model.registry import ModelCard
from model.sam import Sam, build_sam
from model.storage import load_model, save_model
from schemas.config import CONFIG_FILE, LabelingConfig
from schemas.errors import InputError
from tests.engine.labeling.bodies import (
    TASK,
    TOKEN,
    batch_body,
    click_body,
    point,
    setup_body,
    task_body,
    webhook_body,
)
from tests.peers.published import draw_weights
from tests.pictures import encoded as picture_bytes
from tests.pictures import shapes

MODEL_ID = "0123456789abcdef"
URL = "http://127.0.0.1:9090"
TINY_VIT = TinyViTConfig(img_size=64, depths=(1, 1, 2, 1))
HIERA = HieraConfig(8, 1, (1, 1, 1, 1), global_attn_indexes=(2,), window_sizes=(8, 4, 4, 2), img_size=64)
SYSTEMS = {
    "MobileSAM": SamConfig(TINY_VIT),
    "SAM-HQ": SamConfig(TINY_VIT, decoder="sam_hq"),
    "SAM 2.1": SamConfig(HIERA, decoder="sam2", high_res_features=True, stretched=True),
}
AS_JSON = {"Content-Type": "application/json"}
PICTURE = "assisted_manual-1/42.png"


@pytest.fixture(scope="module")
def sam() -> Sam:
    sam = build_sam(SamConfig(EfficientNetConfig(img_size=96), high_res_features=True))
    draw_weights(sam, seed=10)  # masks of every prompt have pixels
    return sam


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace" / "labeling" / "images" / PICTURE
    path.parent.mkdir(parents=True)
    path.write_bytes(picture_bytes(shapes(0)[0]))
    (tmp_path / "workspace" / CONFIG_FILE).write_text("labeling: {embeddings_in_memory: 2}\n")
    return tmp_path / "workspace"


@pytest.fixture
def client(workspace: Path, sam: Sam) -> Iterator[TestClient]:
    settings = LabelingConfig(embeddings_in_memory=2, embeddings_on_disk_mb=10)
    with TestClient(
        make_app(workspace, sam, model_id=MODEL_ID, model_name="tiny", settings=settings), base_url=URL
    ) as client:
        yield client


def counts(client: TestClient) -> dict[str, int]:
    found: dict[str, int] = client.get("/health").json()["embeddings"]
    return found


def test_health_and_versions(client: TestClient) -> None:
    answer = client.get("/health").json()
    assert answer == {"status": "UP", "model_version": MODEL_ID, "model": "tiny", "embeddings": {}}
    assert client.get("/versions").json() == client.post("/versions", json={}).json() == {"versions": [MODEL_ID]}


def test_metrics(client: TestClient) -> None:
    client.get("/versions")
    client.get("/of-a-stranger")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    model_id = client.get("/health").json()["model_version"]
    assert f'sam_engine_backend_model{{model_id="{model_id}"}} 1.0' in answer.text
    assert 'sam_engine_backend_requests_total{path="/versions",status="200"}' in answer.text
    assert 'sam_engine_backend_answer_seconds_count{path="/versions"}' in answer.text
    assert "stranger" not in answer.text


def test_setup_again_and_again_keeps_no_token(
    client: TestClient, workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            answer = client.post("/setup", json=setup_body())
            assert (answer.status_code, answer.json()["model_version"]) == (200, MODEL_ID)
        client.post("/webhook", json=webhook_body("ANNOTATION_CREATED"))
        client.post("/setup", content=json.dumps(setup_body())[:-5], headers=AS_JSON)
    assert TOKEN not in caplog.text
    kept = [path.read_bytes() for path in workspace.rglob("*") if path.is_file()]
    assert not [data for data in kept if TOKEN.encode() in data]


def test_a_click(client: TestClient, workspace: Path, sam: Sam) -> None:
    answer = client.post("/predict", json=click_body(task_body(PICTURE), point(25.0, 50.0, id="p")))
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    (region,) = result["result"]
    direct = Predictor(sam)
    direct.set_image(shapes(0)[0])
    masks, ious, _ = direct.predict([[24.0, 32.0]], [1])
    mask = decode_brush(region["value"]["rle"], height=64, width=96)
    assert np.count_nonzero(mask != masks[ious.argmax()]) <= 2  # rounding: prompts of a picture share work
    assert float(answer.headers[SERVER_MS_HEADER]) >= prompt_log.read(workspace, 1)[0].server_ms > 0
    assert counts(client) == {"encoded": 1}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_answers_clicks(workspace: Path, system: str) -> None:
    sam = build_sam(SYSTEMS[system])
    draw_weights(sam, seed=10)
    settings = LabelingConfig(embeddings_in_memory=1, embeddings_on_disk_mb=50)
    direct = Predictor(sam)
    direct.set_image(shapes(0)[0])
    masks, ious, _ = direct.predict([[24.0, 32.0]], [1])
    for _ in range(2):  # the second time what is kept on disk answers
        app = make_app(workspace, sam, model_id=MODEL_ID, model_name=system, settings=settings)
        with TestClient(app, base_url=URL) as client:
            answer = client.post("/predict", json=click_body(task_body(PICTURE), point(25.0, 50.0, id="p")))
        (region,) = answer.json()["results"][0]["result"]
        mask = decode_brush(region["value"]["rle"], height=64, width=96)
        assert np.count_nonzero(mask != masks[ious.argmax()]) <= 10  # of 6,144: embeddings are kept in 16 bits


@pytest.mark.parametrize("missing", ["drafts", "annotations", "predictions", "meta", "project"])
def test_tasks_with_parts_missing(client: TestClient, missing: str) -> None:
    body = click_body(task_body(PICTURE), point(25.0, 50.0, id="p"))
    del body["tasks"][0][missing]
    assert len(client.post("/predict", json=body).json()["results"][0]["result"]) == 1


def test_after_submit_the_context_is_empty(client: TestClient) -> None:
    answer = client.post("/predict", json=click_body(task_body(PICTURE)))
    assert answer.status_code == 200
    assert answer.json()["results"][0]["result"] == []


def test_opening_a_task_encodes_its_picture(client: TestClient) -> None:
    """Without a prediction of nothing, which Label Studio would keep and show."""
    assert client.post("/predict", json=batch_body(task_body(PICTURE))).json() == {"results": [[]]}
    assert client.app.state.ahead.wait(30)  # type: ignore[attr-defined]
    client.post("/predict", json=click_body(task_body(PICTURE), point(25.0, 50.0, id="p")))
    assert counts(client) == {"encoded": 1, "memory": 1}


def test_a_thousand_masks_on_a_task(client: TestClient) -> None:
    """Our Label Studio sends no pixels with a click, another server all of them, up to 5 MB."""
    region = {"id": "r", "type": "brushlabels", "value": {"format": "rle", "rle": [0, 1, 2] * 500}}
    task = task_body(PICTURE) | {"annotations": [{"id": 1, "result": [region] * 1000}]}
    answer = client.post("/predict", json=click_body(task, point(25.0, 50.0, id="p")))
    assert len(answer.json()["results"][0]["result"]) == 1


@pytest.mark.parametrize("route", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"access_token": "0123456789abcdef0123456789abcdef01234567"',
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=["empty", "open", "token", "list", "null", "bytes", "deep", "number"],
)
def test_what_is_no_json_object(client: TestClient, route: str, body: bytes) -> None:
    answer = client.post(route, content=body, headers=AS_JSON)
    assert answer.status_code == 400
    message = answer.json()["error"]
    assert message.startswith(f"{route}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 150
    assert TOKEN not in answer.text


def test_a_webhook_wakes_the_poller(client: TestClient, workspace: Path) -> None:
    wake = LabelingFolder(workspace).wake_file
    assert client.post("/webhook", json=webhook_body("START_TRAINING")).status_code == 200
    assert not wake.exists()
    assert client.post("/webhook", json=webhook_body("ANNOTATION_CREATED", annotation={})).status_code == 200
    assert wake.exists()
    os.utime(wake, (1, 1))
    client.post("/webhook", json=webhook_body("ANNOTATION_UPDATED"))
    assert wake.stat().st_mtime > 1


def test_a_webhook_never_fails(client: TestClient, workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    for body in ({}, {"action": None}, webhook_body("TASKS_CREATED", tasks="none"), webhook_body("TASKS_CREATED")):
        assert client.post("/webhook", json=body).status_code == 200
    (workspace / "labeling").rename(workspace / "elsewhere")
    (workspace / "labeling").write_text("a file where a folder should be")
    assert client.post("/webhook", json=webhook_body("ANNOTATION_CREATED")).status_code == 200
    assert "wake" in caplog.text


def test_new_tasks_are_encoded_onto_the_disk(client: TestClient) -> None:
    tasks = [task_body(PICTURE), task_body("gone.png"), None]
    client.post("/webhook", json=webhook_body("TASKS_CREATED", tasks=tasks))
    assert client.app.state.ahead.wait(30)  # type: ignore[attr-defined]
    client.post("/predict", json=click_body(task_body(PICTURE), point(25.0, 50.0, id="p")))
    assert counts(client) == {"encoded": 1, "disk": 1}


def test_the_queue_is_encoded_from_the_start(workspace: Path, sam: Sam) -> None:
    picture = workspace / "labeling" / "images" / PICTURE
    with TestClient(make_app(workspace, sam, model_id=MODEL_ID, queue=[picture]), base_url=URL) as client:
        assert client.app.state.ahead.wait(30)  # type: ignore[attr-defined]
        assert counts(client) == {"encoded": 1}


@dataclass
class Following:
    """A backend that follows `wanted`, a name or an id. models: ids by name."""

    client: TestClient
    models: dict[str, str]
    wanted: str

    def click(self) -> str:
        answer = self.client.post("/predict", json=click_body(task_body(PICTURE), point(25.0, 50.0, id="p")))
        (result,) = answer.json()["results"]
        (region,) = result["result"]
        assert region["meta"]["sa"]["model_id"] == result["model_version"]
        return str(result["model_version"])

    def setup(self) -> str:
        return str(self.client.post("/setup", json=setup_body()).json()["model_version"])


@pytest.fixture
def following(workspace: Path, sam: Sam) -> Iterator[Following]:
    """Two models, the first of which answers."""
    other = build_sam(sam.config)
    draw_weights(other, seed=11)
    roots = [workspace / "models"]
    models = {name: save_model(each, roots[0], ModelCard(name)) for name, each in (("first", sam), ("second", other))}
    loaded, _ = load_model("first", roots)
    successor = Successor(lambda: made.wanted, roots)
    app = make_app(workspace, loaded, model_id=models["first"], successor=successor)
    with TestClient(app, base_url=URL) as client:
        made = Following(client, models, "first")
        yield made


def test_a_retrained_model_answers_without_a_restart(following: Following, workspace: Path) -> None:
    first, second = following.models["first"], following.models["second"]
    assert (following.setup(), following.click()) == (first, first)
    following.wanted = second
    assert (following.setup(), following.click()) == (second, second)
    assert following.client.get("/health").json()["model_version"] == second
    assert following.client.get("/versions").json() == {"versions": [second]}
    calls = prompt_log.read(workspace, 1)
    assert [call.model_id for call in calls] == [first, second]
    assert calls[0].region_id != calls[1].region_id


def test_a_retrained_model_answers_soon_where_nobody_opens_a_task(following: Following) -> None:
    following.wanted = "second"
    end = time.monotonic() + 30
    while following.click() != following.models["second"]:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_an_object_in_hand_stays_one_where_the_model_changes(following: Following) -> None:
    """Its seconds run from the first click, and what was given up before does not come back."""
    body = click_body(task_body(PICTURE), point(25.0, 50.0, id="p"))
    before = following.client.post("/predict", json=body).json()["results"][0]["result"][0]["meta"]["sa"]
    following.wanted = "second"
    following.setup()
    body = click_body(task_body(PICTURE), point(25.0, 50.0, id="p"), point(60.0, 50.0, id="q"))
    after = following.client.post("/predict", json=body).json()["results"][0]["result"][0]["meta"]["sa"]
    assert after["t_first"] == before["t_first"]
    assert (after["call"], after["n_points"]) == (2, 2)


def test_a_model_that_is_not_there_is_told_once_and_the_old_one_answers(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    following.wanted = "gone"
    for _ in range(3):
        assert (following.setup(), following.click()) == (following.models["first"],) * 2
    assert caplog.text.count("no model 'gone'") == 1
    following.wanted = "second"
    assert following.setup() == following.models["second"]


def test_requests_in_hand_are_answered_by_the_model_that_began_them(following: Following) -> None:
    """While both change places all the time."""
    ids = list(following.models.values())
    with ThreadPoolExecutor(3) as pool:
        clicks = [pool.submit(following.click) for _ in range(30)]
        for number in range(10):
            following.wanted = ids[number % 2]
            assert following.setup() == ids[number % 2]
        answered = {click.result() for click in clicks}
    assert answered <= set(ids)


def test_a_port_that_is_taken(workspace: Path, sam: Sam) -> None:
    save_model(sam, workspace / "models", ModelCard("tiny"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}"):
            serve(workspace, port=port, model="tiny")
    with pytest.raises(InputError, match="port"):
        serve(workspace, port=70_000, model="tiny")
    with pytest.raises(InputError, match="no model 'none'"):
        serve(workspace, model="none")


SERVE = """
import logging, sys
from pathlib import Path
from engine.labeling.backend import serve
logging.basicConfig(level=logging.DEBUG)
serve(Path(sys.argv[1]), port=int(sys.argv[2]), model="tiny")
"""


def wait_until_up(url: str, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            found: dict[str, Any] = httpx.get(f"{url}/health").json()
            return found
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


def test_a_real_server_says_nothing_of_tokens_and_stops(workspace: Path, sam: Sam, tmp_path: Path) -> None:
    model_id = save_model(sam, workspace / "models", ModelCard("tiny"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(workspace), str(port)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        health = wait_until_up(url, process)
        assert (health["model_version"], health["model"]) == (model_id, "tiny")
        refused = httpx.post(f"{url}/setup?token={TOKEN}", json=setup_body(), headers={"Authorization": TOKEN})
        assert refused.status_code == 401
        login = backend_login(LabelingFolder(workspace))
        shown = {"Authorization": login.header}
        httpx.post(f"{url}/setup?token={TOKEN}", json=setup_body(), headers=shown)
        httpx.post(f"{url}/setup", content=json.dumps(setup_body())[:-1], headers=AS_JSON | shown)
        body = click_body(task_body(PICTURE), point(25, 50, id="p"))
        answer = httpx.post(f"{url}/predict?token={TOKEN}", json=body, auth=(login.user, login.password))
        assert answer.json()["results"][0]["result"][0]["meta"]["sa"]["model_id"] == model_id
    finally:
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert TOKEN not in log.read_text()
    assert login.password not in log.read_text()
    assert [call.task for call in prompt_log.read(workspace, 1)] == [TASK]
