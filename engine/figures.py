"""Figures as files, and the colours that all of them share."""

import io

from matplotlib.figure import Figure

# Colours that people with any colour vision tell apart (Okabe and Ito); what a figure is about comes first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DPI = 192  # twice that of a screen


def drawn(figure: Figure, form: str = "png") -> bytes:
    """A figure as "png" or "pdf". Equal figures give equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=_DPI, metadata={"CreationDate": None} if form == "pdf" else None)
    return content.getvalue()
