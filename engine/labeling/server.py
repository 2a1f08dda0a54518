"""A local Label Studio: started for a workspace and stopped cleanly; `installation` puts it there on first use.

In the folder `label_studio` of the workspace: server/ (database and uploads), server.log, credentials.json.
"""

import http
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

import httpx

from engine.files import open_lock, storage_errors, take
from engine.labeling.folder import LabelingFolder
from engine.labeling.installation import Note, install_label_studio, is_filled, last_error, tell
from engine.labeling.server_settings import (
    Database,
    ServerAccount,
    check_database,
    check_port,
    parse_database,
    read_or_create_account,
    server_environment,
)
from schemas.errors import InputError, WaitError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080

_START = Path(__file__).with_name("page") / "start.py"  # adds a script to the pages: see editor.js there
_POLL_S = 0.2
_REQUEST_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 600.0  # the first start builds the database: 40 s on two idle cores
_STOP_TIMEOUT_S = 20.0


class LabelStudioServer:
    """A Label Studio that runs for one workspace.

    document_root: the folder whose pictures it serves, as /data/local-files/?d=PATH_BELOW_IT.
    """

    def __init__(
        self,
        workspace: Path,
        url: str,
        account: ServerAccount,
        process: subprocess.Popen[bytes],
        lock: IO[str],
    ) -> None:
        folder = LabelingFolder(workspace)
        self.workspace = workspace
        self.url = url
        self.account = account
        self.document_root = folder.images
        self.log_file = folder.server / "server.log"
        self.process = process
        self._lock = lock

    @property
    def token(self) -> str:
        """For `Authorization: Token ...`."""
        return self.account.token

    def stop(self, *, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """Ask the server to end, and end its own process group by force if it has not done so in time."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    os.killpg(self.process.pid, signal.SIGKILL)
                    self.process.wait()
        finally:
            self._lock.close()


@contextmanager
def running_server(
    workspace: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    database: str | None = None,
    note: Note | None = None,
) -> Iterator[LabelStudioServer]:
    """A server for the time of the `with` block. Arguments and errors as of `start_server`."""
    server = start_server(workspace, host=host, port=port, database=database, note=note)
    try:
        yield server
    finally:
        server.stop()


def serve_forever(
    workspace: Path,
    *,
    ready: Callable[[LabelStudioServer], None],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    database: str | None = None,
    note: Note | None = None,
) -> None:
    """Run a server until Ctrl-C or SIGTERM; call from the main thread. ready: called once when people can log in.

    Raises what `start_server` raises, and WaitError if the server ends by itself.
    """
    server = running_server(workspace, host=host, port=port, database=database, note=note)
    with _terminated_like_ctrl_c(), suppress(KeyboardInterrupt), server as running:
        ready(running)
        status = running.process.wait()
        raise WaitError(f"Label Studio ended by itself with status {status}; see {running.log_file}")


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """A terminated process would leave its server behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start_server(
    workspace: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    database: str | None = None,
    note: Note | None = None,
    timeout_s: float = _START_TIMEOUT_S,
) -> LabelStudioServer:
    """Start Label Studio, installed first if need be, and return when it answers to the token of this workspace.

    database: postgresql://USER:PASSWORD@HOST:PORT/NAME, None for an SQLite file. note: told what takes long.
    Raises InputError for a taken port, a wrong database or credentials that are not those of the data; WaitError if
    it cannot be installed, is running already for this workspace, or does not come up.
    """
    connection = None if database is None else parse_database(database)
    lock = _locked(workspace)
    try:
        check_port(host, port)
        if connection is not None:
            check_database(connection)
        home = install_label_studio(note=note)
        if not is_filled(_data_folder(workspace)):
            tell(note, "Label Studio starts for the first time and builds its database: about a minute")
        server = _launch(home, workspace, lock, host=host, port=port, database=connection)
    except BaseException:
        lock.close()
        raise
    try:
        _wait_until_ready(server, timeout_s)
        _check_account(server, connection)
    except BaseException:
        server.stop()
        raise
    return server


def _launch(
    home: Path, workspace: Path, lock: IO[str], *, host: str, port: int, database: Database | None
) -> LabelStudioServer:
    folder, data = LabelingFolder(workspace), _data_folder(workspace)
    account = read_or_create_account(folder.credentials_file, data_folder=data)
    with storage_errors(folder.server):
        folder.images.mkdir(parents=True, exist_ok=True)
        data.mkdir(mode=0o700, exist_ok=True)
        log = _fresh_log(folder.server / "server.log")
    environment = server_environment(
        folder, account, host=host, data_folder=data.absolute(), database=database, inherited=os.environ
    )
    with log:
        process = subprocess.Popen(
            _command(home, data=data.absolute(), host=host, port=port),
            cwd=data,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone; we stop it
            pass_fds=(lock.fileno(),),  # the workspace stays locked as long as the server lives, even without us
        )
    url = f"http://{DEFAULT_HOST if host == '0.0.0.0' else host}:{port}"
    lock.write(f"process {process.pid}, {url}")
    lock.flush()
    return LabelStudioServer(workspace, url, account, process, lock)


def _data_folder(workspace: Path) -> Path:
    return LabelingFolder(workspace).server / "server"


def _command(home: Path, *, data: Path, host: str, port: int) -> list[str]:
    # Not bin/label-studio: scripts of an environment name the path at which it was built. -I: no foreign packages.
    start = [str(home / "bin" / "python"), "-I", "-u", str(_START), "start", "--no-browser"]
    return [*start, "--data-dir", str(data), "--internal-host", host, "--port", str(port), "--log-level", "INFO"]


def _fresh_log(path: Path) -> IO[bytes]:
    """An empty log that its owner alone can read; the log of the run before is kept as server.previous.log."""
    if path.exists():
        path.replace(path.with_suffix(".previous.log"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _locked(workspace: Path) -> IO[str]:
    """The workspace's lock, which the system frees when the last process that has it open ends, however it ends."""
    file = open_lock(LabelingFolder(workspace).server / ".server.lock")
    if not take(file):
        file.seek(0)
        who = file.read() or "it is just starting"
        file.close()
        raise WaitError(f"{workspace}: its Label Studio is running already ({who}); use that one, or end it")
    file.truncate(0)
    return file


def _wait_until_ready(server: LabelStudioServer, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _get(f"{server.url}/health")[0] != http.HTTPStatus.OK:
        if (status := server.process.poll()) is not None:
            raise _ended(server, status)
        if time.monotonic() > deadline:
            raise WaitError(
                f"{server.url}: Label Studio does not answer after {timeout_s:.0f} s; see {server.log_file}"
            )
        time.sleep(_POLL_S)


def _ended(server: LabelStudioServer, status: int) -> Exception:
    line = last_error(server.log_file)
    if "OperationalError" in line:
        return InputError(f"Label Studio cannot use its database: {line}; see {server.log_file}")
    return WaitError(f"Label Studio ended with status {status} while it was starting: {line}; see {server.log_file}")


def _check_account(server: LabelStudioServer, database: Database | None) -> None:
    """The one that answers must be ours: same account, and our process alive."""
    status, answer = _get(f"{server.url}/api/current-user/whoami", token=server.token)
    if server.process.poll() is not None:
        raise _ended(server, server.process.returncode)
    if status == http.HTTPStatus.OK and answer.get("email") == server.account.email:
        return
    file, where = LabelingFolder(server.workspace).credentials_file, database or _data_folder(server.workspace)
    reason = str(answer.get("detail", "")) or f"status {status}"
    raise InputError(
        f"{file}: its token is not one of the Label Studio at {server.url} ({reason}); the data in {where} was made "
        f"with other credentials, or another program took the port: see {server.log_file}"
    )


def _get(url: str, *, token: str = "") -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an answer; status 0 where none came, {} where it is no JSON object."""
    headers = {"Authorization": f"Token {token}"} if token else {}
    # It is on this machine: no proxy of the environment, and no certificates, which take 18 ms to load.
    client = httpx.Client(timeout=_REQUEST_TIMEOUT_S, trust_env=False, verify=False, follow_redirects=True)
    try:
        with client:
            answer = client.get(url, headers=headers)
    except httpx.HTTPError:
        return 0, {}
    return answer.status_code, _json_object(answer.content)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
