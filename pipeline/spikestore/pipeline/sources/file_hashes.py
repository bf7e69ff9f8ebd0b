"""Hash files, and detect changes of files.

1. Each file is hashed completely (SHA-256). Its status (size, times, inode) is read before and after: a difference is an
   error.
2. A local cache returns the hash of a file whose path and status have not changed. The cache only saves time; it has no
   effect on keys.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.sources.hash_cache import Hashes, now_ns
from spikestore.store.progress import Progress
from spikestore.store.storage.system_calls import open_to_read
from spikestore.store_schemas.errors import SourceChangedError, SourceError, SourceNotFoundError

LARGEST_FILE = 2**40
"""Largest file in bytes. Larger files are rejected: a sparse file can have any size, and hashing it would never end."""

_BLOCK = 2**20
_THREADS = 8
_BATCH = 64
"""Maximum number of files that a thread takes at once: passing small files one by one costs as much as hashing them."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Path and status of a file at the time when it was hashed.

    Attributes
    ----------
    path : pathlib.Path
        Absolute path.
    size : int
        Size in bytes.
    mtime_ns : int
        Time of the last modification, ns.
    inode : int
        Inode number.
    ctime_ns : int
        Time of the last change of content or status, ns. Programs cannot set it, but they can set `mtime_ns`, as ``cp -p``
        does.
    """

    path: Path
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


def check_unchanged(stamps: tuple[FileStamp, ...]) -> None:
    """Raise if a file changed after it was hashed.

    Raises
    ------
    SourceChangedError
        A file has another size, time or inode, or was deleted.
    """
    for stamp in stamps:
        try:
            status = stamp.path.stat()
        except OSError as error:
            raise _changed(stamp.path, f"it can no longer be accessed ({error.strerror})") from error
        _compare(stamp, status)


def hash_files(paths: list[Path], cache: Hashes, progress: Progress | None) -> list[tuple[FileStamp, str]]:
    """Return status and SHA-256 (hex) of each file; hashes come from the cache if possible.

    Several files are read at once. Errors are those of `make_source`.
    """
    tally = _Tally(sum(_stat(path).st_size for path in paths), progress)

    def batch(start: int) -> list[tuple[FileStamp, str]]:
        return [_hash_file(path, cache, tally) for path in paths[start : start + size]]

    size = max(1, min(_BATCH, len(paths) // _THREADS))
    if len(paths) == 1:
        return batch(0)
    pool = ThreadPoolExecutor(min(len(paths), _THREADS), thread_name_prefix="spikestore-hash")
    try:
        return [stamped for batched in pool.map(batch, range(0, len(paths), size)) for stamped in batched]
    finally:
        pool.shutdown(cancel_futures=True)


class _Tally:
    """Adds up the bytes that several threads have hashed, and reports the sum as progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int, label: str) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total, label)


def _hash_file(path: Path, cache: Hashes, tally: _Tally) -> tuple[FileStamp, str]:
    status = _stat(path)
    stamp = FileStamp(path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
    if (known := cache.get(path, status)) is not None:
        tally.add(status.st_size, path.name)
        return stamp, known
    started_ns = now_ns()
    try:
        digest = _sha256(path, tally)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}", path=str(path)) from error
    _compare(stamp, _stat(path))
    cache.put(path, status, digest, started_ns=started_ns)
    return stamp, digest


def _sha256(path: Path, tally: _Tally) -> str:
    # Not hashlib.file_digest, which reports no progress and reads smaller blocks, of 256 KiB; both release the GIL.
    digest, done = hashlib.sha256(), 0
    # If a pipe has replaced the file, opening it does not wait, and it is not read.
    with os.fdopen(open_to_read(path), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _changed(path, "it was replaced by something that is not a file")
        size = status.st_size
        # For a small file, allocating a whole block would cost more than hashing the file.
        block = memoryview(bytearray(min(max(size, 1), _BLOCK)))
        while count := file.readinto(block):
            done += count
            if done > size:  # some files in /proc and /sys report size 0 and never end
                raise _changed(path, f"it has more than {size} bytes, its size before")
            digest.update(block[:count])
            tally.add(count, path.name)
    return digest.hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except FileNotFoundError:
        what = "is a link to a file that does not exist: remove it" if path.is_symlink() else "does not exist"
        raise SourceNotFoundError(f"{path} {what}", path=str(path)) from None
    except OSError as error:
        raise SourceError(f"{path} cannot be accessed: {error.strerror}", path=str(path)) from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
        raise SourceError(
            f"{path} is a pipe, a device or another special file: move it out of the folder", path=str(path)
        )
    if status.st_size > LARGEST_FILE:
        raise SourceError(
            f"{path} has {status.st_size:,} bytes, more than the limit of {LARGEST_FILE:,} for a file of recordings: "
            "move it out of the folder",
            path=str(path),
        )
    return status


def _compare(stamp: FileStamp, status: os.stat_result) -> None:
    """Raise if the status of a file differs from its `FileStamp`."""
    if status.st_size != stamp.size:
        raise _changed(stamp.path, f"its size changed from {stamp.size} to {status.st_size} bytes")
    if status.st_mtime_ns != stamp.mtime_ns:
        raise _changed(stamp.path, "it was written to")
    if status.st_ino != stamp.inode:
        raise _changed(stamp.path, "it was replaced by another file")
    if status.st_ctime_ns != stamp.ctime_ns:
        raise _changed(stamp.path, "it was written to, or its permissions or links were changed")


def _changed(path: Path, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{path} changed while spikestore used it: {how}; try again when no other program writes to it",
        path=str(path),
    )
