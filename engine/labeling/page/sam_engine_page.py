"""Adds `editor.js` to Label Studio's pages. Run by Label Studio's own Python, which has nothing of this package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

_END = b"</head>"
_SCRIPT = b"<script>" + Path(__file__).with_name("editor.js").read_bytes() + b"</script>"


def add_script(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django middleware: pages leave with the script at the end of their head; all else as it is."""

    def answer(request: Any) -> Any:
        response = get_response(request)
        if not response.streaming and response.get("Content-Type", "").startswith("text/html"):
            response.content = response.content.replace(_END, _SCRIPT + _END, 1)
        return response

    return answer
