"""Debian's chromium, driven by Playwright.

Playwright's package on PyPI carries its driver, so there is nothing to build; it waits for elements and for answers of
the server by itself, where WebDriver has to poll. Its own browsers are not downloaded: Debian's does.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_VARIABLE = "SAM_ENGINE_CHROMIUM"


def chromium_path() -> Path | None:
    """The browser's program: the one that $SAM_ENGINE_CHROMIUM names, else the one that the system has."""
    if named := os.environ.get(CHROMIUM_VARIABLE):
        return Path(named)
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return Path(found) if found else None


@contextmanager
def running_chromium(path: Path) -> Iterator["Browser"]:
    """Headless, for the time of the `with` block."""
    from playwright.sync_api import sync_playwright

    # Root may not use chromium's sandbox; containers have little shared memory.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
