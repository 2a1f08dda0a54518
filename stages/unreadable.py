"""Pictures of a round that cannot be read: they are left out, counted and named, up to half of them.

One that is there again, as it was ingested, comes in the next round that has room for it.
"""

from collections.abc import Collection, Sequence

from engine.store import Store
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.tables import Round

MAX_FRAC = 0.5  # more are a disk that is not there, and no round
LISTED = 20  # by name, in the metrics of a round


def check_unreadable(what: str, reasons: Collection[str], *, of: int) -> None:
    """Raises InputError where more than half of the pictures of `what` cannot be read. reasons: a line on each."""
    if len(reasons) > MAX_FRAC * of:
        raise InputError(f"more than half of the pictures of {what} cannot be read: {next(iter(reasons))}")


def told_unreadable(count: int, reasons: Collection[str]) -> str:
    """How many there are, and the first of them; for people."""
    first = next(iter(reasons), "")
    return first if count == 1 else f"{count} pictures, the first: {first}"


def lost_images(store: Store, rounds: Sequence[Round]) -> ImageIds:
    """Images that these rounds left out since they could not be read, and that are not there again."""
    left_out = {image_id for record in rounds for image_id in record.metrics.images_unreadable}
    return ImageIds(sorted(left_out - store.intact(left_out)))
