import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.labeling.folder import LabelingFolder
from engine.labeling.secret import BackendLogin, backend_login
from schemas.errors import InputError


def test_the_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = LabelingFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: backend_login(folder), range(8)))
    assert len(set(made)) == 1
    file = folder.server / "backend.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made[0].password == file.read_text()
    assert made[0].password not in repr(made[0])


def test_every_workspace_has_its_own(tmp_path: Path) -> None:
    first, second = (backend_login(LabelingFolder(tmp_path / name)) for name in "ab")
    assert first.user != second.user, "an old one is known by its user"
    assert first.password != second.password
    assert first.webhook_header != second.webhook_header


def test_a_damaged_secret_is_told_with_the_way_out(tmp_path: Path) -> None:
    folder = LabelingFolder(tmp_path)
    backend_login(folder)
    for damaged in ("", "abc", "zz" * 32, "ab" * 31):
        (folder.server / "backend.key").write_text(damaged)
        with pytest.raises(InputError, match=r"backend\.key: damaged; delete it, start sam-engine labeling serve anew"):
            backend_login(folder)


def test_it_is_shown_as_http_basic() -> None:
    login = BackendLogin("user", "pass:word")
    kind, _, value = login.header.partition(" ")
    assert (kind, base64.b64decode(value)) == ("Basic", b"user:pass:word")
