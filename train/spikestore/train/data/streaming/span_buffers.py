"""Memory for the columns of spans, the ranges of rows that a stream reads. After the last reference to a column is gone, another column gets its memory.

If a stream allocated fresh memory, the system would clear and map every page. This work would take a sixth of the processor
time of a streamed epoch. So a stream keeps the memory of spans that it has dropped, also from one epoch to the next. All
spans are in one large array, because NumPy asks Linux for pages of 2 MiB only for large arrays. Large pages are needed
because the samples of a batch are in many spans: the processor's cache of page addresses (TLB) has too few entries for so
many pages of 4 KiB.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

_LINE = 64
"""Bytes of a line of the processor's cache; each array in the memory of `SpanBuffers` begins at the start of a line."""


class SpanBuffers:
    """Memory for arrays; any number of threads may share it.

    Parameters
    ----------
    most_bytes : int
        Size in bytes of the memory, which is allocated at the first use. A page that was never used takes no physical
        memory.
    """

    def __init__(self, most_bytes: int) -> None:
        self._size = most_bytes // _LINE * _LINE
        self._memory: npt.NDArray[np.uint8] | None = None
        self._lock = threading.Lock()
        self._free = [(0, self._size)] if self._size else []  # starts and stops, ascending
        # Arrays may end in any thread, also in one that holds the lock: appending to a deque needs no lock.
        self._returned: deque[tuple[int, int]] = deque()

    def empty(self, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return an uninitialised array of shape (count,); its memory is used again after the array and all its views are gone.

        If no free part of the memory is large enough, the array has memory of its own, which returns to the system.
        """
        size = -(-count * dtype.itemsize // _LINE) * _LINE
        taken = self._take(size) if size else None
        if taken is None:
            return np.empty(count, dtype)
        memory, start = taken
        # Over a memoryview, not the memory itself: NumPy would make the memory the base of the array's views.
        array = np.frombuffer(memory.data, dtype, count, start)
        weakref.finalize(array, self._returned.append, (start, start + size)).atexit = False
        return array

    def _take(self, size: int) -> tuple[npt.NDArray[np.uint8], int] | None:
        """Reserve `size` bytes in the smallest free part of the memory that is large enough.

        Return the whole memory and the start of these bytes in it; None if no free part is large enough.
        """
        with self._lock:
            while self._returned:
                self._give_back(*self._returned.popleft())
            if self._memory is None:
                self._memory = self._reserved()
            fitting = [
                (stop - start, place)
                for place, (start, stop) in enumerate(self._free)
                if stop - start >= size
            ]
            if not fitting:
                return None
            _, place = min(fitting)
            start, stop = self._free[place]
            self._free[place : place + 1] = [(start + size, stop)] if stop - start > size else []
            return self._memory, start

    def _give_back(self, start: int, stop: int) -> None:
        place = bisect_left(self._free, (start, stop))
        first, last = place, place
        if place < len(self._free) and self._free[place][0] == stop:
            stop, last = self._free[place][1], place + 1
        if place and self._free[place - 1][1] == start:
            start, first = self._free[place - 1][0], place - 1
        self._free[first:last] = [(start, stop)]

    def _reserved(self) -> npt.NDArray[np.uint8]:
        """Allocate the memory; if the system refuses so much memory, for example because of a limit of the process, return an empty array."""
        try:
            memory = np.empty(self._size + _LINE, np.uint8)
        except MemoryError:
            self._free = []
            return np.empty(0, np.uint8)
        skipped = -memory.ctypes.data % _LINE
        return memory[skipped : skipped + self._size]
