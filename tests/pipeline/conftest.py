"""Fixtures: a cache folder for each test, and a list of the files that were hashed because the cache did not have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.hashed_sources import count_reads


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return where hashes are kept."""
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of files that are hashed from here on."""
    return count_reads(monkeypatch)
