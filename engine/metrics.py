"""Figures of this process for Prometheus: who works keeps them up to date, /metrics shows them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client import start_http_server as _start_http_server

from schemas.errors import InputError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

DONE = Gauge("sam_engine_progress_done", "Units of a piece of work that are finished.", ["what"], registry=REGISTRY)
TOTAL = Gauge("sam_engine_progress_total", "Units that a piece of work has.", ["what"], registry=REGISTRY)
TOLD = Gauge("sam_engine_progress_seconds", "When a piece of work told last, since 1970.", ["what"], registry=REGISTRY)
LOSS = Gauge("sam_engine_training_loss", "Mean loss of the last steps of a training.", registry=REGISTRY)
SPEED = Gauge("sam_engine_training_images_per_second", "Pictures that a training learns from.", registry=REGISTRY)
WAITING = Gauge("sam_engine_training_waiting_ratio", "Share of a training's time waiting for data.", registry=REGISTRY)
ANSWERS = Histogram(
    "sam_engine_backend_answer_seconds",
    "From the arrival of a request at the model backend to the start of its answer.",
    ["path"],
    registry=REGISTRY,
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
REQUESTS = Counter(
    "sam_engine_backend_requests", "Answers of the model backend.", ["path", "status"], registry=REGISTRY
)
MODEL = Gauge("sam_engine_backend_model", "1 for the model that answers.", ["model_id"], registry=REGISTRY)
EMBEDDINGS = Gauge("sam_engine_backend_embeddings", "Where embeddings came from.", ["source"], registry=REGISTRY)


def tell_progress(what: str, done: int, total: int) -> None:
    """How far a piece of work is."""
    DONE.labels(what).set(done)
    TOTAL.labels(what).set(total)
    TOLD.labels(what).set_to_current_time()


def as_text() -> bytes:
    """All figures, as Prometheus reads them."""
    return bytes(generate_latest(REGISTRY))


def serve_metrics(address: str) -> int:
    """Answer /metrics at HOST:PORT, in a thread that ends with the process; port 0 takes a free one.

    Returns the port. Raises InputError for an address of another form, OSError where it is taken.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise InputError(f"SAM_ENGINE_METRICS={address}: expected HOST:PORT, for example 127.0.0.1:9108")
    server, _ = _start_http_server(int(port), addr=host.strip("[]"), registry=REGISTRY)
    return int(server.server_port)
