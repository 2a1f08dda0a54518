"""The explorer as a web application: what the page asks, and what it is answered. It reads, and changes nothing.

    GET  /                                          the page
    GET  /static/NAME                               its parts
    GET  /api/releases                              what is looked at: one release, or two side by side
    GET  /api/RELEASE/facets                        masks by stage, origin, split; histograms of the scores and sizes
    GET  /api/RELEASE/pictures?FILTERS              the pictures with such masks; sort, offset, limit, around
    GET  /api/RELEASE/pictures/ID?FILTERS           a picture with its masks
    GET  /api/RELEASE/pictures/ID/picture.jpg       also thumbnail.jpg
    GET  /api/RELEASE/find?number=|content=         a picture, or a mask and its picture
    GET  /api/RELEASE/masks/ID/lineage              what the workspace knows, where there is one
    POST /api/RELEASE/send                          {"pictures": [ID, ...]} back to annotators, where that is allowed

RELEASE is the key of a release. An answer that is no success is {"error": LINE}.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.labeling.gatekeeper import Door, Gatekeeper
from engine.release.explorer.filters import parse_filters, parse_sort
from engine.release.explorer.opened import OpenedRelease, plain_ids
from engine.release.explorer.page_files import PAGE, page_file
from schemas.errors import InputError, WaitError

if TYPE_CHECKING:
    from engine.release.explorer.sending import Made, Sent

SendBack = Callable[[Mapping[int, Sequence["Made"]]], "Sent"]
Lineage = Callable[[int], dict[str, Any]]
Answer = Callable[[OpenedRelease, Request], Response]

_MOST_PICTURES = 500  # in one answer, or sent at once
_LARGEST_ID = 2**63 - 1
_EXPLORER = Door("the explorer", "open the address that sam-engine release explore prints", has_pages=True)
# OpenSeadragon adds a style of its own to the page; its hash changes with the file that ships.
_STYLE_OF_OPENSEADRAGON = "'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE='"
_CSP = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_STYLE_OF_OPENSEADRAGON}; img-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Pictures alone are kept: the key of their release stands in their address, so that they stay true.
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}
_ASKED_ANEW = {"Cache-Control": "no-cache"}


def make_app(
    releases: Sequence[OpenedRelease],
    *,
    hosts: Sequence[str] = (),
    lineage: Lineage | None = None,
    send: SendBack | None = None,
    command: str = "",
) -> Starlette:
    """The app for one release, or for two side by side.

    hosts: names by which it may be asked beside those of loopback. lineage: what the workspace knows of a mask, by its
    content id; raises InputError where it has none such. send: sends pictures back to annotators; without it nothing
    can be sent. command: that would allow it.
    """
    routes = _Routes(releases, lineage, send, command)
    return Starlette(
        routes=routes.routes(),
        middleware=[Middleware(_Headers), Middleware(Gatekeeper, hosts=hosts, door=_EXPLORER)],
        exception_handlers={InputError: _bad_request, WaitError: _not_now, HTTPException: _not_so},
    )


class _Routes:
    def __init__(
        self, releases: Sequence[OpenedRelease], lineage: Lineage | None, send: SendBack | None, command: str
    ) -> None:
        self._releases = {release.key: release for release in releases}
        self._shown = [release.key for release in releases]
        self._lineage, self._send, self._command = lineage, send, command

    def routes(self) -> list[Route]:
        of_release: list[tuple[str, Answer]] = [
            ("facets", self.facets),
            ("pictures", self.pictures),
            ("find", self.find),
            ("pictures/{picture}", self.picture),
            ("pictures/{picture}/{size}.jpg", self.jpeg),
            ("masks/{mask}/lineage", self.lineage),
        ]
        return [
            Route("/", self.page),
            Route("/static/{name}", self.static),
            Route("/api/releases", self.releases),
            *(Route(f"/api/{{release}}/{path}", partial(self._answer, answer)) for path, answer in of_release),
            Route("/api/{release}/send", self.send, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        return self._file(PAGE)

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    async def releases(self, request: Request) -> Response:
        about = [self._releases[key].about() for key in self._shown]
        told = {"releases": about, "sends": self._send is not None, "lineage": self._lineage is not None}
        return JSONResponse(told | {"command": self._command}, headers=_ASKED_ANEW)

    def facets(self, release: OpenedRelease, request: Request) -> Response:
        return JSONResponse(release.index.facets(), headers=_ASKED_ANEW)

    def pictures(self, release: OpenedRelease, request: Request) -> Response:
        """around: a picture; then the offset is that of the page that it stands on."""
        asked = request.query_params
        filters, sort = parse_filters(_lists(request)), parse_sort(asked.get("sort", "number"))
        limit = min(max(_whole(asked.get("limit", "60"), "limit"), 1), _MOST_PICTURES)
        offset = _whole(asked.get("offset", "0"), "offset")
        listing = release.index.listing(filters, sort)
        place = None
        if "around" in asked:
            place = release.index.place_of(listing, _whole(asked["around"], "around"))
            offset = offset if place is None else place // limit * limit
        rows = [plain_ids(row) for row in release.index.page(listing, offset, limit)]
        told = {"total": listing.pictures, "masks": listing.masks, "offset": offset, "place": place, "pictures": rows}
        return JSONResponse(told, headers=_ASKED_ANEW)

    def picture(self, release: OpenedRelease, request: Request) -> Response:
        found = release.picture(_id(request, "picture"), parse_filters(_lists(request)))
        return _missing(request) if found is None else JSONResponse(found, headers=_ASKED_ANEW)

    def jpeg(self, release: OpenedRelease, request: Request) -> Response:
        reads = {"picture": release.jpeg, "thumbnail": release.thumbnail}
        read = reads.get(request.path_params["size"])
        found = None if read is None else read(_id(request, "picture"))
        return _missing(request) if found is None else Response(found, media_type="image/jpeg", headers=_KEPT)

    def find(self, release: OpenedRelease, request: Request) -> Response:
        """Of a picture, or of the picture that a mask is on; null where there is none such."""
        asked, index = request.query_params, release.index
        picture, mask = None, None
        if "content" in asked:
            picture = index.picture_of_content(_whole(asked["content"], "content"))
        else:
            number = _whole(asked.get("number"), "number")
            picture = number if index.picture(number) else index.picture_of_mask(number)
            mask = None if picture == number else number
        told = {"picture": picture, "mask": mask if picture is not None else None}
        return JSONResponse(
            {name: None if one is None else str(one) for name, one in told.items()}, headers=_ASKED_ANEW
        )

    def lineage(self, release: OpenedRelease, request: Request) -> Response:
        if self._lineage is None:
            return _error(404, "the release does not lie in its workspace; name it with --workspace")
        return JSONResponse(_readable(self._lineage(_id(request, "mask"))), headers=_ASKED_ANEW)

    async def send(self, request: Request) -> Response:
        release = self._release(request)
        if self._send is None:
            return _error(403, f"nothing is sent from here; start it with: {self._command}")
        pictures = _pictures_in(await request.body())
        made = await run_in_threadpool(release.index.made, pictures)
        if missing := [number for number in pictures if number not in made]:
            return _error(404, f"{release.manifest.name} has no picture {missing[0]}")
        sent = await run_in_threadpool(self._send, {one.content_id: one.places for one in made.values()})
        return JSONResponse({"sent": sent.sent, "waiting": sent.waiting}, headers=_ASKED_ANEW)

    async def _answer(self, answer: Answer, request: Request) -> Response:
        """Off the event loop: what reads the index or a tar takes its time."""
        return await run_in_threadpool(answer, self._release(request), request)

    def _release(self, request: Request) -> OpenedRelease:
        found = self._releases.get(request.path_params["release"])
        if found is None:
            raise HTTPException(404, "another release is shown here now; load the page anew")
        return found

    def _file(self, name: str) -> Response:
        found = page_file(name)
        if found is None:
            return _error(404, f"no {name}")
        return Response(found.content, media_type=found.kind, headers=_ASKED_ANEW)


class _Headers:
    """Adds what keeps the page to itself to every answer, refusals too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with)


def _lists(request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(value)
    return found


def _pictures_in(body: bytes) -> list[int]:
    """Raises InputError where the body is not {"pictures": [ID, ...]}."""
    try:
        pictures = json.loads(body)["pictures"]
        found = [_whole(number, "pictures") for number in pictures]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError('send: expected {"pictures": ["1", "2"]}') from error
    if not 0 < len(found) <= _MOST_PICTURES:
        raise InputError(f"send: 1 to {_MOST_PICTURES} pictures at once, found {len(found)}")
    return found


def _id(request: Request, name: str) -> int:
    return _whole(request.path_params[name], name)


def _whole(text: Any, name: str) -> int:
    """Raises InputError for what is no whole number that an id can be."""
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _LARGEST_ID:
        return int(text)
    raise InputError(f"{name}: expected a whole number, found {str(text)[:40]!r}")


def _readable(value: Any) -> Any:
    """As JSON, whole numbers that JavaScript would round as text."""
    if isinstance(value, dict):
        return {str(name): _readable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return str(value) if not isinstance(value, int) or abs(value) > 2**53 else value


def _missing(request: Request) -> Response:
    return _error(404, f"no picture {request.path_params['picture']}")


def _error(status: int, line: str) -> Response:
    return JSONResponse({"error": line}, status_code=status, headers=_ASKED_ANEW)


async def _bad_request(_: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _not_now(_: Request, error: Exception) -> Response:
    return _error(409, str(error))


async def _not_so(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _error(status, str(getattr(error, "detail", error)))
