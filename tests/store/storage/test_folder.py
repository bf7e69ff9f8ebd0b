"""Folders that other processes change at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikestore.store.storage import FolderStorage


def test_a_folder_that_is_made_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process creates a folder between two checks, the folder is listed, and the put succeeds."""
    exists = os.path.lexists

    def made_now(path: Path) -> bool:
        path.mkdir(exist_ok=True)
        return exists(path)

    monkeypatch.setattr(os.path, "lexists", made_now)
    storage = FolderStorage(tmp_path)
    assert [*storage.list("features")] == []
    assert storage.folders("refs") == []
