"""Which file the address of a picture names, and that none outside the root is read."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labeling.files import file_below, relative_path
from schemas.errors import InputError


def image_file(root: Path, url: object) -> Path:
    return file_below(root, relative_path(url))


@pytest.mark.parametrize("name", ["a.jpg", "deeper/b c.jpg", "ü+&#?.jpg", "..jpg", "...", "a..b/c"])
def test_pictures_below_the_root(tmp_path: Path, name: str) -> None:
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert image_file(tmp_path / "root", f"/data/local-files/?d={quote(name)}") == path.resolve()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document root with files, and links that lead out of it."""
    folder = tmp_path_factory.mktemp("guarded")
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    (root / "in.png").touch()
    (root / "sub" / "in.png").touch()
    (folder / "secret.png").touch()
    (folder / "root2").mkdir()
    (folder / "root2" / "secret.png").touch()
    (root / "link.png").symlink_to(folder / "secret.png")
    (root / "up").symlink_to(folder)
    (root / "circle").symlink_to(root / "circle")
    (root / "inner.png").symlink_to(root / "in.png")
    return root


def test_links_within_the_root_are_followed(guarded: Path) -> None:
    assert image_file(guarded, "/data/local-files/?d=inner.png") == (guarded / "in.png").resolve()


ESCAPES = [
    "/data/local-files/?d=../secret.png",
    "/data/local-files/?d=%2e%2e/secret.png",
    "/data/local-files/?d=..%2fsecret.png",
    "/data/local-files/?d=sub/../../secret.png",
    "/data/local-files/?d=sub/../in.png",
    "/data/local-files/?d=/etc/hostname",
    "/data/local-files/?d=//etc/hostname",
    "/data/local-files/?d=%2Fetc%2Fhostname",
    "/data/local-files/?d=link.png",
    "/data/local-files/?d=up/secret.png",
    "/data/local-files/?d=up/root2/secret.png",
    "/data/local-files/?d=circle",
    "/data/local-files/?d=..\\secret.png",
    "/data/local-files/?d=in.png%00",
    "/data/local-files/?d=in.png%0a",
    "/data/local-files/?d=%ff",
    "/data/local-files/?d=\ud800.png",
    "/data/local-files/?d=" + "a" * 5000,
    "/data/local-files/?d=" + "a/" * 5000,
    "/data/local-files/?d=",
    "/data/local-files/?d=.",
    "/data/local-files/?d=sub",
    "/data/local-files/?d=gone.png",
    "/data/local-files/?d=in.png&d=../secret.png",
    "/data/local-files/?d=in.png&token=abc",
    "/data/local-files/?e=in.png",
    "/data/local-files/../local-files/?d=in.png",
    "/data/upload/1/in.png",
    "in.png",
    "file:///etc/hostname",
    "http://127.0.0.1:8080/data/local-files/?d=in.png",
    "//127.0.0.1/data/local-files/?d=in.png",
    "https://example.com/in.png?token=abc",
    "s3://bucket/in.png",
    "data:image/png;base64,AAAA",
    "http://[",
    "",
    None,
    7,
    ["in.png"],
    {"d": "in.png"},
]


@pytest.mark.parametrize("url", ESCAPES, ids=range(len(ESCAPES)))
def test_nothing_outside_is_read(guarded: Path, url: object) -> None:
    with pytest.raises(InputError) as caught:
        image_file(guarded, url)
    assert "\n" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(guarded))


PARTS = ["..", ".", "", "sub", "up", "link.png", "in.png", "secret.png", "root2", "%2e%2e", "~", "\\", "etc", "\0"]


@given(
    st.lists(st.sampled_from(PARTS) | st.text(max_size=6), max_size=6).map("/".join) | st.text(max_size=20),
    st.sampled_from(["/data/local-files/?d=", "/data/local-files/?d=/", "file://", "", "/", "?d=", "//host/?d="]),
)
def test_no_text_leads_out(guarded: Path, text: str, prefix: str) -> None:
    found, message = None, ""
    try:
        found = image_file(guarded, prefix + text)
    except InputError as error:
        message = str(error)
    assert found in {None, (guarded / "in.png").resolve(), (guarded / "sub" / "in.png").resolve()}
    assert len(message.splitlines()) == (found is None)
