"""What deltalake is told of stores at URLs, and how their errors are said."""

import pytest

from engine.remote import remote_errors, table_options
from schemas.errors import InputError

ACCOUNT = {"azure_storage_account_name": "ann", "azure_storage_account_key": "a2V5=="}


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """What a user set for fsspec: nothing."""
    conf: dict[str, dict[str, object]] = {}
    monkeypatch.setattr("fsspec.config.conf", conf)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    return conf


def azure() -> dict[str, str]:
    options = table_options("az://container/w")
    assert options is not None
    return {name: value for name, value in options.items() if "retr" not in name and "timeout" not in name}


def test_a_connection_string_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "DefaultEndpointsProtocol=https;AccountName=ann;AccountKey=a2V5==;EndpointSuffix=core.windows.net"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert azure() == ACCOUNT
    text = "BlobEndpoint=http://127.0.0.1:1/ann;SharedAccessSignature=sv=2022&sig=x"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert azure() == {
        "azure_storage_sas_token": "sv=2022&sig=x",
        "azure_storage_endpoint": "http://127.0.0.1:1/ann",
        "allow_http": "true",
    }


def test_what_fsspec_is_told_of_azure_is_handed_on(told: dict[str, dict[str, object]]) -> None:
    assert azure() == {}, "what is in the environment, deltalake finds by itself"
    told["abfs"] = {"account_name": "ann", "account_key": "a2V5=="}
    assert azure() == ACCOUNT
    told["az"] = {"account_name": "ben"}
    assert azure() == ACCOUNT | {"azure_storage_account_name": "ben"}


def test_a_bucket_that_is_missing_is_told_whoever_says_so() -> None:
    missing = FileNotFoundError("c/w/engine.yaml")
    with pytest.raises(FileNotFoundError), remote_errors("az://c/w"):
        raise missing
    missing.__context__ = OSError("The specified container does not exist.\nRequestId:1a\nTime:2026-01-01")
    said = "^az://c/w: The specified container does not exist; make the bucket, or correct its name$"
    with pytest.raises(InputError, match=said), remote_errors("az://c/w"):
        raise missing


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("az", "az"), ("abfs", "az"), ("gs", "gs"), ("gcs", "gs")])
def test_the_extra_that_is_missing_is_named(scheme: str, extra: str) -> None:
    with (
        pytest.raises(InputError, match=rf"pip install 'sam-data-engine\[{extra}\]'"),
        remote_errors(f"{scheme}://b/w"),
    ):
        raise ImportError("no module")
