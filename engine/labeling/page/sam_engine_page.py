"""Adds the scripts of this folder to Label Studio's pages.

Run by Label Studio's own Python, which has nothing of this package.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

_END = b"</head>"
# A key has been heard before what it does is done.
_FILES = ("acts.js", "editor.js", "looks.js", "draws.js", "fold.js")
_SCRIPT = b"<script>" + b"\n".join(Path(__file__).with_name(name).read_bytes() for name in _FILES) + b"</script>"


def add_script(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django middleware: pages leave with the scripts at the end of their head; all else as it is."""

    def answer(request: Any) -> Any:
        response = get_response(request)
        if not response.streaming and response.get("Content-Type", "").startswith("text/html"):
            response.content = response.content.replace(_END, _SCRIPT + _END, 1)
        return response

    return answer
