"""A model backend whose answers are known before: the box where there is one, else a square around the first point."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle
from engine.labeling.regions import brush_region

MODEL_VERSION = "echo"
SQUARE_FRAC = 0.2  # side of the square, of the picture's width and height


@dataclass
class EchoBackend:
    """prompts: the `context.result` of every interactive call, empty ones left out. masks: by region id, what was
    answered. Both in the order of the calls. tasks: what came with each of these prompts, and how many bytes it was.
    fail: answer with status 500 instead."""

    url: str = ""
    prompts: list[list[dict[str, Any]]] = field(default_factory=list)
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    tasks: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    fail: bool = False

    def answer(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The `results` for a call of /predict: one entry a task, empty where nothing was prompted."""
        prompts = ((body.get("params") or {}).get("context") or {}).get("result") or []
        if not prompts:
            return [{"model_version": MODEL_VERSION, "score": 0.0, "result": []} for _ in body["tasks"]]
        self.prompts.append(prompts)
        self.tasks.append((body["tasks"][0], len(json.dumps(body))))
        region_id, mask = uuid.uuid4().hex[:10], echoed_mask(prompts)
        self.masks[region_id] = mask
        region = brush_region(rle.encode(mask), region_id=region_id, score=0.91, meta={"points": len(prompts)})
        return [{"model_version": MODEL_VERSION, "score": 0.91, "result": [region]}]


def echoed_mask(prompts: list[dict[str, Any]]) -> npt.NDArray[np.bool_]:
    """The mask (height, width) for prompts, whose sizes are percent of the picture."""
    first, height, width = prompts[-1], prompts[-1]["original_height"], prompts[-1]["original_width"]
    if first["type"] == "rectanglelabels":
        left, top = first["value"]["x"] / 100, first["value"]["y"] / 100
        right, bottom = left + first["value"]["width"] / 100, top + first["value"]["height"] / 100
    else:
        x, y = prompts[0]["value"]["x"] / 100, prompts[0]["value"]["y"] / 100
        left, right, top, bottom = (centre + side * SQUARE_FRAC / 2 for centre in (x, y) for side in (-1, 1))
    return rectangle_mask(height, width, left, top, right, bottom)


def rectangle_mask(
    height: int, width: int, left: float, top: float, right: float, bottom: float
) -> npt.NDArray[np.bool_]:
    """Sides as fractions of the picture."""
    mask = np.zeros((height, width), dtype=bool)
    rows = slice(max(round(top * height), 0), round(bottom * height))
    mask[rows, max(round(left * width), 0) : round(right * width)] = True
    return mask


@contextmanager
def running_echo_backend(port: int = 0) -> Iterator[EchoBackend]:
    """At a port of this machine, a free one if 0, for the time of the `with` block."""
    backend = EchoBackend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"status": "UP"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if backend.fail:
                self.send_error(500)
                return
            self._send(
                {"results": backend.answer(body)} if self.path == "/predict" else {"model_version": MODEL_VERSION}
            )

        def _send(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    backend.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield backend
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
