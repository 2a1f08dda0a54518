import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from engine.labeling.links import PictureLinks
from engine.labeling.pictures import Pictures

BASE = "http://testserver"
LINKS = PictureLinks(BASE, b"s" * 32, days=1)


@pytest.fixture
def browser(tmp_path: Path) -> TestClient:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a b.jpg").write_bytes(b"picture")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "images" / "out.jpg").symlink_to(tmp_path / "secret.txt")
    behind = Starlette(routes=[Route("/health", lambda _: PlainTextResponse("behind"))])
    return TestClient(Pictures(behind, root=tmp_path / "images", links=LINKS))


def test_who_has_a_link_gets_the_picture(browser: TestClient) -> None:
    answer = browser.get(LINKS.url("a b.jpg"), headers={"Origin": "http://label-studio.example.org"})
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["access-control-allow-origin"] == "*", "Label Studio's page reads pictures by script"


def test_who_has_none_gets_nothing(browser: TestClient) -> None:
    for url in (f"{BASE}/pictures/a%20b.jpg", LINKS.url("a b.jpg")[:-1], f"{BASE}/pictures/", f"{BASE}/pictures/?d=a"):
        answer = browser.get(url)
        assert answer.status_code == 403
        assert "was not signed by this workspace" in answer.json()["error"]


def test_an_old_link_says_what_to_do(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    link, now = LINKS.url("a b.jpg"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90_000)
    answer = browser.get(link)
    assert answer.status_code == 403
    assert "has expired; sam-engine labeling sync" in answer.json()["error"]


@pytest.mark.parametrize("path", ["gone.jpg", "../secret.txt", "out.jpg", ".", "/etc/passwd", "a b.jpg/x", "a\0b"])
def test_nothing_outside_of_the_folder_is_read_whatever_was_signed(browser: TestClient, path: str) -> None:
    answer = browser.get(LINKS.url(path))
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_all_else_goes_past(browser: TestClient) -> None:
    assert browser.get("/health").text == "behind"
    assert browser.post(LINKS.url("a b.jpg")).status_code == 404
