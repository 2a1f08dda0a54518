"""Starts Label Studio 1.23.2 with `sam_engine_page`, `hand_out` and `lean_clicks` added.

Run as a file by Label Studio's own Python.

Its settings cannot be extended by a module of settings, since they read themselves while they are read. So the addition
comes between their reading and the making of the application that answers.
"""

import sys
from pathlib import Path

from label_studio import server

_run = server._app_run


def _run_with_page(host: str, port: str) -> None:
    from django.conf import settings

    sys.path.append(str(Path(__file__).parent))
    settings.MIDDLEWARE.append("sam_engine_page.add_script")
    import hand_out
    import lean_clicks

    hand_out.install()
    lean_clicks.install()
    _run(host=host, port=port)


server._app_run = _run_with_page
sys.exit(server.main())
