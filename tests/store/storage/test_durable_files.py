"""Files outside a store that are replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikestore.store.storage.durable_files import replacing


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    """The former file stays until the new one is complete; on request, the new one is on the disk before it gets its name."""
    path, synced = tmp_path / "lock.json", []
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(path.read_text()))
    with replacing(path, sync=sync) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert synced == (["old"] if sync else [])
    assert [*tmp_path.iterdir()] == [path]


def test_after_an_error_the_former_file_stays(tmp_path: Path) -> None:
    """No other file is left; the error is raised to the caller."""
    path = tmp_path / "lock.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert [*tmp_path.iterdir()] == [path]
