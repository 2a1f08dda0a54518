"""What lies at URLs: how fsspec opens it, what deltalake is told of it, and what goes wrong with it, in one line.

fsspec and deltalake both find credentials in the environment and the files of the vendor's own tools
(`~/.aws/credentials`). What a user set for fsspec (FSSPEC_S3_KEY and the like, or its file of settings) is handed on.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from schemas.errors import InputError

_TABLES_IN = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")  # object stores that deltalake writes to
_EXTRAS = {"a": "az", "g": "gs"}  # by the first letter of the scheme
_WAY_OUT = "check the address, the credentials and the network"
_MAKE_IT = "make the bucket, or correct its name"
_MISSING = re.compile("specified (bucket|container)")
# Of the XML that S3 sends; the rest is a tree of causes, many lines long, with secrets in none of them.
_SAID = re.compile(r"<Message>([^<]*)</Message>")
# What Azure says behind its message.
_REQUEST = re.compile(r"\s*\b(RequestId|ErrorCode):.*", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m|↳")
# deltalake tries for three minutes by itself where nobody answers.
_RETRIES = {"max_retries": "5", "retry_timeout": "30s", "connect_timeout": "10s"}


def is_remote(url: str) -> bool:
    return "://" in url


def has_folders(url: str) -> bool:
    """Whether folders have to be made there. In an object store that would make a bucket of a name misspelt."""
    return _scheme(url) not in _TABLES_IN


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec keeps one file system for all who ask.

    Nothing that was seen is remembered: other processes write there too.
    """
    from fsspec.core import url_to_fs  # only here: it takes 60 ms to import

    return url_to_fs(url, use_listings_cache=False) if not has_folders(url) else url_to_fs(url)


def table_options(url: str) -> dict[str, str] | None:
    """What deltalake is told of the store at a URL, from what fsspec is told; None for a path on this disk.

    On S3 a commit is an object that must not be there yet (`If-None-Match`), so that of two writers one sees that it
    came second, as on a disk. Raises InputError where deltalake keeps no tables.
    """
    if not is_remote(url):
        return None
    scheme = _scheme(url)
    if scheme not in _TABLES_IN:
        raise InputError(f"{url}: tables can lie on a disk of this machine, or at {', '.join(_TABLES_IN[::2])}")
    from fsspec.config import conf

    if scheme.startswith("s3"):
        return _RETRIES | _s3_options(conf.get("s3", {}), os.environ)
    if scheme.startswith("a"):
        return _RETRIES | _azure_options(conf.get("abfs", {}) | conf.get(scheme, {}), os.environ)
    return dict(_RETRIES)


def _s3_options(told: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """told: what a user set for fsspec's `s3`. What is in the environment, deltalake finds by itself."""
    client = told.get("client_kwargs") or {}
    endpoint = told.get("endpoint_url") or client.get("endpoint_url")
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    known = {
        "AWS_ACCESS_KEY_ID": told.get("key"),
        "AWS_SECRET_ACCESS_KEY": told.get("secret"),
        "AWS_SESSION_TOKEN": told.get("token"),
        "AWS_REGION": client.get("region_name")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION"),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if str(endpoint).startswith("http://") else None,
        "aws_conditional_put": "etag",
    }
    return {name: str(value) for name, value in known.items() if value}


def _azure_options(told: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """As `_s3_options`, of Azure: deltalake reads no connection strings, the first thing that Azure's page shows."""
    text = told.get("connection_string") or environment.get("AZURE_STORAGE_CONNECTION_STRING") or ""
    said = dict(part.split("=", 1) for part in str(text).split(";") if "=" in part)
    endpoint = said.get("BlobEndpoint")
    known = {
        "azure_storage_account_name": told.get("account_name") or said.get("AccountName"),
        "azure_storage_account_key": told.get("account_key") or said.get("AccountKey"),
        "azure_storage_sas_token": told.get("sas_token") or said.get("SharedAccessSignature"),
        "azure_storage_client_id": told.get("client_id"),
        "azure_storage_client_secret": told.get("client_secret"),
        "azure_storage_tenant_id": told.get("tenant_id"),
        "azure_storage_endpoint": endpoint,
        "allow_http": "true" if str(endpoint).startswith("http://") else None,
    }
    return {name: str(value) for name, value in known.items() if value}


@contextmanager
def remote_errors(url: str, *, writing: bool = False) -> Iterator[None]:
    """Say in one line what goes wrong at a URL; what is said of a local path passes.

    A file that is not there stays a FileNotFoundError, except where one is written: then the bucket is missing. So does
    what other writers of a table are told.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        missing = _missing_bucket(error)
        if writing or missing:
            raise InputError(f"{url}: {_one_line(missing or error)}; {_MAKE_IT}") from error
        raise
    except Exception as error:
        if not is_remote(url) or not _is_of_the_store(error):
            raise
        way_out = _MAKE_IT if _missing_bucket(error) else _WAY_OUT
        if isinstance(error, ImportError):
            way_out = f"pip install 'sam-data-engine[{_EXTRAS.get(_scheme(url)[:1], 's3')}]' brings what speaks to it"
        raise InputError(f"{url}: cannot be opened: {_one_line(error)}; {way_out}") from error


def _missing_bucket(error: BaseException | None) -> BaseException | None:
    """Of an error and what led to it that which says that the bucket is not there."""
    while error is not None and not _MISSING.search(str(error)):
        error = error.__cause__ or error.__context__
    return error


def _is_of_the_store(error: Exception) -> bool:
    """Errors of the libraries beneath, whose own classes have nothing in common but the module they come from."""
    library = type(error).__module__.partition(".")[0]
    from deltalake.exceptions import CommitFailedError, DeltaError  # only here: it takes long to import

    if isinstance(error, CommitFailedError):
        return False
    known = (OSError, DeltaError, ImportError, ValueError)
    return isinstance(error, known) or library in ("botocore", "aiobotocore", "aiohttp", "gcsfs", "adlfs", "azure")


def _one_line(error: BaseException) -> str:
    text = _COLOUR.sub("", str(error))
    said = _SAID.search(text)
    return " ".join(_REQUEST.sub("", said[1] if said else text).split()).rstrip(".")


def _scheme(url: str) -> str:
    return url.partition("://")[0]
