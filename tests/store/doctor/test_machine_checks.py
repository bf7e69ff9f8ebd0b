"""Findings on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikestore.store.doctor import machine_checks as checks


def test_little_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory below the limit is a problem; a system that reports none is not."""
    monkeypatch.setattr(checks, "free_memory_bytes", lambda: checks.LEAST_MEMORY - 1)
    found = {finding.what: finding for finding in checks.machine_checks()}
    assert found["memory"].state == "problem"
    assert found["memory"].remedy
    monkeypatch.setattr(checks, "free_memory_bytes", lambda: None)
    assert {finding.what: finding for finding in checks.machine_checks()}["memory"].state == "absent"


def test_a_cache_folder_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that can't be written is a problem that names the folder; an unknown home is none."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(checks, "user_cache_folder", lambda: tmp_path / "file")
    cache = {finding.what: finding for finding in checks.machine_checks()}["cache"]
    assert cache.state == "problem"
    assert str(tmp_path / "file") in cache.detail
    monkeypatch.setattr(checks, "user_cache_folder", lambda: None)
    assert {finding.what: finding for finding in checks.machine_checks()}["cache"].state == "absent"
