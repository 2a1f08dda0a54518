"""The page: one HTML file that needs no other file and asks no host for anything."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from engine.release.report.sections import Section, Table

_STYLE = """
:root { color-scheme: light; --ink: #1c2733; --soft: #5b6876; --line: #dfe4ea; --accent: #0b5c93; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7f9; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 6px; }
p { margin: 0 0 12px; max-width: 78ch; }
.soft, figcaption, .notes { color: var(--soft); font-size: 13px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 10px 18px; }
.card b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 20px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 20px 24px; margin: 0 0 20px; }
.body { display: flex; flex-wrap: wrap; gap: 20px 32px; align-items: flex-start; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; }
.tables { flex: 1 1 auto; min-width: min(300px, 100%); max-width: 100%; overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: bottom; }
th { font-weight: 600; font-size: 13px; color: var(--soft); }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
td:first-child { max-width: 22em; overflow: hidden; text-overflow: ellipsis; }
td { white-space: nowrap; }
.notes { margin: 8px 0 0; padding-left: 18px; width: 0; min-width: 100%; }
@media print { body { background: #fff; } section { break-inside: avoid; } nav { display: none; } }
"""


def render_page(
    title: str, subtitle: str, cards: Mapping[str, str], sections: Sequence[Section], pictures: Mapping[str, bytes]
) -> str:
    """The page's text. cards: figures to be seen first, by what they are. pictures: PNG of each figure, by its name."""
    links = "".join(f'<a href="#{section.key}">{escape(section.title)}</a>' for section in sections)
    shown = "".join(f'<div class="card"><b>{escape(value)}</b>{escape(name)}</div>' for name, value in cards.items())
    body = "".join(_section(section, pictures) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(subtitle)}</p>\n'
        f'<div class="cards">{shown}</div>\n<nav>{links}</nav>\n{body}</main>\n</body>\n</html>\n'
    )


def _section(section: Section, pictures: Mapping[str, bytes]) -> str:
    figures = "".join(_figure(name, caption, pictures[name]) for name, (_, caption) in section.figures.items())
    tables = "".join(map(_table, section.tables))
    notes = "".join(f"<li>{escape(note)}</li>" for note in section.notes)
    listed = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        f'<section id="{section.key}">\n<h2>{escape(section.title)}</h2>\n<p>{escape(section.text)}</p>\n'
        f'<div class="body">{figures}<div class="tables">{tables}{listed}'
        "</div></div>\n</section>\n"
    )


def _figure(name: str, caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    width = int.from_bytes(png[16:20]) // 2  # drawn at twice the size, for sharp screens
    text = escape(caption)
    return (
        f'<figure><img id="{name}" src="data:image/png;base64,{data}" width="{width}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
