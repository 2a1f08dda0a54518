"""The model backend: a server that answers Label Studio's questions (`routes`), and what goes on beside them."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.labeling.folder import LabelingFolder
from engine.labeling.gatekeeper import Gatekeeper
from engine.labeling.pictures import Pictures
from engine.labeling.prompt_log import keep_prompts
from engine.labeling.routes import Routes
from engine.labeling.secret import BackendLogin, backend_login
from engine.labeling.served import Successor
from engine.listening import is_loopback, listen
from engine.metrics import ANSWERS, REQUESTS
from engine.store import Store
from engine.workspace import Workspace
from model.sam import Sam
from model.storage import load_model
from schemas.config import LabelingConfig
from schemas.errors import InputError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 9090
SERVER_MS_HEADER = "X-Server-Ms"
ANNOTATORS_AT_ONCE = 4  # who should not wait for each other; the cores are shared out among so many
_KEEP_PROMPTS_EVERY_S = 15.0
_COUNTED = ("/health", "/setup", "/predict", "/webhook", "/versions")  # others are named by strangers
_log = logging.getLogger(__name__)


def serve(
    workspace: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    model: str | None = None,
    wanted: Callable[[], str] | None = None,
    device: torch.device | str = "cpu",
    queue: Sequence[Path] = (),
) -> None:
    """Answer Label Studio until SIGTERM or SIGINT.

    model: name or id; None takes the workspace's start model. wanted: says, every few seconds, the name or id of the
    model that should answer from now on; without it the first stays. queue: pictures to encode ahead, in this order.
    Raises InputError where there is no such model or the port is taken.
    """
    config, roots = Workspace(workspace).settings(), Workspace(workspace).model_roots()
    sam, info = load_model(model or config.model.start, roots, device=device)
    listening = listen(host, port)
    if not is_loopback(listening):
        _log.warning(
            "listening on %s, beyond this machine: Label Studio sends this port API tokens in clear text; put it "
            "behind a reverse proxy with TLS, or in a network of its own",
            host,
        )
    # Torch's threads wait for each other at the end of every operation: with several clicks at once one each is best.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // ANNOTATORS_AT_ONCE))
    app = make_app(
        workspace,
        sam,
        model_id=info.model_id,
        model_name=info.name,
        settings=config.labeling,
        queue=queue,
        hosts=_names(host, config.labeling.backend_url),
        login=backend_login(LabelingFolder(workspace)),
        successor=None if wanted is None else Successor(wanted, roots, device=device),
    )
    # No access log: addresses can carry tokens.
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=10))
    address = f"http://{host}:{listening.getsockname()[1]}"
    _log.info("model %s (%s) answers at %s", info.name, info.model_id, address)
    server.run(sockets=[listening])


def make_app(
    workspace: Path,
    sam: Sam,
    *,
    model_id: str,
    model_name: str = "",
    settings: LabelingConfig | None = None,
    queue: Sequence[Path] = (),
    hosts: Sequence[str] = (),
    login: BackendLogin | None = None,
    successor: Successor | None = None,
) -> FastAPI:
    """The app for a workspace and a model that is in evaluation mode.

    settings: bounds of the embeddings, default those of `LabelingConfig`. queue: pictures to encode ahead. hosts: names
    by which it may be asked beside those of loopback. login: that has to be shown; None where none need be. successor:
    knows which model follows; without it this one stays.
    """
    routes = Routes(workspace, settings or LabelingConfig(), successor)
    routes.model = routes.served(sam, model_id, model_name)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        routes.model.ahead.queue(queue)
        running = [asyncio.create_task(_keep_prompts(workspace)), asyncio.create_task(routes.follow())]
        yield
        for each in running:
            each.cancel()
        await asyncio.to_thread(_keep_prompts_once, workspace)
        await asyncio.to_thread(routes.model.ahead.close)

    app = FastAPI(title="sam-engine", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ahead = routes.model.ahead
    app.add_middleware(Gatekeeper, hosts=hosts, login=login)
    app.add_middleware(_ServerTime)
    if routes.links.base:
        # In front of the gatekeeper: who may have a picture is said by its link.
        app.add_middleware(Pictures, root=LabelingFolder(workspace).images, links=routes.links)
    app.add_exception_handler(InputError, _bad_request)
    app.add_api_route("/health", routes.health, methods=["GET"])
    app.add_api_route("/metrics", routes.metrics, methods=["GET"])
    app.add_api_route("/setup", routes.setup, methods=["POST"])
    app.add_api_route("/predict", routes.predict, methods=["POST"])
    app.add_api_route("/webhook", routes.webhook, methods=["POST"])
    app.add_api_route("/versions", routes.versions, methods=["GET", "POST"])
    return app


def _names(host: str, backend_url: str) -> list[str]:
    """What the backend is called: by those who started it, and by Label Studio."""
    return [name for name in (host, urlsplit(backend_url).hostname) if name]


async def _keep_prompts(workspace: Path) -> None:
    """Copy the prompt log into the tables now and then; it is done once more when the backend ends."""
    while True:
        await asyncio.sleep(_KEEP_PROMPTS_EVERY_S)
        await asyncio.to_thread(_keep_prompts_once, workspace)


def _keep_prompts_once(workspace: Path) -> None:
    """Clicks are answered all the same where this fails, and the next time it is tried again."""
    try:
        keep_prompts(Store(workspace))
    except (InputError, OSError) as error:
        _log.warning("%s; the prompts stay in the log until the next time", error)


class _ServerTime:
    """Adds a header with the milliseconds between the arrival of a request and the start of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                if (path := scope["path"]) in _COUNTED:
                    ANSWERS.labels(path).observe(seconds)
                    REQUESTS.labels(path, str(message["status"])).inc()
                spent = f"{1000 * seconds:.2f}"
                message["headers"] = [*message["headers"], (SERVER_MS_HEADER.lower().encode(), spent.encode())]
            await send(message)

        await self._app(scope, receive, send_timed)


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)
