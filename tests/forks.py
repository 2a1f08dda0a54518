"""Processes that may be killed, forked from a server that has imported already what they need: an interpreter of their
own takes seconds to get there."""

import multiprocessing
from collections.abc import Callable

PROCESSES = multiprocessing.get_context("forkserver")
# There is one server for all tests of a process.
PROCESSES.set_forkserver_preload(
    [
        "accelerate",
        "engine.labeling.tool",
        "engine.release.build",
        "engine.release.exporters",
        "engine.release.repair",
        "model.training.trainer",
        "stages.steps",
    ]
)


def exit_code(function: Callable[..., object], *arguments: object) -> int:
    """Calls a function of a module in a process of its own; 1 after an exception, -9 for one that SIGKILL ended."""
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
