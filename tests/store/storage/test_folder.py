"""Folders that other processes change at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikestore.store.storage import FolderStorage, publishing
from spikestore.store.storage.durable_files import sync_folder
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, StoreError


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


def test_zarr_follows_no_link_without_an_event_loop(tmp_path: Path) -> None:
    """`get_sync` checks links too."""
    (tmp_path / "secret").touch()
    group = tmp_path / "store" / "group"
    group.mkdir(parents=True)
    (group / "inside").write_bytes(b"1")
    (group / "outside").symlink_to(tmp_path / "secret")
    place = FolderStorage(tmp_path / "store").zarr_store("group")
    inside = (place / "inside").get_sync()
    assert inside is not None
    assert inside.to_bytes() == b"1"
    with pytest.raises(DamagedError, match="is a link that leads out of the store"):
        (place / "outside").get_sync()


def test_a_file_in_the_place_of_a_folder_that_a_write_needs(tmp_path: Path) -> None:
    """The error does not say that the object is missing, but what is in the way."""
    storage = FolderStorage(tmp_path)
    (tmp_path / ".tmp").touch()
    with pytest.raises(
        DamagedError, match=r"^\.tmp in .* is not a regular folder: it is a file instead of a folder"
    ):
        storage.put_if_absent("refs/a.json", b"")
    storage = FolderStorage(tmp_path / ".tmp" / "store")
    with pytest.raises(
        StoreError, match=r"^cannot write refs/a\.json in .*: a parent folder of the store is a file"
    ) as raised:
        storage.put_if_absent("refs/a.json", b"")
    assert not isinstance(raised.value, MissingObjectError)
    with pytest.raises(MissingObjectError):
        storage.get("refs/a.json")


def test_an_object_that_is_deleted_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another process deletes the object right after the rename, with its empty folder, the replacement has succeeded."""
    storage, other = FolderStorage(tmp_path), FolderStorage(tmp_path)
    storage.put_if_absent("locks/a.json", b"1")

    def deleted_now(folder: Path) -> None:
        if folder.name == "locks":
            other.delete("locks/a.json")
        sync_folder(folder)

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "sync_folder", deleted_now)
        storage.replace("locks/a.json", b"2")
    assert [*storage.list("locks")] == []
    assert [*storage.list(".tmp")] == []
