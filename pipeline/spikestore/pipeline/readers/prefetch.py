"""Read the next block of recordings while the current one is computed.

One thread reads, and stops when it is `ahead` blocks ahead of its consumer, so that memory stays bounded. It pays
where reading waits for a disk or lets the lock of the interpreter go, as `vlen_heap` does, and a core is free;
h5py copies under that lock and gains little.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Protocol

from spikestore.pipeline.readers.event_block import EventBlock


class ReadsBlocks(Protocol):
    """What is needed of a `spikestore.pipeline.readers.reader.Reader`."""

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Read the recordings ``start`` to ``stop - 1`` in columns."""


@contextlib.contextmanager
def blocks(reader: ReadsBlocks, rows: range, size: int, *, ahead: int = 1) -> Iterator[Iterator[EventBlock]]:
    """Iterate over blocks, read ahead by a thread.

    Parameters
    ----------
    reader : Reader
        Belongs to the thread until the context is left: close it only then.
    rows : range
        Consecutive rows.
    size : int
        Recordings a block, at least 1; the last block may have fewer.
    ahead : int
        Blocks to be ready, or being read, before they are asked for; at least 1.

    Yields
    ------
    iterator of EventBlock
        In order. An error of the reader is raised where its block would come, after the blocks before it.
        Leaving the context ends the thread, at the latest after the read that is under way.

    Raises
    ------
    ValueError
        Other rows or numbers than said above.

    Examples
    --------
    >>> class Reader:
    ...     def read_block(self, start, stop):
    ...         return f"rows {start} to {stop}"
    >>> with blocks(Reader(), range(5), 2) as stream:
    ...     list(stream)
    ['rows 0 to 2', 'rows 2 to 4', 'rows 4 to 5']
    """
    if rows.step != 1 or size < 1 or ahead < 1:
        raise ValueError(
            f"rows must follow one another, size and ahead be at least 1: {rows}, {size}, {ahead}"
        )
    stream = _Stream(reader, rows, size, ahead)
    try:
        yield stream
    finally:
        stream.close()


class _Stream:
    """The consumer's end. The thread puts block after block, then an error or None as the end."""

    def __init__(self, reader: ReadsBlocks, rows: range, size: int, ahead: int) -> None:
        self._reader, self._rows, self._size = reader, rows, size
        self._free = threading.Semaphore(ahead)
        self._found: queue.SimpleQueue[EventBlock | BaseException | None] = queue.SimpleQueue()
        self._leave = False
        self._over = False
        # A daemon, so that no slow disk can keep a process alive that wants to end.
        self._thread = threading.Thread(target=self._run, name="spikestore-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[EventBlock]:
        return self

    def __next__(self) -> EventBlock:
        if self._leave:
            raise ValueError("the context of these blocks was left")
        if self._over:
            raise StopIteration
        found = self._found.get()
        if found is None or isinstance(found, BaseException):
            self._over = True
            raise StopIteration if found is None else found
        self._free.release()
        return found

    def close(self) -> None:
        self._leave = True
        self._free.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            for start in range(self._rows.start, self._rows.stop, self._size):
                self._free.acquire()
                if self._leave:
                    return
                self._found.put(self._reader.read_block(start, min(start + self._size, self._rows.stop)))
            self._found.put(None)
        except BaseException as error:  # it is raised again, in the consumer's thread
            self._found.put(error)
