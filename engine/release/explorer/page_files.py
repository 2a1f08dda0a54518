"""The files of the page, which ship with the package."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.places import place

PAGE = "index.html"
_FOLDER = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class PageFile:
    """content: its bytes. kind: MIME type."""

    content: bytes
    kind: str


def page_file(name: str) -> PageFile | None:
    """A file of the page, by its name alone; None where it has none such, however the name is made up."""
    return _page_files().get(name)


@cache
def _page_files() -> dict[str, PageFile]:
    """All of them: what is asked for is looked up, never opened."""
    files = [found for found in place(_FOLDER).find("*") if Path(found.name).suffix in _KINDS]
    return {found.name: PageFile(found.read(), _KINDS[Path(found.name).suffix]) for found in files}
