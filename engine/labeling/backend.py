"""The model backend: the five routes that Label Studio calls.

Bodies may carry API tokens (`/setup` the token of the project's creator, webhooks that of the organisation). They are
neither kept nor logged, and errors never quote a body.
"""

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import torch
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.labeling.folder import LabelingFolder
from engine.labeling.gatekeeper import Gatekeeper
from engine.labeling.links import picture_links
from engine.labeling.pictures import Pictures
from engine.labeling.prompt_log import PromptHistory, keep_prompts
from engine.labeling.served import ServedModel, Successor
from engine.places import place
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
_LOOK_EVERY_S = 2.0  # for another model
_SETUP_S = 2.0  # Label Studio waits three
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
    listening = _listen(host, port)
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
    successor: Successor | None = None,
) -> FastAPI:
    """The app for a workspace and a model that is in evaluation mode.

    settings: bounds of the embeddings, default those of `LabelingConfig`. queue: pictures to encode ahead. hosts: names
    by which it may be asked beside those of loopback. successor: knows which model follows; without it this one stays.
    """
    backend = _Backend(workspace, settings or LabelingConfig(), successor)
    backend.model = backend.served(sam, model_id, model_name)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        backend.model.ahead.queue(queue)
        running = [asyncio.create_task(_keep_prompts(workspace)), asyncio.create_task(backend.follow())]
        yield
        for each in running:
            each.cancel()
        await asyncio.to_thread(_keep_prompts_once, workspace)
        await asyncio.to_thread(backend.model.ahead.close)

    app = FastAPI(title="sam-engine", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ahead = backend.model.ahead
    app.add_middleware(Gatekeeper, hosts=hosts)
    app.add_middleware(_ServerTime)
    if backend.links.base:
        # In front of the gatekeeper: who may have a picture is said by its link.
        app.add_middleware(Pictures, root=LabelingFolder(workspace).images, links=backend.links)
    app.add_exception_handler(InputError, _bad_request)
    app.add_api_route("/health", backend.health, methods=["GET"])
    app.add_api_route("/setup", backend.setup, methods=["POST"])
    app.add_api_route("/predict", backend.predict, methods=["POST"])
    app.add_api_route("/webhook", backend.webhook, methods=["POST"])
    app.add_api_route("/versions", backend.versions, methods=["GET", "POST"])
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


async def _read_body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_read_body)]


class _Backend:
    """The routes. Those that only say something run in the event loop, so that they are quick whatever else goes on."""

    model: ServedModel

    def __init__(self, workspace: Path, settings: LabelingConfig, successor: Successor | None) -> None:
        self._workspace, self._folder, self._settings = workspace, LabelingFolder(workspace), settings
        self._history, self._successor = PromptHistory(workspace), successor
        self._changing = asyncio.Lock()
        self.links = picture_links(self._folder, settings)

    def served(self, sam: Sam, model_id: str, name: str) -> ServedModel:
        return ServedModel(
            self._workspace,
            sam,
            model_id=model_id,
            name=name,
            settings=self._settings,
            links=self.links,
            history=self._history,
        )

    async def follow(self) -> None:
        """Until it is cancelled: let the model answer that should."""
        while self._successor is not None:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._catch_up(self._successor)

    async def _catch_up(self, successor: Successor) -> None:
        """Requests that come from now on are answered by the model that should; those that are there by theirs."""
        async with self._changing:
            found = await asyncio.to_thread(successor.look, self.model.model_id)
            if found is None:
                return
            before, self.model = self.model, self.served(*found)
            _log.info("model %s (%s) answers from now on", self.model.name, self.model.model_id)
            self.model.ahead.queue(await asyncio.to_thread(self._folder.pictures))
            await asyncio.to_thread(before.ahead.close)

    async def health(self) -> JSONResponse:
        """embeddings: how often they came from memory and disk, were encoded, or were waited for."""
        model = self.model
        return JSONResponse({"status": "UP", **_said_of(model), "embeddings": dict(model.cache.counts)})

    async def setup(self, body: Body) -> JSONResponse:
        """Comes at every opening of a project or a task, and whenever Label Studio is asked which model answers."""
        _parse(body, "/setup")
        if self._successor is not None:
            await asyncio.wait([asyncio.create_task(self._catch_up(self._successor))], timeout=_SETUP_S)
        return JSONResponse(_said_of(self.model))

    def predict(self, body: Body) -> JSONResponse:
        return JSONResponse(self.model.prompter.predict(_parse(body, "/predict")))

    def webhook(self, body: Body) -> JSONResponse:
        """Only a hint that it is worth looking: what was done is fetched from Label Studio itself."""
        event = _parse(body, "/webhook")
        if event.get("action") != "START_TRAINING":  # training is a step of the stage, not the annotators' business
            self._wake()
        tasks = event.get("tasks")
        if event.get("action") == "TASKS_CREATED" and isinstance(tasks, list):
            model = self.model
            model.ahead.queue(model.prompter.pictures([task for task in tasks if isinstance(task, dict)]))
        return JSONResponse({"status": "ok"})

    async def versions(self) -> JSONResponse:
        return JSONResponse({"versions": [self.model.model_id]})

    def _wake(self) -> None:
        try:
            place(self._folder.wake_file).write(b"")
        except (InputError, OSError) as error:
            _log.error("%s: %s; the next poll will see it all the same", self._folder.wake_file, error)


def _said_of(model: ServedModel) -> dict[str, str]:
    return {"model_version": model.model_id, "model": model.name}


class _ServerTime:
    """Adds a header with the milliseconds between the arrival of a request and the start of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                spent = f"{1000 * (time.perf_counter() - started):.2f}"
                message["headers"] = [*message["headers"], (SERVER_MS_HEADER.lower().encode(), spent.encode())]
            await send(message)

        await self._app(scope, receive, send_timed)


def _parse(body: bytes, route: str) -> dict[str, Any]:
    """Raises InputError, without a word of the body, where it is no JSON object."""
    try:
        parsed = json.loads(body)
    except RecursionError as error:
        raise InputError(f"{route}: the JSON of the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{route}: the body is no JSON: {error.msg} at character {error.pos}") from error
    except ValueError as error:
        raise InputError(f"{route}: the body is no JSON in UTF-8 with numbers of a usual length") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{route}: expected a JSON object, found {type(parsed).__name__}")
    return parsed


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises InputError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; choose another host or port") from error
    if not ip_address(listening.getsockname()[0]).is_loopback:
        _log.warning(
            "listening on %s, beyond this machine: Label Studio sends this port API tokens in clear text; put it "
            "behind a reverse proxy with TLS, or in a network of its own",
            host,
        )
    return listening
