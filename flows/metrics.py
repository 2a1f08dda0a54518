"""/metrics of long runs and commands, where SAM_ENGINE_METRICS names an address for it."""

import os
from functools import cache

from stages.progress import Progress

ADDRESS = "SAM_ENGINE_METRICS"


def with_metrics(progress: Progress) -> Progress:
    """Tells Prometheus too, where it is wanted. Raises InputError for an address that cannot be one."""
    address = os.environ.get(ADDRESS)
    if not address:
        return progress
    from engine.metrics import tell_progress

    _serve_once(address)

    def tell(what: str, done: int, total: int, note: str = "") -> None:
        tell_progress(what, done, total)
        progress(what, done, total, note)

    return tell


@cache
def _serve_once(address: str) -> None:
    """A second run of this machine goes without: its work is worth more than its figures."""
    from engine.metrics import serve_metrics
    from flows.console import note

    try:
        serve_metrics(address)
    except OSError as error:
        note(f"no metrics: {ADDRESS}={address}: {error.strerror or error}")
