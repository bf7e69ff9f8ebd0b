"""Findings on a store: reached, read, written, free space; nothing is left in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikestore.store.doctor import store_checks as checks
from spikestore.store.doctor.findings import Finding
from spikestore.store.storage import FolderStorage


def found_in(location: Path | str) -> dict[str, Finding]:
    """Return the findings on a store by subject."""
    return {finding.what: finding for finding in checks.store_checks(str(location))}


def test_a_store_is_read_and_written_and_left_as_it_was(tmp_path: Path) -> None:
    """The object that was written is removed again."""
    found = found_in(tmp_path)
    assert {what: finding.state for what, finding in found.items()} == dict.fromkeys(
        ("read", "write", "free space"), "ok"
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_store_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    """A store is created by the first build, not by the doctor."""
    assert found_in(tmp_path / "a/b")["location"].state == "absent"
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_than_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that returns something else is a problem."""
    monkeypatch.setattr(FolderStorage, "get", lambda self, path: b"else")
    assert found_in(tmp_path)["write"].state == "problem"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """A read-only store can be read; that it can't be written is a problem with a remedy."""
    tmp_path.chmod(0o555)
    try:
        found = found_in(tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert (found["read"].state, found["write"].state) == ("ok", "problem")


def test_a_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket is written and read too; with another secret, reading is a problem."""
    from tests.store.s3_server import BUCKET, variables

    for name, value in variables(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    found = found_in(f"s3://{BUCKET}/doctor")
    assert {what: finding.state for what, finding in found.items()} == {"read": "ok", "write": "ok"}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert found_in(f"s3://{BUCKET}/doctor")["read"].state == "problem"


@pytest.mark.parametrize("location", ["", "s3://", "~nosuchuser/x"])
def test_an_address_that_is_none(location: str) -> None:
    """An invalid address is a problem of the location."""
    found = found_in(location)
    assert found["location"].state == "problem"
    assert found["location"].remedy
