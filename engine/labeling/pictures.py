"""Hands pictures to browsers that have a signed link, in front of the model backend."""

from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.labeling.files import file_below
from engine.labeling.links import ROUTE, PictureLinks
from schemas.errors import InputError

# Label Studio's page reads pictures by script from another address. The link alone says who may, so that any page that
# has it may have the picture.
_HEADERS = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff", "Cache-Control": "private"}


class Pictures:
    """Answers GET /pictures/... and passes everything else on to `app`. root: the folder of pictures."""

    def __init__(self, app: ASGIApp, *, root: Path, links: PictureLinks) -> None:
        self._app, self._root, self._links = app, root, links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(ROUTE) and scope["method"] in ("GET", "HEAD"):
            await self._answer(scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        url = f"{quote(scope['path'])}?{scope['query_string'].decode('ascii', 'replace')}"
        try:
            path = self._links.path(url)
            self._links.check_time(url)
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=403, headers=_HEADERS)
        try:
            return FileResponse(file_below(self._root, path), headers=_HEADERS)
        except InputError:
            why = "no such picture; sam-engine labeling sync makes it anew"
            return JSONResponse({"error": why}, status_code=404, headers=_HEADERS)
