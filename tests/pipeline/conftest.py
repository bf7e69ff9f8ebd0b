"""Fixtures: a cache folder and compiled code for each test, and a list of the files that were hashed because no cache had them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.hashed_sources import count_reads

from spikestore.pipeline.readers import event_block


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use compiled code as for many events: tests have few, and most of them test the compiled code."""
    monkeypatch.setattr(event_block, "FEW_EVENTS", 0)


@pytest.fixture
def few_events(_compiled_code: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the code for few events."""
    monkeypatch.setattr(event_block, "FEW_EVENTS", 10**6)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the folder of the hash cache."""
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the names of the files that are hashed from here on."""
    return count_reads(monkeypatch)
