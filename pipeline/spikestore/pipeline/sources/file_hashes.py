"""Hash files, and detect changes of files.

1. Each file is hashed completely (SHA-256). Its status (size, times, inode) is read before and after
   hashing: a difference is an error.
2. A local cache returns the hash of a file whose path and status have not changed. The cache only saves time; it has no
   effect on keys.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

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


class FileStamp(NamedTuple):
    """Path and status of a file at the time when it was hashed.

    Attributes
    ----------
    file : str
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

    file: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, file: str, status: os.stat_result) -> Self:
        """Return the stamp of a file, made from its path and from what `os.stat` returned for it."""
        return cls(file, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @property
    def path(self) -> Path:
        """Absolute path."""
        return Path(self.file)


def check_unchanged(stamps: tuple[FileStamp, ...]) -> None:
    """Raise if a file changed after it was hashed.

    Raises
    ------
    SourceChangedError
        A file has another size, time or inode, or was deleted.
    """
    for stamp in stamps:
        try:
            status = os.stat(stamp.file)  # noqa: PTH116 - a path object takes as long as the call
        except OSError as error:
            raise _changed(stamp.file, f"it can no longer be accessed ({error.strerror})") from error
        _compare(stamp, status)


def hash_files(
    paths: Sequence[Path | str], cache: Hashes, progress: Progress | None
) -> list[tuple[FileStamp, str]]:
    """Return a `FileStamp` and the SHA-256 (hex) of each file; hashes come from the cache if possible.

    Several files are read at once. Errors are those of `make_source`.
    """
    files = [os.fspath(path) for path in paths]
    statuses = [_stat(file) for file in files]
    tally = _Tally(sum(status.st_size for status in statuses), progress)
    # In one thread: threads would only wait for each other, because the files themselves are not read.
    cached = [cache.get(file, status) for file, status in zip(files, statuses, strict=True)]
    unknown = [place for place, digest in enumerate(cached) if digest is None]
    for file, status, digest in zip(files, statuses, cached, strict=True):
        if digest is not None:
            tally.add(status.st_size, file)

    def batch(places: Sequence[int]) -> list[str]:
        return [_hash_file(files[place], statuses[place], cache, tally) for place in places]

    hashed = iter(_in_threads(batch, unknown))
    return [
        (FileStamp.of(file, status), next(hashed) if digest is None else digest)
        for file, status, digest in zip(files, statuses, cached, strict=True)
    ]


def _in_threads(batch: Callable[[Sequence[int]], list[str]], places: Sequence[int]) -> list[str]:
    """Call `batch` with parts of `places` in several threads; return all results in the order of `places`."""
    if len(places) <= 1:
        return batch(places)
    size = max(1, min(_BATCH, len(places) // _THREADS))
    parts = [places[start : start + size] for start in range(0, len(places), size)]
    pool = ThreadPoolExecutor(min(len(parts), _THREADS), thread_name_prefix="spikestore-hash")
    try:
        return [digest for part in pool.map(batch, parts) for digest in part]
    finally:
        pool.shutdown(cancel_futures=True)


class _Tally:
    """Adds up the bytes that several threads have hashed, and reports the sum as progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int, file: str) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total, os.path.basename(file))  # noqa: PTH119 - a text


def _hash_file(file: str, status: os.stat_result, cache: Hashes, tally: _Tally) -> str:
    started_ns = now_ns()
    try:
        digest = _sha256(file, tally)
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}", path=file) from error
    _compare(FileStamp.of(file, status), _stat(file))
    cache.put(file, status, digest, started_ns=started_ns)
    return digest


def _sha256(file: str, tally: _Tally) -> str:
    # Not hashlib.file_digest, which reports no progress and reads smaller blocks, of 256 KiB; both release the GIL.
    digest, done = hashlib.sha256(), 0
    # If a pipe has replaced the file, opening it does not wait, and it is not read.
    with os.fdopen(open_to_read(file), "rb", buffering=0) as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _changed(file, "it was replaced by something that is not a file")
        size = status.st_size
        # For a small file, allocating a whole block would cost more than hashing the file.
        block = memoryview(bytearray(min(max(size, 1), _BLOCK)))
        while count := opened.readinto(block):
            done += count
            if done > size:  # some files in /proc and /sys report size 0 and never end
                raise _changed(file, f"its size was {size} bytes, but it has more bytes now")
            digest.update(block[:count])
            tally.add(count, file)
    return digest.hexdigest()


def _stat(file: str) -> os.stat_result:
    try:
        status = os.stat(file)  # noqa: PTH116 - a path object takes as long as the call
    except FileNotFoundError:
        link = Path(file).is_symlink()
        what = "is a link to a file that does not exist: remove the link" if link else "does not exist"
        raise SourceNotFoundError(f"{file} {what}", path=file) from None
    except OSError as error:
        raise SourceError(f"{file} cannot be accessed: {error.strerror}", path=file) from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
        raise SourceError(
            f"{file} is a pipe, a device or another special file: move it out of the folder", path=file
        )
    if status.st_size > LARGEST_FILE:
        raise SourceError(
            f"{file} has {status.st_size:,} bytes, more than the limit of {LARGEST_FILE:,} for a file of recordings: "
            "move it out of the folder",
            path=file,
        )
    return status


def _compare(stamp: FileStamp, status: os.stat_result) -> None:
    """Raise an error if the status of a file differs from its `FileStamp`."""
    if status.st_size != stamp.size:
        raise _changed(stamp.file, f"its size changed from {stamp.size} to {status.st_size} bytes")
    if status.st_mtime_ns != stamp.mtime_ns:
        raise _changed(stamp.file, "it was written to")
    if status.st_ino != stamp.inode:
        raise _changed(stamp.file, "it was replaced by another file")
    if status.st_ctime_ns != stamp.ctime_ns:
        raise _changed(stamp.file, "it was written to, or its permissions or links were changed")


def _changed(file: str, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{file} changed while spikestore used it: {how}; try again when no other program writes to it",
        path=file,
    )
