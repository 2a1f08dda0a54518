"""What the explorer answers, and to whom."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.release.explorer.app import make_app
from engine.release.explorer.opened import OpenedRelease
from engine.release.explorer.sending import Sent
from schemas.errors import InputError

ADDRESS = "http://127.0.0.1:8090"


@pytest.fixture
def api(release: OpenedRelease) -> str:
    return f"/api/{release.key}"


def test_the_page_asks_no_other_host(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy.replace("'self'", "")
    assert 'src="http' not in page.text
    assert 'href="http' not in page.text
    for name in ("main.js", "worker.js", "openseadragon.min.js", "style.css", "icon.svg"):
        answer = client.get(f"/static/{name}")
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff"), name


def test_all_modules_of_the_page_are_there(client: TestClient) -> None:
    wanted, known = ["main.js", "worker.js"], set()
    while wanted:
        name = wanted.pop()
        known.add(name)
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200, name
        imported = [line.split('"./')[1].split('"')[0] for line in answer.text.splitlines() if ' from "./' in line]
        wanted += [one for one in imported if one not in known]
    assert {"rle.js", "pane.js", "overview.js"} <= known


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/../app.py",
        "/static/../../../../../etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/index.html%00.js",
        "/static/openseadragon.LICENSE.txt",
        "/static/",
        "/manifest.json",
        "/api/KEY/pictures/..%2f..%2fmanifest.json",
        "/api/KEY/pictures/1/..%2fmanifest.jpg",
        "/api/KEY/pictures/1/other.jpg",
        "/api/../manifest.json",
        "//etc/passwd",
    ],
)
def test_nothing_else_is_served(client: TestClient, release: OpenedRelease, path: str) -> None:
    answer = client.get(path.replace("KEY", release.key), follow_redirects=False)
    assert answer.status_code in (400, 404)
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("pictures/99", 404, "no picture 99"),
        ("pictures/99/picture.jpg", 404, "no picture 99"),
        ("pictures/99/thumbnail.jpg", 404, "no picture 99"),
        ("pictures/x", 400, "picture: expected a whole number, found 'x'"),
        ("pictures/-1", 400, "picture: expected a whole number, found '-1'"),
        ("pictures/99999999999999999999", 400, "picture: expected a whole number"),
        ("pictures?iou=low", 400, "iou=low: expected two numbers"),
        ("pictures?sort=best", 400, "sort=best: choose one of"),
        ("pictures?offset=-1", 400, "offset: expected a whole number"),
        ("pictures?limit=many", 400, "limit: expected a whole number"),
        ("find?number=one", 400, "number: expected a whole number, found 'one'"),
        ("find", 400, "number: expected a whole number"),
        ("masks/1/lineage", 404, "name it with --workspace"),
        ("nothing", 404, "Not Found"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(client: TestClient, api: str, path: str, status: int, line: str) -> None:
    answer = client.get(f"{api}/{path}")
    assert answer.status_code == status
    assert line in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_the_key_of_another_release(client: TestClient) -> None:
    answer = client.get("/api/0123456789abcdef/pictures")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "another release is shown here now; load the page anew"},
    )


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "8.8.8.8:8090", ""])
def test_other_names_are_refused(client: TestClient, api: str, host: str) -> None:
    for path in ("/", f"{api}/pictures/1/picture.jpg"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "not known by this name" in answer.json()["error"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_pages_of_others_are_refused(client: TestClient, api: str, origin: str) -> None:
    assert client.get(f"{api}/pictures", headers={"origin": origin}).status_code == 403
    assert client.post(f"{api}/send", json={"pictures": ["1"]}, headers={"origin": origin}).status_code == 403
    assert client.get(f"{api}/pictures", headers={"origin": ADDRESS}).status_code == 200


def test_it_only_reads(client: TestClient, api: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, f"{api}/pictures/1", json={}).status_code == 405
    answer = client.post(f"{api}/send", json={"pictures": ["1"]})
    assert answer.status_code == 403
    assert "start it with: sam-engine release explore" in answer.json()["error"]


def test_releases(client: TestClient, releases: list[OpenedRelease]) -> None:
    told = client.get("/api/releases").json()
    assert [one["name"] for one in told["releases"]] == ["all", "automatic"]
    assert [one["masks"] for one in told["releases"]] == [release.manifest.masks for release in releases]
    assert (told["sends"], told["lineage"]) == (False, False)


def test_a_page_of_pictures(client: TestClient, api: str) -> None:
    everything = client.get(f"{api}/pictures?sort=iou&limit=100").json()
    assert everything["total"] == len(everything["pictures"]) == 7
    assert all(
        isinstance(row[name], str) for row in everything["pictures"] for name in ("image_id", "content_id", "mask")
    )
    some = client.get(f"{api}/pictures?sort=iou&limit=3&offset=3").json()
    assert (some["offset"], some["pictures"]) == (3, everything["pictures"][3:6])
    sixth = everything["pictures"][5]["image_id"]
    around = client.get(f"{api}/pictures?sort=iou&limit=3&around={sixth}").json()
    assert (around["offset"], around["place"]) == (3, 5)
    left_out = client.get(f"{api}/pictures?split=holdout&around={sixth}").json()
    assert (left_out["total"], left_out["place"], left_out["pictures"]) == (0, None, [])


def test_a_picture_under_filters(client: TestClient, api: str) -> None:
    masks = client.get(f"{api}/pictures/1?stage=assisted_manual").json()["masks"]
    assert {mask["stage"] for mask in masks if mask["shown"]} == {"assisted_manual"}
    assert {mask["stage"] for mask in masks} == {"assisted_manual", "fully_automatic"}


def test_what_may_be_kept(client: TestClient, api: str) -> None:
    """Pictures under the key of their release; all else is asked anew."""
    assert "immutable" in client.get(f"{api}/pictures/1/picture.jpg").headers["cache-control"]
    for path in ("/", "/static/main.js", "/api/releases", f"{api}/pictures", f"{api}/pictures/1"):
        assert client.get(path).headers["cache-control"] == "no-cache", path


def test_the_same_picture_of_two_releases(client: TestClient, releases: list[OpenedRelease]) -> None:
    first, second = (f"/api/{release.key}" for release in releases)
    content = client.get(f"{first}/pictures/3").json()["content_id"]
    found = client.get(f"{second}/find?content={content}").json()["picture"]
    assert client.get(f"{second}/pictures/{found}").json()["content_id"] == content


def test_numbers_are_found(client: TestClient, release: OpenedRelease) -> None:
    path = f"/api/{release.key}/find"
    assert client.get(f"{path}?number=3").json() == {"picture": "3", "mask": None}
    mask = client.get(f"/api/{release.key}/pictures/5").json()["masks"][0]["id"]
    assert client.get(f"{path}?number={mask}").json() == {"picture": "5", "mask": mask}
    for asked in ("number=99999", "content=99999"):
        assert client.get(f"{path}?{asked}").json() == {"picture": None, "mask": None}


def test_lineage_without_numbers_that_javascript_rounds(release: OpenedRelease) -> None:
    def lineage(mask_id: int) -> dict[str, Any]:
        return {"mask": {"mask_id": mask_id, "seconds": float("nan"), "clicks": 3}, "at": Path("a")}

    client = TestClient(make_app([release], lineage=lineage), base_url=ADDRESS)
    told = client.get(f"/api/{release.key}/masks/{2**62 + 1}/lineage").json()
    assert told == {"mask": {"mask_id": str(2**62 + 1), "seconds": None, "clicks": 3}, "at": "a"}


class Sending:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.made: dict[int, Sequence[tuple[str, int]]] = {}

    def __call__(self, made: Mapping[int, Sequence[tuple[str, int]]]) -> Sent:
        if 0 in made:
            raise InputError("never")
        self.made |= made
        return Sent(len(made), 0)


def test_sending(release: OpenedRelease) -> None:
    sending = Sending()
    client = TestClient(make_app([release], send=sending), base_url=ADDRESS)
    path, asked = f"/api/{release.key}/send", {"pictures": ["1", "2"]}
    for headers in ({}, {"origin": ADDRESS}):
        assert client.post(path, json=asked, headers=headers).json() == {"sent": 2, "waiting": 0}
    row = release.index.picture(1)
    assert row is not None
    assert sorted(sending.made[row["content_id"]]) == [("assisted_manual", 1), ("fully_automatic", 1)]
    assert client.post(path, content=json.dumps(asked), headers={"content-type": "text/plain"}).status_code == 415


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("[]", 400, 'expected {"pictures"'),
        ("{}", 400, 'expected {"pictures"'),
        ("no json", 400, 'expected {"pictures"'),
        ('{"pictures": 1}', 400, 'expected {"pictures"'),
        ('{"pictures": []}', 400, "1 to 500 pictures at once, found 0"),
        ('{"pictures": [1]}', 400, 'expected {"pictures"'),
        ('{"pictures": ["1", "99"]}', 404, "all has no picture 99"),
    ],
)
def test_what_cannot_be_sent(release: OpenedRelease, body: str, status: int, line: str) -> None:
    sending = Sending()
    client = TestClient(make_app([release], send=sending), base_url=ADDRESS)
    answer = client.post(f"/api/{release.key}/send", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert line in answer.json()["error"]
    assert sending.made == {}
