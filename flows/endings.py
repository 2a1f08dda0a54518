"""How runs end in Prefect: waiting is not failing, and what a user has to mend is one line without a traceback."""

from typing import Any

from prefect.states import Completed, Failed, State

from schemas.errors import InputError, WaitError

WAITING = "Waiting"


def waiting(message: str, result: Any = None) -> "State[Any]":
    """Completed under a name of its own: something, or somebody, has to come first; the message says who and what."""
    return Completed(name=WAITING, message=_line(message), data=result)


def ending_of(error: InputError | WaitError) -> "State[Any]":
    """Of a run that cannot go on: waiting, or failed with the one line that says what to mend."""
    if isinstance(error, WaitError):
        return waiting(str(error), {"state": "waiting", "message": _line(str(error))})
    return Failed(message=_line(str(error)), data=error)


def _line(text: str) -> str:
    return " ".join(text.split())
