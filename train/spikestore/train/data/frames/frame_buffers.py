"""Memory for dense batches: the memory of a batch is reused after the last reference to the batch is gone.

Allocating a new buffer takes three times as long as filling it, so a loader reuses a few buffers. A batch stays valid
while any reference to it exists: a view, an autograd graph or a NumPy array made from it. Each batch has a lease, a NumPy
array that shares the buffer's memory. All tensors of the batch keep the lease alive. When the lease is freed, its buffer becomes available.
If all batches are kept, each batch has its own buffer.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

KEPT = 8
"""Maximum number of unused buffers that are kept."""


class FrameBuffers:
    """Pool of buffers for dense batches.

    Parameters
    ----------
    reuse : bool
        Whether buffers are reused; if not, each batch gets fresh memory.
    """

    def __init__(self, *, reuse: bool = True) -> None:
        # Leases end in any thread that drops the last tensor: appending to and popping from a deque is thread-safe.
        self._free: deque[npt.NDArray[np.float32]] = deque(maxlen=KEPT if reuse else 0)
        self._largest = 0

    def take(self, count: int) -> npt.NDArray[np.float32]:
        """Return an uninitialised float32 array of shape (count,), in a new buffer or in a buffer that is no longer used.

        The memory of the array is reused after the array and everything made from it (views, tensors) are gone.
        """
        self._largest = max(self._largest, count)
        buffer = None
        while buffer is None or len(buffer) < count:  # drop buffers that are too small by now
            try:
                buffer = self._free.pop()
            except IndexError:
                # Another pass may have lowered `_largest` meanwhile.
                buffer = np.empty(max(self._largest, count), np.float32)
        # Over a memoryview, not the buffer itself: NumPy would make the buffer the base of the lease's views.
        lease = np.frombuffer(buffer.data, np.float32)
        weakref.finalize(lease, self._free.append, buffer).atexit = False
        return lease[:count]
