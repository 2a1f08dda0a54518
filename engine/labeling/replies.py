"""What people said in a project of choices and texts: of one annotation, as Label Studio's JSON has it.

Nothing here fails on what people did in the project.
"""

from collections.abc import Mapping
from typing import Any


def values_of(annotation: Mapping[str, Any], tag: str, key: str) -> list[Any]:
    """What stands under a key of the values of a tag; Label Studio writes one value as a list or by itself."""
    results = annotation.get("result")
    parts = [part for part in results if isinstance(part, Mapping)] if isinstance(results, list) else []
    values = [(part.get("value") or {}).get(key) for part in parts if part.get("from_name") == tag]
    return [one for value in values for one in (value if isinstance(value, list) else [value]) if one is not None]


def text_of(annotation: Mapping[str, Any], tag: str) -> str:
    """What was written under a tag, on one line; "" for nothing."""
    return " ".join(" ".join(map(str, values_of(annotation, tag, "text"))).split())


def seconds_of(annotation: Mapping[str, Any]) -> float | None:
    """How long it took; None where that is not known."""
    seconds = annotation.get("lead_time")
    return seconds if isinstance(seconds, int | float) and seconds >= 0 else None


def annotator_of(annotation: Mapping[str, Any]) -> str:
    """Who made it, as in the masks tables: the number of the account, never a name; "" where that is not known."""
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("id")
    return "" if who is None else f"label_studio:{who}"
