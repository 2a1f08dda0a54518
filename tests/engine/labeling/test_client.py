"""What the client makes of answers of a server; what a real Label Studio answers is shown in tests/labelstudio."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import Credentials
from schemas.errors import InputError, WaitError

TOKEN = "a1b2c3d4" * 5
pytestmark = pytest.mark.usefixtures("quick_retries")


class Answers(BaseHTTPRequestHandler):
    """Answers every request with the next of what the server has, the last one for ever."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.requests.append((self.command, self.path))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None: ...


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[tuple[LabelStudioClient, list[tuple[str, str]]]]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.answers, server.requests = list(answers), []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        yield LabelStudioClient(Credentials(url, TOKEN)), server.requests
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            401,
            {"detail": "Token is expired"},
            InputError,
            "401: .*Token is expired.*has expired: set LABEL_STUDIO_A",
        ),
        (
            401,
            {"detail": "Invalid token."},
            InputError,
            "refuses the API token .401: .*Invalid token.*LABEL_STUDIO_API_KEY",
        ),
        (403, {"detail": "no"}, InputError, "refuses the API token"),
        (404, {"detail": "Not found."}, InputError, "has no project 5; .* sam-engine labeling setup"),
        (400, {"detail": "bad config"}, InputError, "refuses project 5 .400: .*bad config"),
        (500, "<html>" + "x" * 5000, WaitError, "failed .500: .*run the same command again"),
        (503, "", WaitError, "failed .503"),
    ],
)
def test_one_clear_line_for_each_failure(status: int, body: Any, kind: type[Exception], message: str) -> None:
    with answering((status, body)) as (client, _), pytest.raises(kind, match=message) as caught:
        client.project(5)
    text = str(caught.value)
    assert TOKEN not in text
    assert "\n" not in text
    assert len(text) < 500


def test_an_import_is_never_sent_twice() -> None:
    """The first may have been carried out although its answer is an error."""
    with answering((503, "")) as (client, requests):
        with pytest.raises(WaitError):
            client.import_tasks(5, [{"data": {"image": "x"}}])
        assert [path for method, path in requests if method == "POST"] == [
            "/api/projects/5/import?return_task_ids=true"
        ]


def test_all_pages_of_tasks() -> None:
    pages = [{"tasks": [{"id": n}], "total": 250} for n in (1, 2, 3)]
    with answering(*((200, page) for page in pages)) as (client, requests):
        assert [task["id"] for task in client.tasks(5)] == [1, 2, 3]
        assert len(requests) == 3


def test_no_server() -> None:
    with answering((200, {})) as (client, _):
        pass
    with pytest.raises(WaitError, match="does not answer"):
        client.version()


def test_a_token_is_not_shown() -> None:
    credentials = Credentials("http://here", TOKEN)
    assert TOKEN not in repr(credentials)
    assert TOKEN not in str(credentials)


def test_projects_of_several_pages_of_equal_titles_the_first() -> None:
    def project(number: int) -> dict[str, Any]:
        return {"id": number, "title": f"project {min(number, 100)}"}

    first = {"count": 101, "next": "/api/projects?page=2", "results": [project(number) for number in range(1, 101)]}
    last = {"count": 101, "next": None, "results": [project(101)]}
    with answering((200, first), (200, last)) as (client, requests):
        assert client.projects() == {f"project {number}": number for number in range(1, 101)}
    assert requests == [("GET", f"/api/projects?page={page}&page_size=100") for page in (1, 2)]
