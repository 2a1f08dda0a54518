"""The page: what users named is text and never markup, and everything that a section has is shown."""

from html.parser import HTMLParser

from matplotlib.figure import Figure

from engine.release.report.page import render_page
from engine.release.report.sections import Section, Table

EVIL = '<script>alert("x")</script>'
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (1000).to_bytes(4) + (800).to_bytes(4)


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(
    sections: list[Section], pictures: dict[str, bytes] | None = None, cards: dict[str, str] | None = None
) -> _Read:
    page = _Read()
    page.feed(render_page(EVIL, EVIL, cards or {}, sections, pictures or {}))
    return page


def test_names_are_text() -> None:
    table = Table((EVIL, "b"), ((EVIL, "1"),))
    figures = {"plot": (Figure(), EVIL)}
    page = read([Section("key", EVIL, EVIL, {}, figures, [table], [EVIL])], {"plot": PNG}, {EVIL: EVIL})
    assert "script" not in page.tags
    # Twice in the head, twice on top, in a card, a link, and everywhere in the section.
    assert "".join(page.text).count(EVIL) == 3 + 2 + 1 + 6


def test_sections_are_linked_and_stand_in_order() -> None:
    page = read([Section(name, name.title(), "", {}) for name in ("one", "two")])
    ids = [attributes["id"] for attributes in page.attributes if "id" in attributes]
    links = [attributes["href"] for attributes in page.attributes if "href" in attributes]
    assert ids == ["one", "two"]
    assert links == ["#one", "#two"]


def test_tables_have_all_their_cells() -> None:
    page = read([Section("key", "", "", {}, tables=[Table(("a", "b"), (("1", "2"), ("3", "4")))])])
    assert [page.tags.count(tag) for tag in ("table", "th", "tr", "td")] == [1, 2, 3, 4]
    assert [text for text in page.text if text in "1234"] == ["1", "2", "3", "4"]


def test_a_figure_is_shown_at_half_its_pixels() -> None:
    page = read([Section("key", "", "", {}, {"plot": (Figure(), "what it is")})], {"plot": PNG})
    (image,) = [attributes for tag, attributes in zip(page.tags, page.attributes, strict=True) if tag == "img"]
    assert (image["width"], image["alt"]) == ("500", "what it is")
