"""One process per contender. It waits for work on a pipe, where waiting costs nothing, and does one thing at a time."""

import os
import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.peers.setting import MOBILE_SAM, NANO, OURS, OURS_FAST, SEGMENT_ANYTHING, TRANSFORMERS, Setting

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(Exception):
    """What went wrong in a contender's process."""


@dataclass
class Worker:
    """The parent's end."""

    name: str
    process: Any
    connection: Connection

    def ask(self, task: str, **arguments: Any) -> Any:
        """Let the process do a task of `benchmarks.peers.tasks.Tasks` and wait for what it gives.

        Raises WorkerError with its traceback if it fails or dies.
        """
        try:
            self.connection.send((task, arguments))
            fine, answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerError(f"{self.name}: the process ended during {task!r}") from error
        if not fine:
            raise WorkerError(f"{self.name}: {task!r} failed:\n{answer}")
        return answer

    def cpu_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.connection.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def start(name: str, setting: Setting) -> Worker:
    """A fresh process for a contender, without any state of this one."""
    os.environ.update({variable: str(setting.threads) for variable in _THREAD_VARIABLES})
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, name, setting), name=name, daemon=True)
    process.start()
    there.close()
    return Worker(name, process, here)


def _contender(name: str, setting: Setting) -> Any:
    """The contender called `name`, made where it is needed: each imports its own package."""
    if name in (OURS, OURS_FAST):
        from benchmarks.peers.ours import Ours

        return Ours(setting, fast=name == OURS_FAST)
    if name in (SEGMENT_ANYTHING, MOBILE_SAM):
        from benchmarks.peers.published import Published

        return Published(setting, name)
    if name == TRANSFORMERS:
        from benchmarks.peers.hugging_face import HuggingFace

        return HuggingFace(setting)
    raise ValueError(f"unknown contender {name!r}")


def _tasks(name: str, setting: Setting) -> Any:
    if name == NANO:
        from benchmarks.peers.nano import NanoTasks

        return NanoTasks(setting)
    from benchmarks.peers.tasks import Tasks

    return Tasks(_contender(name, setting), setting)


def _serve(connection: Connection, name: str, setting: Setting) -> None:
    import cv2
    import torch

    torch.set_num_threads(setting.threads)
    cv2.setNumThreads(setting.threads)
    tasks = None
    while True:
        try:
            task, arguments = connection.recv()
        except EOFError:
            return
        try:
            tasks = tasks or _tasks(name, setting)
            answer = True, getattr(tasks, task)(**arguments)
        except Exception:  # whatever it is, the parent reports it
            answer = False, traceback.format_exc()
        connection.send(answer)
