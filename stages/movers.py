"""One mover of a stage at a time: who moves one holds its lock, and who comes meanwhile is told so.

The lock ends with the process that holds it, however that ends, so the next run goes on where a killed one was. Of a
workspace at a URL it is seen on this machine alone.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from engine.store import Store
from schemas.errors import WaitError
from schemas.stages import Stage

# A flow moves its stage by several ticks, each of which asks again.
_held: ContextVar[frozenset[tuple[str, Stage]]] = ContextVar("_held", default=frozenset())


@contextmanager
def only_mover(store: Store, stage: Stage) -> Iterator[bool]:
    """Hold a stage of a workspace for the time of the `with` block. Yields False where another process has it: then
    nothing of the stage may be changed."""
    mine = (store.files.full_name, stage)
    held = _held.get()
    if mine in held:
        yield True
        return
    with ExitStack() as lock:
        try:
            lock.enter_context((store.files.root / f".{stage}.lock").only_one(busy=another_moves(store, stage)))
        except WaitError:
            yield False
            return
        before = _held.set(held | {mine})
        try:
            yield True
        finally:
            _held.reset(before)


def another_moves(store: Store, stage: Stage) -> str:
    """What a run is told that has nothing to do, since another one is at it."""
    return f"another run works on {stage} of {store.files} here; it does what there is to do, and this one ends"
