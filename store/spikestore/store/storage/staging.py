"""Objects that reach a folder's disk together.

One object after the other waits for the disk twice, for its bytes and for its name. Together they wait about twice in
all: once the first file is synced, the journal of the file system holds the others too, and so with their folders. The
order is that of `durable_files`: all bytes are on the disk before any name is given, all names before `publish` returns.
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
    """Some objects on their way into a folder; a context, which removes what did not get its name.

    Parameters
    ----------
    storage : FolderStorage
        Where they go.
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
        """Write an object without its name; by any thread, one object each, all of which end before `publish`.

        Parameters
        ----------
        path : str
            Its path in the store.
        pieces : iterable of bytes or memoryview
            All of it, in order. What it raises is raised here, and the object is left out.
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
            _discard(staged)  # somebody gave up on all of it, and did not wait

    def publish(self) -> list[str]:
        """Give all objects their names; when this returns, all of them are on the disk.

        Returns
        -------
        list of str
            Paths that were taken: what is there was left as it is.
        """
        storage, taken, folders = self._storage, list[str](), dict[Path, str]()
        while self._open:
            staged = self._open.pop()
            self._written.append(staged)
            with clear_errors(storage.url, staged.path, "write"):
                sync_and_close(staged.handle)
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
    """Write objects unless there are some of these names; together where the storage is a folder.

    Returns
    -------
    list of str
        Paths that were taken: what is there was left as it is.
    """
    if not isinstance(storage, FolderStorage):
        return [path for path, data in objects.items() if not storage.put_if_absent(path, data)]
    with Staging(storage) as staging:
        for path, data in objects.items():
            staging.write(path, (data,))
        return staging.publish()


def _discard(staged: _Staged) -> None:
    with contextlib.suppress(OSError):  # what went wrong before is what matters
        os.close(staged.handle)
    _unlink(staged.temporary)


def _unlink(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
