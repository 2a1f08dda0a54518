"""What a release may say of the machine and the people that it comes from: nothing that leads to either."""

import re

_QUERY = re.compile(r"[?#].*$")


def public_name(source: str) -> str:
    """The file name at the end of a path or URL, "" where it may hold an address of somebody.

    Queries of URLs go too: they can hold keys.
    """
    path = _QUERY.sub("", source) if "://" in source else source
    name = re.split(r"[/\\]", path)[-1]
    return "" if "@" in name else name


def public_annotator(annotator: str) -> str:
    """The tool that somebody annotated with, without the account: "label_studio" for "label_studio:7"."""
    tool = annotator.partition(":")[0]
    return "person" if "@" in tool else tool
