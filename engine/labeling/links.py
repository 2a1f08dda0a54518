"""Addresses of the pictures that annotators see, and who may ask for them.

Either Label Studio reads them from a folder that it shares with the workspace, or the model backend hands them to
whoever has a link that is signed and has not expired: then Label Studio may run on another machine.
"""

import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from engine.labeling.files import LOCAL_FILES, relative_path
from engine.labeling.folder import LabelingFolder
from engine.labeling.secret import read_or_make_secret
from schemas.config import LabelingConfig
from schemas.errors import InputError

ROUTE = "/pictures/"
_DAY_S = 86_400


@dataclass(frozen=True)
class PictureLinks:
    """base: address of the model backend as browsers reach it, "" where Label Studio reads the pictures itself.

    days: that a link is good for.
    """

    base: str = ""
    secret: bytes = b""
    days: float = 30.0

    def __repr__(self) -> str:
        return f"PictureLinks(base={self.base!r}, secret=..., days={self.days})"

    def url(self, path: str) -> str:
        """The address of a picture. path: below the folder of pictures."""
        if not self.base:
            return f"{LOCAL_FILES}?d={path}"
        expires = int(time.time() + self.days * _DAY_S)
        signature = self._signature(path, str(expires))
        return f"{self.base}{ROUTE}{quote(path)}?expires={expires}&signature={signature}"

    def is_good(self, url: object) -> bool:
        """Whether an address that is in use still serves: of the right kind, and less than half of its time gone."""
        if not self.base:
            return str(url).startswith(LOCAL_FILES)
        try:
            self.path(url)
        except InputError:
            return False
        return str(url).startswith(f"{self.base}{ROUTE}") and _expires(str(url)) > time.time() + self.days * _DAY_S / 2

    def path(self, url: object) -> str:
        """The picture that an address of either kind means, expired or not; it may still lead out of the folder.

        Raises InputError for an address of another kind, or one that this workspace did not sign.
        """
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or not (self.secret and parts.path.startswith(ROUTE)):
            return relative_path(url)
        path, given = unquote(parts.path.removeprefix(ROUTE)), parse_qs(parts.query)
        signature = self._signature(path, given.get("expires", [""])[0])
        if not hmac.compare_digest(signature.encode(), given.get("signature", [""])[0].encode()):
            raise InputError("this link to a picture was not signed by this workspace")
        return path

    def check_time(self, url: str) -> None:
        """Raises InputError for a link that has expired."""
        if _expires(url) < time.time():
            raise InputError(
                "this link to a picture has expired; sam-engine labeling sync puts a new one into its task"
            )

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self.secret, f"{expires} {path}".encode(), hashlib.sha256).hexdigest()


def picture_links(folder: LabelingFolder, config: LabelingConfig) -> PictureLinks:
    """Those that the settings ask for; the secret is made where there is none. Raises InputError if it is damaged."""
    if config.pictures_url is None:
        return PictureLinks()
    remedy = "delete it, and sam-engine labeling sync makes all links anew"
    secret = read_or_make_secret(folder.server / "pictures.key", remedy=remedy)
    return PictureLinks(config.pictures_url, secret, config.links_days)


def _expires(url: str) -> float:
    """0 where it does not say."""
    text = parse_qs(urlsplit(url).query).get("expires", [""])[0]
    return float(text) if text.isascii() and text.isdigit() else 0.0
