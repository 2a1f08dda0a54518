"""Who may ask the model backend, or another server of ours, and how much at once: looked at before a body is read.

Label Studio asks server to server. A web page in a browser of the same machine could ask as well; it is known by the
`Origin` that browsers send, by a `Host` that is no name of this backend, or by a body that is not called JSON. Programs
of others are known by not showing the workspace's secret.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.labeling.secret import BackendLogin

MAX_BODY_BYTES = 5_000_000  # of another server than ours a click carries all masks of its picture, 6 kB each
_TOO_LARGE = f"more than {MAX_BODY_BYTES / 1e6:g} MB; fewer masks on one picture make it less"


@dataclass(frozen=True)
class Door:
    """What is guarded. names_from: where the names come from by which it is known. has_pages: which may ask it."""

    name: str
    names_from: str
    has_pages: bool = False


MODEL_BACKEND = Door("the model backend", "see labeling.backend_url in engine.yaml")


class Gatekeeper:
    """Answers in the place of `app` where a request is refused: 401, 403, 413 or 415, and why in a line.

    hosts: names, without a port, by which the backend may be asked; addresses of this machine alone always. login: that
    has to be shown, but for /health and /metrics, which say no more than that the backend is up, with which model, and
    how quick it is; None where none need be. door: what is guarded.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        login: BackendLogin | None = None,
        door: Door = MODEL_BACKEND,
    ) -> None:
        self._app, self._hosts, self._login = app, {host.lower() for host in hosts}, login
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope["method"], scope["path"], headers)
        if refused is None and scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                refused = (413, _TOO_LARGE)
            else:
                receive = _again(body, receive)
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, why = refused
        challenge = {"WWW-Authenticate": 'Basic realm="sam-engine"'} if status == 401 else None
        await JSONResponse({"error": why}, status_code=status, headers=challenge)(scope, receive, send)

    def _refused(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        if "origin" in headers and not (self._door.has_pages and _is_own_page(headers)):
            return 403, f"web pages may not ask {self._door.name}"
        host = _without_port(headers.get("host", ""))
        if not (host in self._hosts or _is_this_machine(host)):
            return 403, f"{self._door.name} is not known by this name; {self._door.names_from}"
        if not self._may_ask(path, headers.get("authorization", "")):
            return 401, "the workspace's secret is missing or wrong; sam-engine labeling setup gives it to Label Studio"
        if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "expected Content-Type: application/json"
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            return 413, _TOO_LARGE
        return None

    def _may_ask(self, path: str, shown: str) -> bool:
        if self._login is None or path in ("/health", "/metrics"):
            return True
        right = hmac.compare_digest(shown.encode(), self._login.header.encode())
        if path == "/webhook":
            right |= hmac.compare_digest(shown.encode(), self._login.webhook_header.encode())
        return right


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where it is too large, whatever its header said, or where the client has left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever else comes, such as that the client has left."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


def _is_own_page(headers: Headers) -> bool:
    """Whether the page came from where it asks now; pages of others have another host or port."""
    return headers["origin"].lower().partition("://")[2] == headers.get("host", "").lower()


def _without_port(host: str) -> str:
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
