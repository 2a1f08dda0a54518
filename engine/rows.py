"""Keys and ids that follow from content."""

from engine.images import content_id


def content_key(*parts: object) -> str:
    """A key for `Store.replace_shard`: 16 hex digits that follow from the inputs of a piece of work alone.

    parts: anything with a stable text, for example "round", 3, a model id, a config hash, a list of image ids.
    """
    return f"{content_id(repr(parts).encode()):016x}"
