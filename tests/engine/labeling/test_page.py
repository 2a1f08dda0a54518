from types import SimpleNamespace
from typing import Any

import pytest

from engine.labeling.page import lean_clicks
from engine.labeling.page.lean_clicks import task_of_click
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


class Rows(list[dict[str, Any]]):
    """As much of Django's rows of a task as is looked at."""

    def values_list(self, name: str, *, flat: bool) -> list[Any]:
        assert flat
        return [row[name] for row in self]

    def filter(self, **wanted: Any) -> "Rows":
        return Rows(row for row in self if row.items() >= wanted.items())

    def exists(self) -> bool:
        return bool(self)


def task_with_masks(backend: str) -> Any:
    mask = {"id": "a", "type": "brushlabels", "value": {"format": "rle", "rle": [255] * 2000}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    project = SimpleNamespace(ml_backends=Rows([{"title": backend}]))
    work = {"drafts": Rows([{"result": [mask]}]), "annotations": Rows([{"result": [relation, mask]}, {"result": None}])}
    return SimpleNamespace(pk=7, data={"image": "a.jpg", "image_id": "1"}, project=project, **work)


def test_our_backend_is_told_which_masks_there_are_and_no_pixels() -> None:
    lean_clicks._all_of_it = lambda tasks, **options: SimpleNamespace(data=("all", options))
    mask = {"id": "a", "type": "brushlabels"}
    expected = {
        "id": 7,
        "data": {"image": "a.jpg", "image_id": "1"},
        "drafts": [{"result": [mask]}],
        "annotations": [{"result": [{"type": "relation"}, mask]}, {"result": []}],
    }
    assert task_of_click([task_with_masks("sam-engine")], many=True).data == [expected]
    assert task_of_click([task_with_masks("another")], many=True).data == ("all", {"many": True})
