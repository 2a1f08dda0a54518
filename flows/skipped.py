"""What a training skipped, in words."""

from collections.abc import Mapping
from typing import Any

from schemas.counted import counted


def skipped_text(skipped: Mapping[str, Any]) -> str:
    """What a training skipped, as a sentence behind others; "" for nothing."""
    if not skipped:
        return ""
    kinds = (("unreadable", "that cannot be read"), ("without_masks", "without a mask of a size to learn from"))
    parts = [f"{skipped[key]} {what}" for key, what in kinds if skipped[key]]
    return f" Of {counted(skipped['of'], 'picture')} it skipped {' and '.join(parts)}; its card lists them."
