"""What tests read in the Markdown files of the repository."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. language: "" where it names none."""

    language: str
    text: str


def own_files(*patterns: str) -> list[Path]:
    """Paths from ROOT on of all files that are tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def blocks(path: Path) -> list[Block]:
    return [Block(*found) for found in _FENCED.findall(path.read_text(encoding="utf-8"))]


def prose(path: Path) -> str:
    """The text without its fenced blocks."""
    return _FENCED.sub("", path.read_text(encoding="utf-8"))
