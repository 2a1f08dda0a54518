"""Serving the explorer until it is stopped."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from engine.listening import is_loopback, listen
from engine.release.explorer.app import Lineage, SendBack, make_app
from engine.release.explorer.opened import opened_releases

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8090
_log = logging.getLogger(__name__)


def explore(
    folders: Sequence[Path],
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    lineage: Lineage | None = None,
    send: SendBack | None = None,
    command: str = "",
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Show one release, or two side by side, until SIGTERM or SIGINT.

    port: 0 takes a free one. lineage, send, command: as in `engine.release.explorer.app.make_app`. ready is called with
    the address once it can be opened.
    Raises InputError where a folder is no release or the port is taken.
    """
    with opened_releases(folders) as releases, listen(host, port) as listening:
        if not is_loopback(listening):
            _log.warning("listening on %s, beyond this machine: whoever reaches it sees all pictures", host)
        app = make_app(releases, hosts=[host], lineage=lineage, send=send, command=command)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listening.getsockname()[1]}/")
        # No browser holds it up: pages ask again when they are told to.
        settings = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
        _Server(settings).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends at a signal and leaves the rest to its caller, who has a folder to remove; uvicorn's ends the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
