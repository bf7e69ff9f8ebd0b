"""Credentials come from the environment and from profiles, and never appear in a message or a document."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store.s3_server import variables
from tests.store.tiny_s3 import tiny_s3

from spikestore.store import Store
from spikestore.store.cli.console import say
from spikestore.store.storage import open_storage
from spikestore.store.storage.aws_profiles import profile_options
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store_schemas.errors import StoreError, UsageError
from spikestore.store_schemas.redaction import redacted

CREDENTIALS = """
[default]
aws_access_key_id = AKDEFAULT
aws_secret_access_key = secret-default
[lab]
aws_access_key_id = AKLAB
aws_secret_access_key = secret%lab
aws_session_token = token
"""
CONFIG = """
[default]
region = eu-west-1
[profile lab]
region = us-east-2
endpoint_url = http://lab:9000
[profile sso]
sso_session = company
region = eu-north-1
endpoint_url = http://sso:9000
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return an environment that names two files with profiles."""
    (tmp_path / "credentials").write_text(CREDENTIALS)
    (tmp_path / "config").write_text(CONFIG)
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }


def test_profiles(home: dict[str, str]) -> None:
    """The default profile, a named one, and variables of the environment, which take precedence over both."""
    assert profile_options(home) == {
        "access_key_id": "AKDEFAULT",
        "secret_access_key": "secret-default",
        "region": "eu-west-1",
    }
    lab = {
        "access_key_id": "AKLAB",
        "secret_access_key": "secret%lab",
        "session_token": "token",
        "region": "us-east-2",
        "endpoint": "http://lab:9000",
    }
    assert profile_options({**home, "AWS_PROFILE": "lab"}) == lab
    given = {**home, "AWS_PROFILE": "lab", "AWS_REGION": "x", "AWS_ENDPOINT_URL": "http://y"}
    assert profile_options(given) == {k: v for k, v in lab.items() if k not in {"region", "endpoint"}}
    for keys in ("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"):
        assert profile_options({**home, keys: "x"}) == {"region": "eu-west-1"}


def test_no_profiles(tmp_path: Path) -> None:
    """Missing files are no error, unless a profile was requested."""
    nowhere = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "a"),
        "AWS_CONFIG_FILE": str(tmp_path / "b"),
    }
    assert profile_options(nowhere) == {}
    with pytest.raises(UsageError, match="no AWS profile 'lab'"):
        profile_options({**nowhere, "AWS_PROFILE": "lab"})


def test_profiles_that_need_tools(home: dict[str, str]) -> None:
    """The error has the command that helps."""
    with pytest.raises(UsageError, match="export-credentials --profile sso"):
        profile_options({**home, "AWS_PROFILE": "sso"})
    exported = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found = profile_options({**home, "AWS_PROFILE": "sso", **exported})
    assert found == {"region": "eu-north-1", "endpoint": "http://sso:9000"}


def test_a_broken_file_is_not_quoted(home: dict[str, str]) -> None:
    """A parser's message would quote the line, which may contain a key."""
    path = Path(home["AWS_SHARED_CREDENTIALS_FILE"])
    path.write_text("[default]\nsecret-without-a-name\n")
    with pytest.raises(UsageError, match="cannot be read as an AWS configuration") as caught:
        profile_options(home)
    assert profile_options({**home, "AWS_ACCESS_KEY_ID": "k"}) == {}  # the profile is not needed
    assert "secret-without" not in f"{caught.value} {caught.value.__cause__} {caught.value.details}"


def test_a_profile_opens_a_bucket(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options reach obstore."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**home, "AWS_PROFILE": "lab"}.items():
        monkeypatch.setenv(name, value)
    config = dict(open_storage("s3://bucket/prefix")._store.config)  # type: ignore[attr-defined]
    assert config["access_key_id"] == "AKLAB"
    assert config["endpoint"] == "http://lab:9000"


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error does not look like a fault of the network, and following its advice works; also with half of a key."""
    with tiny_s3(honours=True) as server:
        nowhere = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "a"), "AWS_CONFIG_FILE": str(tmp_path / "b")}
        # A machine outside a cloud has no metadata service; nothing listens at this port.
        for name, value in {**nowhere, "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}.items():
            monkeypatch.setenv(name, value)
        for name, value in variables(server.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(
            StoreError, match="cannot list refs in s3://store/x: there are no credentials: set AWS_ACCESS"
        ):
            Store("s3://store/x").names()
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        assert Store("s3://store/x").names() == []
        monkeypatch.delenv("AWS_SKIP_SIGNATURE")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
        with pytest.raises(StoreError, match="one is missing: set both AWS_ACCESS_KEY_ID and AWS_SECRET"):
            Store("s3://store/x").names()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        assert Store("s3://store/x").names() == []


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (400, "<Error><Code>ExpiredToken</Code></Error>", "expired: get new ones"),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", "set AWS_REGION to its region"),
        (
            400,
            "<Error><Message>the region 'a' is wrong; expecting 'b'</Message></Error>",
            "set AWS_REGION to",
        ),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", "clock of this machine is wrong"),
    ],
)
def test_rejections_by_a_server_have_advice(status: int, body: str, advice: str) -> None:
    """The advice is one line, and after the cause is fixed the same store answers."""
    with tiny_s3(honours=True) as server:
        storage = ObjectStorage.from_url("s3://store/x", **server.options())
        server.refusal = status, f'<?xml version="1.0"?>{body}'.encode()
        for ask in (Store(storage).names, lambda: storage.get("refs/a/00000001.json")):
            with pytest.raises(StoreError, match=f"in s3://store/x: the .*{advice}") as caught:
                ask()
            assert "\n" not in str(caught.value)
        server.refusal = None
        assert Store(storage).names() == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:hidden@bucket/prefix",
        "s3://hidden@bucket/prefix",
        "s3://bucket/prefix?X-Amz-Signature=hidden",
        "s3://bucket/prefix#hidden",
        "gs://hidden@bucket/prefix",
        "abfss://user:hidden@account.dfs.core.windows.net/x",
    ],
)
def test_urls_with_credentials_are_refused(url: str) -> None:
    """They are rejected, and not repeated in the message."""
    with pytest.raises(UsageError, match="must not contain a user, a password or a query") as caught:
        Store(url)
    assert "hidden" not in f"{caught.value} {caught.value.details}"
    assert "AKIAKEY" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET http://u:p@h:9/x failed", "GET http://***@h:9/x failed"),
        ("https://token@h/x?y=1", "https://***@h/x?y=1"),
        ("http://u:p@q@h/a and http://v@i", "http://***@h/a and http://***@i"),
        (
            "http://h/a?X-Amz-Credential=AK%2F1&X-Amz-Signature=ab12&list-type=2",
            "http://h/a?X-Amz-Credential=***&X-Amz-Signature=***&list-type=2",
        ),
        ("https://h/c?sv=1&sig=abc%3D&se=2", "https://h/c?sv=1&sig=***&se=2"),
        ("mail me@example.org about s3://bucket/a@b", "mail me@example.org about s3://bucket/a@b"),
        ("no URL: key=value", "no URL: key=value"),
    ],
)
def test_redacted(text: str, expected: str) -> None:
    """Users, passwords, signatures and tokens are removed; everything else stays."""
    assert redacted(text) == expected


def test_errors_and_lines_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    """All errors and log lines are redacted, whatever code raises or logs them."""
    error = StoreError("can't reach http://me:hidden@host/x")
    assert str(error) == "can't reach http://***@host/x"
    assert error.args == ("can't reach http://***@host/x",)
    say("again http://me:hidden@host/x")
    assert capsys.readouterr().err == "again http://***@host/x\n"
