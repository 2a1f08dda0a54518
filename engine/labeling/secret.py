"""Secrets of a workspace: made at random by whoever needs one first, each in a file that its owner alone can read."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

from engine.files import atomic_file, make_folder, open_lock, take
from engine.labeling.folder import LabelingFolder
from schemas.errors import InputError

_SECRET_BYTES = 32
_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class BackendLogin:
    """What whoever asks the model backend shows it, in HTTP Basic; no text about this object shows the password.

    user: tells one password from another, so that it is seen where Label Studio has an old one, which it never shows.
    """

    user: str
    password: str

    def __repr__(self) -> str:
        return f"BackendLogin(user={self.user!r}, password=...)"

    @property
    def header(self) -> str:
        """The value of `Authorization`."""
        return _basic(self.user, self.password)

    @property
    def webhook_header(self) -> str:
        """The same for webhooks alone: Label Studio shows the headers of a webhook to every account."""
        return _basic(self.user, hmac.new(self.password.encode(), b"webhook", hashlib.sha256).hexdigest())


def backend_login(folder: LabelingFolder) -> BackendLogin:
    """The workspace's own. Raises InputError where its file is damaged."""
    remedy = "delete it, start sam-engine labeling serve anew, and run: sam-engine labeling setup"
    password = read_or_make_secret(folder.server / "backend.key", remedy=remedy).hex()
    return BackendLogin(f"sam-engine-{hashlib.sha256(password.encode()).hexdigest()[:8]}", password)


def read_or_make_secret(file: Path, *, remedy: str) -> bytes:
    """32 bytes, the same for all processes, whichever of them makes them.

    Raises InputError, with the remedy, where the file is damaged.
    """
    make_folder(file.parent)
    with open_lock(file.with_name(f".{file.stem}.lock")) as lock:
        take(lock, wait=True)
        if not file.exists():
            with atomic_file(file, mode=_OWNER_ONLY) as opened:
                opened.write(secrets.token_hex(_SECRET_BYTES).encode())
    try:
        found = bytes.fromhex(file.read_text(encoding="ascii"))
    except ValueError:
        found = b""
    if len(found) != _SECRET_BYTES:
        raise InputError(f"{file}: damaged; {remedy}")
    return found


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
