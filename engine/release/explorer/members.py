"""Where the files in a tar lie, so that one of them can be read without the others."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from engine.places import Place
from schemas.errors import InputError

_KEPT = 64  # tars whose members are known; a thousand pictures take 300 kB
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Member:
    """Bytes of a tar, from `offset` on."""

    offset: int
    size: int


class Tars:
    """Reads single members of the tars in a folder; safe to be asked by several threads."""

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        self._members = lru_cache(maxsize=_KEPT)(self._list)

    def read(self, tar: str, member: str) -> bytes:
        """The bytes of a member. Raises InputError where the tar has none of this name, or is cut off or damaged."""
        path = self._folder / tar
        found = self._members(tar).get(member)
        if found is None:
            raise InputError(f"{path}: {member} is not in it{self._remedy}")
        try:
            with path.opened() as file:
                file.seek(found.offset)
                data = file.read(found.size)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}{self._remedy}") from error
        if len(data) != found.size:
            raise InputError(f"{path}: cut off in {member}{self._remedy}")
        return data

    def _list(self, tar: str) -> dict[str, Member]:
        path = self._folder / tar
        try:
            with path.opened() as file:
                return dict(_members(file))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}{self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f"; see what is damaged with: sam-engine release verify {self._folder}"


def _members(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    """From the headers alone: releases hold plain files in the ustar form."""
    at = 0
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        try:
            header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.TarError:  # its end, or a damaged one's: what stands before can be looked at all the same
            return
        if header.isreg():
            yield header.name, Member(at + _BLOCK, header.size)
        at += _BLOCK + (header.size + _BLOCK - 1) // _BLOCK * _BLOCK
