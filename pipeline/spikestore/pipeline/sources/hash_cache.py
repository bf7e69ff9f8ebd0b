"""A local cache of file hashes. It saves time and never changes a result.

A small JSON document, named after the hash of a path, holds the hash of one file. For a split with many files, one document
holds the hashes of all files instead (`HashCache.table`). A cached hash is used only if the file still has the size, mtime, ctime and inode of the
cache entry; a damaged or too large document counts as missing. The ctime is needed because tools such as ``rsync --times`` can
change a file and restore its mtime.

The hash of a file that changed within the last two seconds is not cached: on some file systems, a file that is changed again
within this time keeps its mtime. git's index does the same ("racily clean").
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_from_bytes

from spikestore.store.machine import user_cache_folder
from spikestore.store.storage.durable_files import replacing
from spikestore.store.storage.system_calls import open_to_read
from spikestore.store_schemas.errors import SpikestoreError
from spikestore.store_schemas.specs.canonical import seal, sha256_hex, unseal

logger = logging.getLogger(__name__)

_VERSION = 1
_LARGEST_ENTRY = 2**16
_LARGEST_TABLE = 2**28
_RACY_NS = 2 * 10**9
_SET_A_FOLDER = "set XDG_CACHE_HOME to a writable folder"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Hashes(Protocol):
    """Protocol of a cache of file hashes."""

    def get(self, path: Path | str, status: os.stat_result) -> str | None:
        """Return the cached SHA-256 (hex) if the file has not changed since its hash was cached, else None."""

    def put(self, path: Path | str, status: os.stat_result, digest: str, *, started_ns: int) -> None:
        """Store a file's hash; see `HashCache.put`."""


class HashCache:
    """Cache of the SHA-256 of files: one document for each file, or one document for many files (`table`).

    Any number of processes may use the cache: a document is always replaced as a whole, and no document depends on another
    document.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Folder of the cache, created at the first write; by default the user's cache folder. Without a home folder,
        nothing is cached, and a warning is logged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        base = user_cache_folder() if folder is None else folder
        self._folder = base / "file-hashes" if base is not None else None
        if base is None:
            _warn_once("cannot cache file hashes, because this user has no home folder", _SET_A_FOLDER)

    def get(self, path: Path | str, status: os.stat_result) -> str | None:
        """Return the cached SHA-256 (hex) if the file has not changed since its hash was cached, else None."""
        if self._folder is None:
            return None
        document = _load(self._folder / _entry(path), _LARGEST_ENTRY)
        digest = document.pop("sha256", None)
        if document != _identity(path, status) or not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            return None
        return digest

    def put(self, path: Path | str, status: os.stat_result, digest: str, *, started_ns: int) -> None:
        """Cache the hash of a file, unless the file was modified just before hashing began.

        If such a file changes again soon, its time stamps may stay the same, so the cached hash would be wrong without notice.

        If the cache is not writable, log a warning.

        Parameters
        ----------
        path : pathlib.Path or str
            The file.
        status : os.stat_result
            Status of the file before it was hashed.
        digest : str
            SHA-256 (hex).
        started_ns : int
            Time of day when hashing began, ns since the epoch.
        """
        if self._folder is None or _is_new(path, status, started_ns):
            return
        _save(self._folder / _entry(path), {**_identity(path, status), "sha256": digest})

    @contextlib.contextmanager
    def table(self, folder: Path, label: str) -> Iterator[HashTable]:
        """Return a table for the hashes of many files; at the end of the ``with`` block, the table is written to one document.

        The table is written after an error too, so that the next run does not hash the same files again.

        Parameters
        ----------
        folder : pathlib.Path
            The folder that contains all files.
        label : str
            Name of this set of files in the folder, such as the split.
        """
        name = sha256_hex(os.fsencode(folder) + b"\0" + label.encode())[:40]
        table = HashTable(None if self._folder is None else self._folder / f"{name}.json", folder)
        try:
            yield table
        except BaseException:
            table.save(complete=False)
            raise
        table.save(complete=True)


class HashTable:
    """Cache of the SHA-256 of many files, all in one document; several threads may share it.

    If two processes write the document at the same time, the hashes of one process are lost and computed again later.
    """

    def __init__(self, entry: Path | None, folder: Path) -> None:
        self._entry = entry
        self._header = {"version": _VERSION, "folder": os.fsencode(folder).hex()}
        self._prefix = os.path.join(os.fspath(folder), "")  # noqa: PTH118 - with the separator at its end
        self._old: dict[str, str] = {}
        self._used: dict[str, str] = {}
        document = {} if entry is None else _load(entry, _LARGEST_TABLE)
        lines = document.pop("files", None)
        if document == self._header and isinstance(lines, str):
            # One long text and not a list: canonical JSON of 60,000 members takes a second.
            pairs = [line.rpartition(" ")[::2] for line in lines.splitlines()]
            self._old = {key: digest for key, digest in pairs if _SHA256.fullmatch(digest)}

    def get(self, path: Path | str, status: os.stat_result) -> str | None:
        """Return the cached SHA-256 (hex) if the file has not changed since its hash was cached, else None."""
        key = self._key(path, status)
        digest = self._old.get(key)
        if digest is not None:
            self._used[key] = digest
        return digest

    def put(self, path: Path | str, status: os.stat_result, digest: str, *, started_ns: int) -> None:
        """Add the hash of a file, unless the file was modified just before hashing began; see `HashCache.put`."""
        if not _is_new(path, status, started_ns):
            self._used[self._key(path, status)] = digest

    def save(self, *, complete: bool) -> None:
        """Write the cached hashes to disk if they have changed. If the cache is not writable, log a warning.

        Parameters
        ----------
        complete : bool
            Whether `get` was called for all files. If so, old entries that `get` did not return are dropped:
            their files were deleted or changed.
        """
        entries = self._used if complete else {**self._old, **self._used}
        if self._entry is not None and entries != self._old:
            lines = "\n".join(f"{key} {digest}" for key, digest in entries.items())
            _save(self._entry, {**self._header, "files": lines})

    def _key(self, path: Path | str, status: os.stat_result) -> str:
        # Any name has bytes; percent signs keep spaces and line ends out of the text.
        name = quote_from_bytes(os.fsencode(os.fspath(path).removeprefix(self._prefix)))
        return f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _entry(path: Path | str) -> str:
    return f"{sha256_hex(os.fsencode(path))[:40]}.json"


def now_ns() -> int:
    """Return the current time, in ns since the epoch."""
    return time.time_ns()


def _identity(path: Path | str, status: os.stat_result) -> dict[str, Any]:
    # Numbers as text: ns and some inodes are above 2^53, the limit of canonical JSON. fsencode: any path has bytes.
    return {
        "version": _VERSION,
        "path": os.fsencode(path).hex(),
        "size": str(status.st_size),
        "mtime_ns": str(status.st_mtime_ns),
        "ctime_ns": str(status.st_ctime_ns),
        "inode": str(status.st_ino),
    }


def _is_new(path: Path | str, status: os.stat_result, started_ns: int) -> bool:
    if max(status.st_mtime_ns, status.st_ctime_ns) <= started_ns - _RACY_NS:
        return False
    logger.debug(
        "the hash of %s is not cached: the file was changed so recently that a further change could have the same time stamp",
        path,
    )
    return True


def _load(entry: Path, largest: int) -> dict[str, Any]:
    """Return the content of a cache document; an empty dict if the document is missing, damaged, too large or not readable."""
    try:
        with os.fdopen(open_to_read(entry), "rb") as file:
            # Neither a pipe nor a device is read: it might never end.
            data = file.read(largest) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        return unseal(data, path=str(entry))
    except FileNotFoundError:
        return {}
    except (SpikestoreError, IsADirectoryError) as error:
        logger.warning("the cached hashes in %s are damaged: the files are hashed again", entry)
        logger.debug("%s", error)
        return {}
    except OSError as error:
        _warn_once(f"cannot read cached file hashes in {entry.parent} ({error.strerror})", _SET_A_FOLDER)
        return {}


def _save(entry: Path, document: dict[str, Any]) -> None:
    """Replace a document atomically."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with replacing(entry, sync=False) as temporary:
            temporary.write_bytes(seal(document))
    except SpikestoreError as error:
        logger.debug("cannot cache file hashes in %s: %s", entry, error)
    except OSError as error:
        _warn_once(f"cannot cache file hashes in {entry.parent} ({error.strerror})", _SET_A_FOLDER)


@functools.cache
def _warn_once(what: str, remedy: str) -> None:
    logger.warning("%s: every run hashes all files again; %s", what, remedy)
