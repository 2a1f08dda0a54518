"""Sections of the report in Markdown."""

from collections.abc import Sequence


def table_section(title: str, columns: Sequence[str], rows: Sequence[str], note: str) -> list[str]:
    """Lines of a heading, a table and what is to be said of it; none where the table has no rows.

    rows: each a whole line, "| ... |".
    """
    if not rows:
        return []
    return ["", f"# {title}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *rows, "", note]
