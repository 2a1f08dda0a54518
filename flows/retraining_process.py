"""A round's retraining in processes of its own, started by `accelerate launch`: one, or several that share each step.

This process hears line by line how far they are, ends them when it is ended, and starts them again where they died:
they go on from the last checkpoint. `python -m flows.retraining_process` is what each of them runs.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.metrics import LOSS, REGISTRY, SPEED, WAITING
from engine.store import Store
from schemas.config import EngineConfig, FlowConfig
from schemas.errors import DivergedError, InputError, WaitError
from schemas.tables import Round
from stages.planning import parse_stage
from stages.progress import Progress

if TYPE_CHECKING:
    from stages.retraining import Retrained

_SAID = "sam-engine: "  # begins the lines that are meant for the process that listens
_REFUSED = 3  # exit status
_TO_END_S = 15.0
_ERRORS = {error.__name__: error for error in (InputError, WaitError, DivergedError)}
_RATES = {"sam_engine_training_loss": LOSS, "sam_engine_training_images_per_second": SPEED}
_RATES |= {"sam_engine_training_waiting_ratio": WAITING}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RetrainingProcess:
    """Retrains as `stages.retraining.retrain` does, and to the same model, in other processes.

    processes: how many; None for one a GPU of this machine, or one. retries: how often they are started again where
    they died. tell: takes what they print beside their progress, line by line.
    """

    processes: int | None
    retries: int
    tell: Tell

    def __call__(self, store: Store, config: EngineConfig, record: Round, progress: Progress) -> "Retrained":
        """Raises what the retraining raises, and InputError where its processes died once too often."""
        from stages.retraining import retrained_model

        for deaths in range(self.retries + 1):
            if deaths:
                self.tell(f"the retraining died ({deaths} of {self.retries}) and goes on from its last checkpoint")
            made = self._made(store, record, progress)
            if made is not None:
                return retrained_model(store, record, made)
        raise InputError(
            f"{record.stage} round {record.round}: its retraining died {self.retries + 1} times, maybe for want of "
            "memory; the log has what it said. The same command goes on from the last checkpoint"
        )

    def _made(self, store: Store, record: Round, progress: Progress) -> str | None:
        """The id of the model that was made; None where the processes died before."""
        made: str | None = None
        with _started(_command(self._count, store, record)) as lines:
            for line in lines:
                if not line.startswith(_SAID):
                    self.tell(line)
                    continue
                said = json.loads(line.removeprefix(_SAID))
                if "error" in said:
                    raise _ERRORS[said["error"]](said["message"])
                if "progress" in said:
                    _show_rates(said["rates"])
                    progress(*said["progress"])
                made = said.get("made", made)
        return made

    @property
    def _count(self) -> int:
        if self.processes is not None:
            return self.processes
        import torch

        return max(1, torch.cuda.device_count())


def retraining_of(flow: FlowConfig, tell: Tell) -> RetrainingProcess | None:
    """How a round is retrained by `flow.training`; None in this process."""
    if flow.training == "in_process":
        return None
    return RetrainingProcess(flow.training_processes, flow.retries, tell)


def _command(count: int, store: Store, record: Round) -> list[str]:
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    options: dict[str, object] = {
        "num_processes": count,
        "num_machines": 1,
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "main_process_port": 0,
        "num_cpu_threads_per_process": max(1, cores // count),
    }
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *(["--multi_gpu"] if count > 1 else ["--quiet"])]
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [*launcher, *given, "--module", __name__, str(store.files), record.stage, str(record.round)]


@contextmanager
def _started(command: list[str]) -> Iterator[Iterator[str]]:
    """The lines that a command prints; whatever ends the block ends it and all that it started."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command,
        # A safe path: modules of the folder that we were started in are none of ours.
        env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,  # never written to: it ends when this process does, and with it all that read it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield (line.rstrip() for line in process.stdout or ())
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TO_END_S)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _show_rates(rates: dict[str, float]) -> None:
    for name, value in rates.items():
        _RATES[name].set(value)


def main(workspace: str, stage: str, round: str) -> None:
    """One of the processes that retrain; the first of them says how far they are and what came of it."""
    from flows.allocator import keep_freed_memory
    from model.training.processes import Processes
    from stages.retraining import share_of_retraining

    _end_with_starter()
    keep_freed_memory()
    store = Store(workspace)
    name = parse_stage(stage)
    try:
        record = next(record for record in store.rounds(name) if record.round == int(round))
        progress = _say_progress if Processes().is_main else _silent
        done = share_of_retraining(store, store.files.settings(), record, progress)
    except tuple(_ERRORS.values()) as error:
        _say({"error": type(error).__name__, "message": str(error)})
        sys.exit(_REFUSED)
    if done is not None:
        _say({"made": done.model_id})


def _say_progress(what: str, done: int, total: int, note: str = "") -> None:
    rates = {name: REGISTRY.get_sample_value(name) for name in _RATES}
    _say({"progress": [what, done, total, note], "rates": rates})


def _silent(what: str, done: int, total: int, note: str = "") -> None:
    """Of those that share the work of another that speaks."""


def _say(what: dict[str, Any]) -> None:
    print(_SAID + json.dumps(what), flush=True)


def _end_with_starter() -> None:
    """End this process as soon as the one that listens is gone, however it ended."""

    def watch() -> None:
        select.select([sys.stdin], [], [])  # nobody writes there: it is readable once the other end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
