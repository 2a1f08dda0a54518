import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks, picture_links
from schemas.config import LabelingConfig
from schemas.errors import InputError

BASE = "https://pictures.example.org:9090"
LINKS = PictureLinks(BASE, b"s" * 32, days=10)
PATH = "semi_automatic/semi_automatic-2/11.jpg"
DAY_S = 86_400


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40))
def test_a_link_says_its_path(path: str) -> None:
    assert LINKS.path(LINKS.url(path)) == path
    assert LINKS.is_good(LINKS.url(path))


def test_links_to_a_folder_that_is_shared() -> None:
    shared = PictureLinks()
    assert shared.url(PATH) == f"/data/local-files/?d={PATH}"
    assert shared.path(shared.url(PATH)) == PATH
    assert shared.is_good(shared.url(PATH))
    assert not shared.is_good(LINKS.url(PATH)), "it is put back when the settings are"
    assert not LINKS.is_good(shared.url(PATH))
    assert LINKS.path(shared.url(PATH)) == PATH, "tasks from before the settings were changed can be clicked on"


@pytest.mark.parametrize("place", [len(BASE) + 14, -1, -40], ids=["path", "signature", "middle of it"])
def test_a_link_that_was_changed_is_refused(place: int) -> None:
    link = LINKS.url(PATH)
    changed = link[:place] + ("a" if link[place] != "a" else "b") + link[place:][1:]
    with pytest.raises(InputError, match="was not signed by this workspace"):
        LINKS.path(changed)
    assert not LINKS.is_good(changed)


def test_nobody_makes_a_link_last_longer() -> None:
    link = LINKS.url(PATH)
    expires = link.partition("expires=")[2].partition("&")[0]
    with pytest.raises(InputError, match="was not signed"):
        LINKS.path(link.replace(expires, str(int(expires) + DAY_S)))


def test_another_workspace_signs_otherwise() -> None:
    with pytest.raises(InputError, match="was not signed"):
        LINKS.path(PictureLinks(BASE, b"t" * 32).url(PATH))


def test_a_link_is_renewed_in_time_and_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    link, now = LINKS.url(PATH), time.time()
    for days, good in ((4.9, True), (5.1, False), (10.1, False)):
        monkeypatch.setattr(time, "time", lambda days=days: now + days * DAY_S)
        assert LINKS.is_good(link) == good
        assert LINKS.path(link) == PATH
        if days < 10:
            LINKS.check_time(link)
    with pytest.raises(InputError, match="has expired; sam-engine labeling sync"):
        LINKS.check_time(link)


def test_the_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder, config = LabelingFolder(tmp_path), LabelingConfig(pictures_url=BASE)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: picture_links(folder, config), range(8)))
    assert len({links.secret for links in made}) == 1
    file = folder.server / "pictures.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made[0].secret.hex() not in repr(made[0])
    file.write_text("abc")
    with pytest.raises(InputError, match=r"pictures\.key: damaged"):
        picture_links(folder, config)


def test_without_the_setting_no_secret_is_made(tmp_path: Path) -> None:
    assert picture_links(LabelingFolder(tmp_path), LabelingConfig()) == PictureLinks()
    assert not list(tmp_path.iterdir())
