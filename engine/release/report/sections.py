"""What a report is made of: each analysis gives a section, the page shows them one below the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Plain text; the first column names the row, the others are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One analysis. key: its name in report.json. text: what is shown, in a few sentences. values: for JSON.

    figures: by the name of their files, each with its caption. notes: what a reader has to know about the numbers.
    """

    key: str
    title: str
    text: str
    values: Any
    figures: Mapping[str, tuple["Figure", str]] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
