"""Memory for the columns of spans, used again after the last reference to a column is gone.

The system clears each page of fresh memory and maps it, which takes a sixth of the processor time of a streamed epoch. So a stream
keeps the memory of spans that it has dropped, also from one epoch to the next.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

_Buffer = npt.NDArray[np.uint8]


class SpanBuffers:
    """Pool of memory for arrays; any number of threads may share a pool.

    Parameters
    ----------
    most_bytes : int
        Limit in bytes of the arrays in use plus the unused memory. Above this limit, unused memory is returned to the system.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._free: list[_Buffer] = []  # by size, ascending
        # Arrays may end in any thread, also in one that holds the lock: appending to a deque needs no lock.
        self._returned: deque[_Buffer] = deque()

    def empty(self, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return an uninitialised array of shape (count,); its memory is used again after the array and all its views are gone."""
        size = count * dtype.itemsize
        if not size:
            return np.empty(count, dtype)
        buffer = self._take(size)
        # Over a memoryview, not the buffer itself: NumPy would make the buffer the base of the array's views.
        array = np.frombuffer(buffer.data, dtype, count)
        weakref.finalize(array, self._returned.append, buffer).atexit = False
        return array

    def _take(self, size: int) -> _Buffer:
        with self._lock:
            while self._returned:
                buffer = self._returned.popleft()
                self._free.insert(bisect_left(self._free, len(buffer), key=len), buffer)
            place = bisect_left(self._free, size, key=len)
            made = None if place < len(self._free) else np.empty(size, np.uint8)
            if made is not None:
                self._bytes += size
            buffer = self._free.pop(place) if made is None else made
            while self._free and self._bytes > self._most_bytes:
                self._bytes -= len(self._free.pop(0))
            return buffer
