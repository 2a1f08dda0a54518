"""Prefect's own short-lived server, tied to the process that starts it: it ends with that one, however that one ends.

As Prefect starts it, it lives on when its flow is killed, and a Ctrl-C ends it before the flow can say goodbye.
Run as a program, with the id of the process to end with and a port, this file is that server.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

_LOOK_EVERY_S = 0.5
_TIME_TO_END_S = 5.0


def tie_servers_to_this_process() -> None:
    """Where Prefect starts a server of its own from now on, it is one that ends with this process."""
    from prefect.server.api.server import SubprocessASGIServer

    SubprocessASGIServer._run_uvicorn_command = _start


def _start(server: Any) -> subprocess.Popen[bytes]:
    """What Prefect's method of that name does, with the program below, and out of reach of the terminal's signals."""
    from prefect.settings import get_current_settings

    of_short_life = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [sys.executable, "-P", __file__, str(os.getpid()), str(server.port)],
        env=os.environ | of_short_life | settings,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_with(process_id: int) -> None:
    """Wait until that process, which started this one, is gone; then end this one, gently and at last in any case."""
    while os.getppid() == process_id:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_TIME_TO_END_S)
    os._exit(1)


def _main() -> None:
    starter, port = (int(argument) for argument in sys.argv[1:])
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    import uvicorn

    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _main()
