"""What a local Label Studio is started with: its first account, its database, its environment variables."""

import errno
import ipaddress
import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from engine.files import atomic_file
from engine.labeling.folder import LabelingFolder
from schemas.errors import InputError

_EMAIL = "admin@localhost.localdomain"
_TOKEN_BYTES = 20  # Label Studio takes 40 hexadecimal digits, and silently makes no account with a longer token
_PASSWORD_BYTES = 18
_POSTGRES_PORT = 5432
_DATABASE_FORM = "postgresql://USER:PASSWORD@HOST:PORT/NAME"
_CONNECT_TIMEOUT_S = 5.0
_OWNER_ONLY = 0o600

# Of the user's environment only what programs need to run at all; Label Studio reads names as common as DEBUG and HOST.
_KEPT = (
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
)
_KEPT_PREFIXES = ("DYLD_", "LC_", "LD_", "OPENBLAS_")


@dataclass(frozen=True)
class ServerAccount:
    """The account that the first start of a server makes. Its text shows neither password nor token."""

    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database. Its text shows no password. ssl_mode: as libpq's sslmode, "" for libpq's default."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(default="", repr=False)
    ssl_mode: str = ""

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.name}"


def read_or_create_account(file: Path, *, data_folder: Path) -> ServerAccount:
    """The account in `file`, which its owner alone can read; made at random where no server has run here yet.

    Raises InputError if the file is damaged, or gone although `data_folder` holds the data of a server.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return ServerAccount(*(str(found[name]) for name in ("email", "password", "token")))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: not the e-mail, password and token of a server of this workspace; put back the file that "
            f"belongs to {data_folder}, or delete both and start over"
        ) from error
    if data_folder.is_dir() and any(data_folder.iterdir()):
        raise InputError(
            f"{file}: gone, but {data_folder} holds the data of a server; put the file back, or delete that folder and "
            "start over"
        )
    account = ServerAccount(_EMAIL, secrets.token_urlsafe(_PASSWORD_BYTES), secrets.token_hex(_TOKEN_BYTES))
    with atomic_file(file, mode=_OWNER_ONLY) as opened:
        opened.write(json.dumps(asdict(account), indent=1).encode())
    return account


def parse_database(url: str) -> Database:
    """The database that postgresql://USER:PASSWORD@HOST:PORT/NAME names (port 5432 if none); ?sslmode=... may follow.

    Parts may be percent-encoded. Without a password libpq looks for one in ~/.pgpass.
    Raises InputError, without the password in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _POSTGRES_PORT
    except ValueError as error:
        raise InputError(f"database: not a URL; write {_DATABASE_FORM}") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise InputError(f"database: only PostgreSQL can be named ({_DATABASE_FORM}); leave it out for SQLite")
    name = unquote(parts.path.removeprefix("/"))
    needed = {"user": parts.username, "host": parts.hostname, "name": name}
    if missing := [part for part, value in needed.items() if not value]:
        raise InputError(f"database: the URL has no {missing[0]}; write {_DATABASE_FORM}")
    options = dict(parse_qsl(parts.query))
    ssl_mode = options.pop("sslmode", "")
    if options:
        raise InputError(f"database: unknown option {min(options)!r} in the URL; only sslmode can be given")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Database(parts.hostname or "", port, name, user, password, ssl_mode)


def check_database(database: Database) -> None:
    """Raises InputError if nothing listens where the database should be: Label Studio would wait long, then fail."""
    try:
        socket.create_connection((database.host, database.port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise InputError(f"{database}: cannot connect ({error}); start PostgreSQL or correct the URL") from error


def check_port(host: str, port: int) -> None:
    """Raises InputError if the port is taken: Label Studio itself would silently take the next free one."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            way_out = "choose another port with --port, and name it in engine.yaml too, in labeling.url"
            raise InputError(f"port {port} of {host} is taken by another program; {way_out}") from error
        raise InputError(f"cannot listen at {host}:{port} ({error}); choose another --host or --port") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_environment(
    folder: LabelingFolder,
    account: ServerAccount,
    *,
    host: str,
    data_folder: Path,
    database: Database | None,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of the server. inherited: the user's, of which next to nothing is taken."""
    settings = {
        "BASE_DATA_DIR": str(data_folder),
        "USERNAME": account.email,
        "PASSWORD": account.password,
        "USER_TOKEN": account.token,
        # Read when the first account is made, and only then.
        "ENABLE_LEGACY_API_TOKEN": "true",
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LOCAL_FILES_SERVING_ENABLED": "true",
        "LOCAL_FILES_DOCUMENT_ROOT": str(folder.images.resolve()),
        # The model backend may be on this machine or beside it. Webhooks may go there only where nobody else can set
        # one, since a webhook makes the server send requests to any address.
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false" if is_loopback(host) else "true",
        # Nothing is told to anybody outside.
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        **_database_settings(database),
    }
    kept = {name: value for name, value in inherited.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    # It would keep an identity of the user in their home.
    kept |= {f"XDG_{kind}_HOME": str(data_folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    if database and database.ssl_mode:
        kept["PGSSLMODE"] = database.ssl_mode
    return kept | {f"LABEL_STUDIO_{name}": value for name, value in settings.items()}


def _database_settings(database: Database | None) -> dict[str, str]:
    if database is None:
        return {"DJANGO_DB": "sqlite"}
    return {
        "DJANGO_DB": "default",  # so is PostgreSQL called in Label Studio's settings
        "POSTGRE_HOST": database.host,
        "POSTGRE_PORT": str(database.port),
        "POSTGRE_NAME": database.name,
        "POSTGRE_USER": database.user,
        "POSTGRE_PASSWORD": database.password,
    }
