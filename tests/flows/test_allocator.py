"""The setting reaches the C library: memory that was freed is there again without new pages."""

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, threading
from flows.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    bytes(64 * 2**20)  # the first time, pages must come in any case
    before = faults()
    for _ in range(10):
        bytearray(b"x") * (64 * 2**20)
    print(faults() - before)
thread = threading.Thread(target=work)
thread.start() if sys.argv[2] == "thread" else work()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_used_again(where: str) -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", _PROGRAM, mode, where], capture_output=True, check=True).stdout)
        for mode in ("keep", "give back")
    }
    assert faults["keep"] < faults["give back"] / 4
