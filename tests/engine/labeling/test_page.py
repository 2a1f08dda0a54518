from typing import Any

import pytest

from engine.labeling.page.sam_engine_page import add_script


class Response(dict[str, str]):
    """As much of Django's as the middleware looks at; its headers are the entries."""

    def __init__(self, kind: str, content: bytes, *, streaming: bool = False) -> None:
        super().__init__({"Content-Type": kind})
        self.content, self.streaming = content, streaming


def through(response: Response) -> bytes:
    answer: Any = add_script(lambda request: response)(None)
    assert answer is response
    return response.content


def test_a_page_gets_the_script_once() -> None:
    page = b"<html><head><title>t</title></head><body>&lt;/head></head></body></html>"
    found = through(Response("text/html; charset=utf-8", page))
    before, script, after = found.partition(b"<script>")
    assert before == b"<html><head><title>t</title>"
    assert b"interactive-annotating" in script + after
    assert found.count(b"<script>") == 1
    assert found.endswith(b"</script></head><body>&lt;/head></head></body></html>")


@pytest.mark.parametrize(
    "response",
    [
        Response("application/json", b'"</head>"'),
        Response("image/jpeg", b"</head>"),
        Response("text/html", b"</head>", streaming=True),
        Response("text/html", b"<p>a part of a page</p>"),
    ],
)
def test_all_else_leaves_as_it_is(response: Response) -> None:
    before = response.content
    assert through(response) == before
