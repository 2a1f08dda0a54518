"""The routes of the model backend: what Label Studio asks, and what it is answered.

Bodies may carry API tokens (`/setup` the token of the project's creator, webhooks that of the organisation). They are
neither kept nor logged, and errors never quote a body.
"""

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from engine.labeling.folder import LabelingFolder
from engine.labeling.links import picture_links
from engine.labeling.prompt_log import PromptHistory
from engine.labeling.prompting import ClientLeftError
from engine.labeling.served import ServedModel, Successor
from engine.metrics import CONTENT_TYPE, EMBEDDINGS, MODEL, as_text
from engine.places import place
from model.sam import Sam
from schemas.config import LabelingConfig
from schemas.errors import InputError

_LOOK_EVERY_S = 2.0  # for another model
_SETUP_S = 2.0  # Label Studio waits three
CLICKS_AT_ONCE = 8  # more wait, and of these none is computed whose client has left
_NOBODY_WAITS = JSONResponse({"error": "the client has left"}, status_code=499)
_log = logging.getLogger(__name__)


async def _read_body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_read_body)]


class Routes:
    """The routes. Those that only say something run in the event loop, so that they are quick whatever else goes on."""

    model: ServedModel

    def __init__(self, workspace: Path, settings: LabelingConfig, successor: Successor | None) -> None:
        self._workspace, self._folder, self._settings = workspace, LabelingFolder(workspace), settings
        self._history, self._successor = PromptHistory(workspace), successor
        self._changing, self._slots = asyncio.Lock(), asyncio.Semaphore(CLICKS_AT_ONCE)
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

    async def metrics(self) -> Response:
        """For Prometheus."""
        MODEL.clear()
        MODEL.labels(self.model.model_id).set(1)
        for source, count in self.model.cache.counts.items():
            EMBEDDINGS.labels(source).set(count)
        return Response(as_text(), media_type=CONTENT_TYPE)

    async def setup(self, body: Body) -> JSONResponse:
        """Comes at every opening of a project or a task, and whenever Label Studio is asked which model answers."""
        _parse(body, "/setup")
        if self._successor is not None:
            await asyncio.wait([asyncio.create_task(self._catch_up(self._successor))], timeout=_SETUP_S)
        return JSONResponse(_said_of(self.model))

    async def predict(self, request: Request, body: Body) -> JSONResponse:
        """A click; where its client leaves it is not computed, or no further than to the next step of the model."""
        asked, left = _parse(body, "/predict"), threading.Event()
        async with self._slots:
            if await request.is_disconnected():
                return _NOBODY_WAITS
            watching = asyncio.create_task(_watch(request, left))
            try:
                return JSONResponse(await run_in_threadpool(self.model.prompter.predict, asked, left.is_set))
            except ClientLeftError:
                return _NOBODY_WAITS
            finally:
                watching.cancel()

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


async def _watch(request: Request, left: threading.Event) -> None:
    """Behind its body the next that comes of a client is that it has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set()


def _said_of(model: ServedModel) -> dict[str, str]:
    return {"model_version": model.model_id, "model": model.name}


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
