"""Sources from files on disk: find files, hash them, and detect changes.

1. Each file is stat-ed, hashed whole (SHA-256), and stat-ed again: what changed in between is an error.
2. A local cache spares hashing a file again that has the same path, size, times and inode. It never enters a
   key, only saves time; whatever is odd about it is ignored.
3. The stamps (size, times, inode) go with the source, so that a build can see that its files are still those
   that were hashed: `check_unchanged`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikestore.pipeline.readers.registry import dataset_files, dataset_named
from spikestore.pipeline.sources.hash_cache import HashCache, Hashes, now_ns
from spikestore.store.progress import Progress
from spikestore.store.storage.system_calls import open_to_read
from spikestore.store_schemas.errors import SourceChangedError, SourceError, SourceNotFoundError
from spikestore.store_schemas.specs.source import OnError, Source

LARGEST_FILE = 2**40
"""Largest file in bytes: a sparse file may have any size, and hashing it would not end."""

_BLOCK = 2**20
_THREADS = 8
_BATCH = 64
"""Files that a thread takes at once, where there are many: handing them over one by one costs as much as hashing."""

_TABLE_FROM = 100
"""With so many files, their hashes are kept in one document."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file as it was when it was hashed.

    Attributes
    ----------
    path : pathlib.Path
        Absolute.
    size : int
        Bytes.
    mtime_ns : int
        Time of the last modification, ns.
    inode : int
        Inode number.
    ctime_ns : int
        Time of the last change of content or status, ns. Nobody can put it back, as ``cp -p`` does with the other.
    """

    path: Path
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """A source with the paths of its files on this machine.

    Attributes
    ----------
    source : Source
        What the key is made of.
    root : pathlib.Path
        The dataset's folder, which ``source.files`` are relative to.
    stamps : tuple of FileStamp
        One for each of ``source.files``.
    first_row : int
        Row of the first file, where this is a `part`.
    """

    source: Source
    root: Path
    stamps: tuple[FileStamp, ...]
    first_row: int = 0

    def part(self, rows: range) -> LocatedSource:
        """Return the part of the source for some rows, which keep their numbers.

        With a file per recording that is their files: the 60,000 of N-MNIST are 12 MB to send, and as many files to
        look at, for each task. Otherwise it is the source as it is. A part has no ``limit``, and its key means
        nothing.

        Parameters
        ----------
        rows : range
            Consecutive rows of the source.
        """
        if not dataset_named(self.source.dataset).file_per_recording:
            return self
        own = slice(rows.start - self.first_row, rows.stop - self.first_row)
        source = self.source.model_copy(update={"files": self.source.files[own], "limit": None})
        return replace(self, source=source, stamps=self.stamps[own], first_row=rows.start)


def make_source(
    dataset: str,
    split: str,
    folder: Path | str,
    *,
    sort: bool = False,
    on_error: OnError = "raise",
    limit: int | None = None,
    columns: Iterable[str] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> LocatedSource:
    """Identify one split of a dataset by the content of its files.

    Parameters
    ----------
    dataset, split : str
        Names, as `spikestore.pipeline.readers.registry` knows them.
    folder : pathlib.Path or str
        Tonic's ``save_to``, or the folder with the files themselves.
    sort : bool
        Sort each recording's events by time.
    on_error : {"raise", "skip"}
        What a recording that can't be transformed does.
    limit : int, optional
        Read only this many recordings from the start.
    columns : iterable of str
        Columns to store besides those that the data set always has, such as ``user`` of DVSGesture; part of the key.
    cache : pathlib.Path, optional
        Folder of the hash cache; the user's cache folder if None. It need not exist nor be writable.
    progress : callable, optional
        Called with (bytes done, bytes in all, name of the file) while hashing.

    Raises
    ------
    UnknownNameError
        No such dataset, split or column.
    SourceNotFoundError
        The folder or a file is not there.
    SourceChangedError
        A file changed while it was hashed.
    SourceError
        A file can't be read.
    SpecError
        An option has no legal value.
    """
    registered = dataset_named(dataset)
    asked = sorted(set(columns))
    for column in asked:
        registered.refuse_unknown_column(column)
    root, names = dataset_files(dataset, split, folder)
    for name in names:
        if not _is_text(name):  # names are stored, as text
            raise SourceError(f"{root / name} has a name that is not UTF-8: rename it", path=str(root / name))

    def source_of(files: list[dict[str, Any]]) -> Source:
        return Source.from_mapping(
            {
                "reader": registered.reader,
                "reader_version": registered.reader_version,
                "dataset": dataset,
                "split": split,
                "sort": sort,
                "on_error": on_error,
                "limit": limit,
                "files": files,
                **({"columns": asked} if asked else {}),
            },
            origin=f"source {dataset}/{split}",
        )

    # A wrong option is worth knowing before gigabytes are hashed.
    source_of([{"name": names[0], "size": 0, "sha256": "0" * 64}])
    paths = [root / name for name in names]
    hashes = HashCache(cache)
    if len(names) < _TABLE_FROM:
        stamped = hash_files(paths, hashes, progress)
    else:
        with hashes.table(root, f"{dataset}/{split}") as table:
            stamped = hash_files(paths, table, progress)
    files = [
        {"name": name, "size": stamp.size, "sha256": digest}
        for name, (stamp, digest) in zip(names, stamped, strict=True)
    ]
    return LocatedSource(source_of(files), root, tuple(stamp for stamp, _ in stamped))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_unchanged(stamps: tuple[FileStamp, ...]) -> None:
    """Raise if a file changed after it was hashed.

    Raises
    ------
    SourceChangedError
        A file has another size, time or inode, or is gone.
    """
    for stamp in stamps:
        try:
            status = stamp.path.stat()
        except OSError as error:
            raise _changed(stamp.path, f"it can't be looked at any more ({error.strerror})") from error
        _compare(stamp, status)


def hash_files(paths: list[Path], cache: Hashes, progress: Progress | None) -> list[tuple[FileStamp, str]]:
    """Return stamp and SHA-256 (hex) of each file, from the cache where it has them.

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
    """Progress over all threads: adds up their bytes."""

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
    # hashlib.file_digest has no room for progress, and blocks of 256 KiB; this lets the GIL go just the same.
    digest, done = hashlib.sha256(), 0
    # A pipe that took the file's place is neither waited for nor read.
    with os.fdopen(open_to_read(path), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _changed(path, "it was replaced by something that is not a file")
        size = status.st_size
        block = memoryview(
            bytearray(min(max(size, 1), _BLOCK))
        )  # a whole one costs more than hashing a small file
        while count := file.readinto(block):
            done += count
            if done > size:  # some files of the system have no end, and say that they are empty
                raise _changed(path, f"it has more than its {size} bytes")
            digest.update(block[:count])
            tally.add(count, path.name)
    return digest.hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise SourceNotFoundError(f"{path} does not exist", path=str(path)) from None
    except OSError as error:
        raise SourceError(f"{path} can't be looked at: {error.strerror}", path=str(path)) from error
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
        raise SourceError(
            f"{path} is not a regular file but a pipe, a device or the like: move it away", path=str(path)
        )
    if status.st_size > LARGEST_FILE:
        raise SourceError(
            f"{path} has {status.st_size:,} bytes, a file of recordings can have {LARGEST_FILE:,} at most: move it away",
            path=str(path),
        )
    return status


def _compare(stamp: FileStamp, status: os.stat_result) -> None:
    """Raise if a file differs from its stamp."""
    if status.st_size != stamp.size:
        raise _changed(stamp.path, f"its size went from {stamp.size} to {status.st_size} bytes")
    if status.st_mtime_ns != stamp.mtime_ns:
        raise _changed(stamp.path, "it was written to")
    if status.st_ino != stamp.inode:
        raise _changed(stamp.path, "it was replaced by another file")
    if status.st_ctime_ns != stamp.ctime_ns:
        raise _changed(stamp.path, "it was written to, or its permissions or links were changed")


def _changed(path: Path, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{path} changed while it was used: {how}; run again when nothing writes to it", path=str(path)
    )
