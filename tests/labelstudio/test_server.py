"""A local Label Studio: accounts, secrets, the ports and databases it takes, and that it ends with nothing left."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.labeling.folder import LabelingFolder
from engine.labeling.installation import HOME_VARIABLE, LABEL_STUDIO_VERSION
from engine.labeling.server import LabelStudioServer, running_server, start_server
from engine.labeling.server_settings import (
    Database,
    ServerAccount,
    parse_database,
    read_or_create_account,
    server_environment,
)
from schemas.errors import InputError, WaitError
from tests.labelstudio.local_server import ROOT, one_line, wait_until
from tests.labelstudio.ports import free_port, is_free

ACCOUNT = ServerAccount("a@b.example", "the password", "f" * 40)


@pytest.fixture
def workspace(label_studio_template: Path, tmp_path: Path) -> Path:
    """One whose server was started before."""
    shutil.copytree(label_studio_template, tmp_path / "workspace" / "label_studio")
    return tmp_path / "workspace"


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that something else listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def get(server: LabelStudioServer, path: str, *, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Token {token or server.token}"}
    return httpx.get(f"{server.url}{path}", headers=headers, timeout=60, trust_env=False)


# Without a server


def test_an_account_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "label_studio" / "credentials.json"
    made = read_or_create_account(file, data_folder=tmp_path / "data")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(made.token)) == 20
    assert read_or_create_account(file, data_folder=tmp_path / "data") == made
    assert made.token not in repr(made)
    assert made.password not in repr(made)
    assert LabelingFolder(tmp_path).credentials("http://127.0.0.1:1").token == made.token
    assert [path.name for path in file.parent.iterdir()] == [file.name], "no other file holds it"


def test_every_workspace_has_secrets_of_its_own(tmp_path: Path) -> None:
    made = [read_or_create_account(tmp_path / name, data_folder=tmp_path / "data") for name in "ab"]
    assert made[0].token != made[1].token
    assert made[0].password != made[1].password


def test_lost_and_damaged_credentials_are_named(tmp_path: Path) -> None:
    data, file = tmp_path / "server", tmp_path / "credentials.json"
    data.mkdir()
    (data / "label_studio.sqlite3").touch()
    with pytest.raises(InputError, match="gone") as error:
        read_or_create_account(file, data_folder=data)
    assert str(file) in one_line(error)
    assert not file.exists()
    for damaged in ('{"token": "t"}', "[]", "{", '"text"'):
        file.write_text(damaged)
        with pytest.raises(InputError, match="put back") as error:
            read_or_create_account(file, data_folder=data)
        assert str(file) in one_line(error)


def test_a_database_url_is_taken_apart() -> None:
    assert parse_database("postgresql://me:p%40ss%2F%3A@db.example:6000/labels?sslmode=require") == Database(
        "db.example", 6000, "labels", "me", "p@ss/:", "require"
    )
    plain = parse_database("postgres://me@db.example/labels")
    assert plain == Database("db.example", 5432, "labels", "me")
    assert str(plain) == "postgresql://me@db.example:5432/labels"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://me:secret@h/d", "only PostgreSQL"),
        ("labels.sqlite3", "only PostgreSQL"),
        ("postgresql://me:secret@h", "no name"),
        ("postgresql://:secret@h/d", "no user"),
        ("postgresql://me:secret@/d", "no host"),
        ("postgresql://me:secret@h:port/d", "not a URL"),
        ("postgresql://me:secret@[h/d", "not a URL"),
        ("postgresql://me:secret@h/d?option=1", "unknown option 'option'"),
    ],
)
def test_a_wrong_database_url_is_refused_without_its_password(url: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as error:
        parse_database(url)
    assert "secret" not in one_line(error)


def environment(host: str = "127.0.0.1", database: Database | None = None, **inherited: str) -> dict[str, str]:
    folder = LabelingFolder(Path("/workspace"))
    return server_environment(
        folder, ACCOUNT, host=host, data_folder=Path("/data"), database=database, inherited=inherited
    )


def test_nothing_of_the_users_environment_leaks_into_the_server() -> None:
    found = environment(
        PYTHONPATH="x",
        VIRTUAL_ENV="x",
        DEBUG="1",
        HOST="x",
        CI="true",
        LABEL_STUDIO_DEBUG="1",
        HOME="/home/me",
        LANG="C",
    )
    ours = {name for name in found if name.startswith(("LABEL_STUDIO_", "XDG_"))}
    assert found.keys() - ours == {"HOME", "LANG"}
    assert "LABEL_STUDIO_DEBUG" not in found
    assert found["HOME"] == "/home/me"


def test_webhooks_may_go_to_this_machine_only_where_nobody_else_can_set_one() -> None:
    for host, protected in {"127.0.0.1": "false", "localhost": "false", "0.0.0.0": "true", "10.1.2.3": "true"}.items():
        assert environment(host)["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == protected


def test_the_database_reaches_the_server() -> None:
    assert environment()["LABEL_STUDIO_DJANGO_DB"] == "sqlite"
    found = environment(database=Database("h", 6000, "labels", "me", "secret", "require"))
    assert {name.removeprefix("LABEL_STUDIO_"): value for name, value in found.items() if "POSTGRE" in name} == {
        "POSTGRE_HOST": "h",
        "POSTGRE_PORT": "6000",
        "POSTGRE_NAME": "labels",
        "POSTGRE_USER": "me",
        "POSTGRE_PASSWORD": "secret",
    }
    assert found["PGSSLMODE"] == "require"


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path, listening: int) -> None:
    with pytest.raises(InputError, match=f"port {listening} .* taken .* --port") as error:
        start_server(tmp_path, port=listening)
    one_line(error)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 8080), ("127.0.0.1", 70000), ("no such host", 8080)])
def test_an_impossible_address_is_named(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(InputError, match=f"cannot listen at {host}:{port}") as error:
        start_server(tmp_path, host=host, port=port)
    one_line(error)


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/labels"
    with pytest.raises(InputError, match="cannot connect") as error:
        start_server(tmp_path, port=free_port(), database=url)
    assert "secret" not in one_line(error)


def test_a_server_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    stubborn = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.fork(); os.write(1, b'.'); time.sleep(20)"
    )
    command = [sys.executable, "-c", stubborn]
    with (
        open(tmp_path / "lock", "w") as lock,
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(2) == b"..", "both are there"
        LabelStudioServer(tmp_path, "http://127.0.0.1:1", ACCOUNT, process, lock).stop(timeout_s=0.1)
        assert process.returncode == -signal.SIGKILL
        assert process.stdout.read() == b"", "the child has ended too"
        assert lock.closed


# With a server


@pytest.mark.labelstudio
def test_the_server_answers_to_the_workspace_s_token_alone(label_studio: LabelStudioServer) -> None:
    assert get(label_studio, "/health").json() == {"status": "UP"}
    assert get(label_studio, "/api/current-user/whoami").json()["email"] == label_studio.account.email
    assert get(label_studio, "/api/version").json()["release"] == LABEL_STUDIO_VERSION
    assert get(label_studio, "/api/current-user/whoami", token="0" * 40).status_code == 401


@pytest.mark.labelstudio
def test_nobody_else_can_read_what_the_server_keeps(label_studio: LabelStudioServer) -> None:
    folder = LabelingFolder(label_studio.workspace)
    for path, mode in {
        folder.credentials_file: 0o600,
        label_studio.log_file: 0o600,
        folder.server / "server": 0o700,
    }.items():
        assert stat.S_IMODE(path.stat().st_mode) == mode
    log = label_studio.log_file.read_text()
    assert label_studio.url.rpartition(":")[2] in log, "it is the log of this server"
    assert label_studio.token not in log
    assert label_studio.account.password not in log


@pytest.mark.labelstudio
def test_a_workspace_has_one_server(label_studio: LabelStudioServer) -> None:
    with pytest.raises(WaitError, match=f"running already .*{label_studio.process.pid}.*{label_studio.url}") as error:
        start_server(label_studio.workspace, port=free_port())
    one_line(error)
    assert get(label_studio, "/health").status_code == 200, "the one that runs goes on"


@pytest.mark.labelstudio
def test_credentials_of_other_data_are_told(workspace: Path) -> None:
    file = LabelingFolder(workspace).credentials_file
    file.write_text(json.dumps(json.loads(file.read_text()) | {"token": "0" * 40}))
    port = free_port()
    with pytest.raises(InputError, match="made with other credentials") as error:
        start_server(workspace, port=port)
    assert str(file) in one_line(error)
    assert is_free(port), "nothing is left running"


@pytest.mark.labelstudio
def test_a_server_that_cannot_start_says_why(workspace: Path) -> None:
    database = workspace / "label_studio" / "server" / "label_studio.sqlite3"
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(WaitError, match="file is not a database") as error:
        start_server(workspace, port=free_port())
    assert "server.log" in one_line(error)


@pytest.mark.labelstudio
def test_stopping_leaves_no_process_and_starting_again_finds_everything(
    label_studio_home: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(label_studio_home))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    port = free_port()
    with running_server(workspace, port=port) as server:
        created = httpx.post(
            f"{server.url}/api/projects",
            json={"title": "kept"},
            headers={"Authorization": f"Token {server.token}"},
            timeout=60,
            trust_env=False,
        )
        assert created.status_code == 201
        group = server.process.pid
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert is_free(port)
    with running_server(workspace, port=port) as again:
        assert [project["title"] for project in get(again, "/api/projects").json()["results"]] == ["kept"]
        assert again.token == server.token
    assert (server.log_file.with_suffix(".previous.log")).is_file()
    assert not (tmp_path / "home").exists(), "it keeps nothing elsewhere"


SERVE = """
    import signal, sys
    from pathlib import Path
    from engine.labeling.server import serve_forever
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs behind them without it
    serve_forever(Path(sys.argv[1]), port=int(sys.argv[2]), ready=lambda server: print(server.process.pid, flush=True))
    print("stopped")
"""


@pytest.mark.labelstudio
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_its_server_with_itself(workspace: Path, how: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-c", textwrap.dedent(SERVE), str(workspace), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        group = int(serving.stdout.readline())
        serving.send_signal(how)
        assert serving.stdout.read() == "stopped\n"
    assert serving.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert is_free(port)


@pytest.mark.labelstudio
def test_a_server_outlives_a_killed_command_and_is_found(workspace: Path, listening: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SERVE), str(workspace), str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        left = int(serving.stdout.readline())
        serving.kill()
    try:
        with pytest.raises(WaitError, match=f"process {left}"):
            start_server(workspace, port=free_port())
    finally:
        os.killpg(left, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{left}").exists())
    with pytest.raises(InputError, match="port"):  # no longer that it runs already
        start_server(workspace, port=listening)


@pytest.mark.labelstudio
def test_a_team_s_server_keeps_its_data_in_postgres(label_studio_on_postgres: LabelStudioServer) -> None:
    assert get(label_studio_on_postgres, "/api/current-user/whoami").status_code == 200
    data = LabelingFolder(label_studio_on_postgres.workspace).server / "server"
    assert not list(data.glob("*.sqlite3"))


@pytest.mark.labelstudio
def test_a_wrong_postgres_password_is_told_and_not_shown(
    label_studio_home: Path, postgres: str, tmp_path: Path
) -> None:
    right = parse_database(postgres)
    wrong = f"postgresql://{right.user}:sesame@{right.host}:{right.port}/{right.name}"
    with pytest.raises(InputError, match="password authentication failed") as error:
        start_server(tmp_path, port=free_port(), database=wrong)
    assert "sesame" not in one_line(error)


@pytest.mark.labelstudio
def test_another_workspace_s_postgres_is_told(
    label_studio_on_postgres: LabelStudioServer, postgres: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="made with other credentials") as error:
        start_server(tmp_path, port=free_port(), database=postgres)
    assert str(parse_database(postgres)) in one_line(error)
