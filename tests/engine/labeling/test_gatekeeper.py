from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from engine.labeling.gatekeeper import MAX_BODY_BYTES, Gatekeeper
from engine.labeling.secret import BackendLogin

JSON = {"content-type": "application/json"}
GUARDED = ("/predict", "/health", "/metrics", "/webhook", "/setup")
LOGIN = BackendLogin("sam-engine", "a" * 64)


async def size(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/predict", size, methods=["GET", "POST"])])
    app.add_middleware(Gatekeeper, hosts=["Model.Example"])
    return TestClient(app, base_url="http://127.0.0.1:9090")


def ask(client: TestClient, content: Any = b"{}", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/predict", content=content, headers=JSON | named)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9090", "localhost:1", "LOCALHOST", "[::1]:9090", "model.example:80", "MODEL.example"],
)
def test_names_of_the_backend(client: TestClient, host: str) -> None:
    assert ask(client, host=host).json() == {"bytes": 2}


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "8.8.8.8", "", "[::2]:9090", "model"]
)
def test_another_name_is_refused(client: TestClient, host: str) -> None:
    """Such as one that its owner lets point to this machine."""
    answer = ask(client, host=host)
    assert answer.status_code == 403
    assert "labeling.backend_url" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9090"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_web_pages_are_refused(client: TestClient, origin: str, method: str) -> None:
    assert client.request(method, "/predict", headers=JSON | {"Origin": origin}).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_only_json_is_read(client: TestClient, kind: str) -> None:
    assert ask(client, content_type=kind).status_code == 415
    assert ask(client, content_type="Application/JSON; charset=utf-8").status_code == 200
    assert client.get("/predict").status_code == 200


@pytest.fixture
def guarded() -> TestClient:
    routes = [Route(path, size, methods=["GET", "POST"]) for path in GUARDED]
    app = Starlette(routes=routes)
    app.add_middleware(Gatekeeper, login=LOGIN)
    return TestClient(app, base_url="http://127.0.0.1:9090")


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/versions", "/", "/health/../predict"])
@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Basic",
        "Basic !",
        f"Token {LOGIN.password}",
        BackendLogin("sam-engine", "b" * 64).header,
        BackendLogin(LOGIN.user, "").header,
        LOGIN.header[:-1],
        LOGIN.header + " ",
        "B\u00e4sic",
    ],
)
def test_without_the_secret_nothing_is_answered(guarded: TestClient, path: str, shown: str) -> None:
    answer = guarded.post(path, content=b"{}", headers=JSON | {"Authorization": shown.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "sam-engine labeling setup" in answer.json()["error"]
    assert LOGIN.password not in answer.text


def test_with_the_secret_all_is_answered(guarded: TestClient) -> None:
    for path in ("/predict", "/setup", "/webhook"):
        assert guarded.post(path, content=b"{}", headers=JSON | {"Authorization": LOGIN.header}).status_code == 200
        assert guarded.post(path, json={}, auth=(LOGIN.user, LOGIN.password)).status_code == 200
    for path in ("/health", "/metrics"):
        assert guarded.get(path).status_code == 200, "anybody may ask whether it is up"


def test_what_a_webhook_shows_opens_webhooks_alone(guarded: TestClient) -> None:
    shown = JSON | {"Authorization": LOGIN.webhook_header}
    assert guarded.post("/webhook", content=b"{}", headers=shown).status_code == 200
    assert guarded.post("/predict", content=b"{}", headers=shown).status_code == 401
    assert LOGIN.password not in LOGIN.webhook_header


def test_large_bodies_are_refused_with_and_without_their_length(client: TestClient) -> None:
    most = b" " * MAX_BODY_BYTES

    def parts(*more: bytes) -> Iterator[bytes]:
        yield from (most, *more)

    assert ask(client, most).json() == ask(client, parts()).json() == {"bytes": MAX_BODY_BYTES}
    for body in (most + b" ", parts(b" ")):
        answer = ask(client, body)
        assert answer.status_code == 413
        assert answer.json()["error"].startswith("more than 5 MB")
