"""A PostgreSQL of Debian's package `postgresql` in a temporary folder, for the time of a `with` block."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.labelstudio.ports import free_port

PROGRAMS = Path("/usr/lib/postgresql")
USER = "label_studio"
DATABASE = "labels"
OTHER_USER = "postgres"  # PostgreSQL refuses to run as root; Debian's package makes this user


def find_programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest version that is installed."""
    folders = [file.parent for file in PROGRAMS.glob("*/bin/initdb") if (file.parent / "pg_ctl").is_file()]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Yields the URL of an empty database. The password has characters that must be quoted in it."""
    folder = Path(tempfile.mkdtemp(prefix="sam-engine-postgres-"))
    data, log, port = folder / "data", folder / "log", free_port()
    password = f"{secrets.token_urlsafe(9)} @:/%"
    password_file = folder / "password"
    password_file.write_text(password)
    if os.geteuid() == 0:
        shutil.chown(folder, OTHER_USER)
        shutil.chown(password_file, OTHER_USER)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    try:
        _run(
            programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", password_file, "-E", "UTF8"
        )
        _run(programs / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            login = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
            _run(programs / "createdb", *login, DATABASE, PGPASSWORD=password)
            yield f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{port}/{DATABASE}"
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def _run(*command: str | Path, **environment: str) -> None:
    """As the user who owns the data. Raises RuntimeError with what the program said."""
    as_user = ["runuser", "-u", OTHER_USER, "--"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_user, *command],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
