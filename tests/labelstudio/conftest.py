"""A real Label Studio, a real browser and a real PostgreSQL for tests.

Without them tests are skipped with the reason, but fail where CI is set: there nothing may be left out unseen.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from engine.files import open_lock, take
from engine.labeling import server, server_settings
from engine.labeling.installation import install_label_studio
from engine.labeling.server import LabelStudioServer, running_server
from schemas.errors import WaitError
from tests.labelstudio.browser.chromium import chromium_path, running_chromium
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.ports import free_port
from tests.labelstudio.postgres import find_programs, running_postgres

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_KEPT_S = 24 * 3600.0

StartServer = Callable[[Path], LabelStudioServer]


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def label_studio_home() -> Path:
    """Label Studio's environment; built by the first test that needs it, which takes two minutes."""
    try:
        return install_label_studio()
    except WaitError as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def label_studio_template(label_studio_home: Path, pytestconfig: pytest.Config) -> Path:
    """The folder `label_studio` of a workspace whose server was started once and holds nothing yet.

    The first start takes 40 s, one of a copy takes 5 s. So it is kept from run to run in pytest's cache, as long as
    the code that starts servers stays the same.
    """
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (server, server_settings))
    kept = pytestconfig.cache.mkdir("label-studio")
    template = kept / hashlib.sha256(code).hexdigest()[:16]
    with open_lock(kept / "building.lock") as lock:  # one of several workers builds it
        take(lock, wait=True)
        if not template.is_dir():
            for old in kept.iterdir():
                if old.is_dir() and time.time() - old.stat().st_mtime > _KEPT_S:  # another run may use a younger one
                    shutil.rmtree(old)
            building = Path(tempfile.mkdtemp(dir=kept))
            with running_server(building, port=free_port()):
                pass
            (building / "label_studio").rename(template)
            shutil.rmtree(building)
    return template


@pytest.fixture(scope="module")
def start_label_studio(label_studio_template: Path) -> Iterator[StartServer]:
    """Starts a server for a workspace (made where there is none), which runs to the end of the module."""
    with ExitStack() as servers:

        def start(workspace: Path) -> LabelStudioServer:
            shutil.copytree(label_studio_template, workspace / "label_studio", dirs_exist_ok=True)
            return servers.enter_context(running_server(workspace, port=free_port()))

        yield start


@pytest.fixture(scope="module")
def label_studio(start_label_studio: StartServer, tmp_path_factory: pytest.TempPathFactory) -> LabelStudioServer:
    """A server with nothing in it, for a workspace that has no other files; shared by the tests of a module."""
    return start_label_studio(tmp_path_factory.mktemp("label-studio") / "workspace")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    programs = find_programs()
    if programs is None:
        unavailable("needs PostgreSQL's server programs: apt-get install postgresql")
    with running_postgres(programs) as url:
        yield url


@pytest.fixture(scope="session")
def label_studio_on_postgres(
    label_studio_home: Path, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """A server with nothing in it that keeps its data in PostgreSQL. It takes a minute to start: one for all tests."""
    workspace = tmp_path_factory.mktemp("label-studio-on-postgres") / "workspace"
    with running_server(workspace, port=free_port(), database=postgres) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless chromium. While it is open an event loop counts as running in the main thread: no asyncio.run."""
    path = chromium_path()
    if path is None:
        unavailable("needs chromium: tests/labelstudio/install_packages.sh")
    with running_chromium(path) as browser:
        yield browser


@pytest.fixture
def test_output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a test leaves what people should look at: below $SAM_ENGINE_TEST_OUTPUT, if that is set."""
    kept = os.environ.get("SAM_ENGINE_TEST_OUTPUT")
    folder = Path(kept).absolute() / re.sub(r"\W+", "_", request.node.name) if kept else tmp_path / "output"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def labeling_page(label_studio: LabelStudioServer, browser: "Browser", test_output: Path) -> Iterator[LabelingPage]:
    """Label Studio in the browser, logged in. At the end of the test a last picture `end.png` is taken."""
    with LabelingPage.opened(browser, label_studio.url, test_output) as page:
        page.log_in(label_studio.account.email, label_studio.account.password)
        yield page
        page.screenshot("end")
