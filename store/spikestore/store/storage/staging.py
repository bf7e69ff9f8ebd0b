"""Several objects that are written and fsynced together.

A single object needs two fsyncs: one for its bytes, and one for its name. Many objects together take about the time of two fsyncs:
once the first file is synced, the file system's journal contains the other files too, and likewise for the folders of the files.
The steps have the same order as in `durable_files`: all bytes are on disk before any file gets its name, and all names are on disk
before `publish` returns.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from spikestore.store.storage.durable_files import name_if_free, sync_and_close, sync_folder, write_pieces
from spikestore.store.storage.folder import FolderStorage
from spikestore.store.storage.folder_errors import clear_errors
from spikestore.store.storage.protocol import Storage


class _Staged(NamedTuple):
    path: str
    target: Path
    temporary: Path
    handle: int


class Staging:
    """Writes several objects into temporary files; `publish` gives the files their names. The end of the ``with`` block removes files that were not published.

    Parameters
    ----------
    storage : FolderStorage
        The destination.
    """

    def __init__(self, storage: FolderStorage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._open: list[_Staged] = []
        self._written: list[_Staged] = []
        self._closed = False

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
        for staged in self._open:
            _discard(staged)
        for staged in self._written:
            _unlink(staged.temporary)

    def write(self, path: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write an object's content to a temporary file; `publish` gives the object its name.

        Several threads may call this method at once, but all calls must return before `publish`.

        Parameters
        ----------
        path : str
            Path of the object in the store.
        pieces : iterable of bytes or memoryview
            The content, in order. If the iterable raises an error, the object is discarded, and the error is raised again.
        """
        storage = self._storage
        with clear_errors(storage.url, path, "write"):
            staged = _Staged(path, storage.place(path), *storage.publisher.temporary())
            try:
                write_pieces(staged.handle, pieces)
            except BaseException:
                _discard(staged)
                raise
            with self._lock:
                if not self._closed:
                    self._open.append(staged)
                    return
            _discard(staged)  # the context was left meanwhile

    def publish(self) -> list[str]:
        """Give all objects their names; when this method returns, objects and names are on disk.

        Returns
        -------
        list of str
            Paths that existed already; their objects are unchanged.
        """
        storage, taken, folders = self._storage, list[str](), dict[Path, str]()
        while self._open:
            staged = self._open.pop()
            self._written.append(staged)
            with clear_errors(storage.url, staged.path, "write"):
                sync_and_close(staged.handle)
        if self._written:
            with clear_errors(storage.url, self._written[0].path, "write"):
                storage.publisher.make_folders(staged.target.parent for staged in self._written)
        for staged in self._written:
            with clear_errors(storage.url, staged.path, "write"):
                if not storage.publisher.give_name(staged.temporary, staged.target, name_if_free, sync=False):
                    taken.append(staged.path)
                folders[staged.target.parent] = staged.path
        for folder, path in folders.items():
            with clear_errors(storage.url, path, "write"):
                sync_folder(folder)
        return taken


def put_together(storage: Storage, objects: Mapping[str, bytes]) -> list[str]:
    """Write objects unless they exist; in a folder, fsync them together.

    Returns
    -------
    list of str
        Paths that existed already; their objects are unchanged.
    """
    if not isinstance(storage, FolderStorage):
        return [path for path, data in objects.items() if not storage.put_if_absent(path, data)]
    with Staging(storage) as staging:
        for path, data in objects.items():
            staging.write(path, (data,))
        return staging.publish()


def _discard(staged: _Staged) -> None:
    with contextlib.suppress(OSError):  # an earlier error takes precedence
        os.close(staged.handle)
    _unlink(staged.temporary)


def _unlink(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
