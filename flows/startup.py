"""What makes a command begin and end in little processor time: all of it together takes `sam-engine status` from
1 s to .58 s on two cores of an AMD EPYC, pair by pair."""

import atexit
import gc
import os
import sys
from importlib.abc import MetaPathFinder


def let_idle_threads_sleep() -> None:
    """Have the threads of NumPy's OpenBLAS, if it is not loaded yet, sleep as soon as they have nothing to do.

    Else each turns for 2**26 cycles after its start and after each product: a twentieth of a second on two cores, of
    commands that multiply nothing. A value that the user set stays.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def skip_collection_at_exit() -> None:
    """Have the interpreter end without looking for cycles among all that was imported: a tenth of a second."""
    atexit.register(gc.freeze)


class NoPandas(MetaPathFinder):
    """Tells whoever imports pandas that it is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


def keep_pandas_out() -> None:
    """Have pyarrow work without pandas in this process, as it does where there is none; others may import it later.

    Else it imports pandas for the first array that it makes of Python's values, to see whether they are of pandas: a
    third of a second of each command.
    """
    finder = NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow

        pyarrow.array([0])  # it looks once
    finally:
        sys.meta_path.remove(finder)
