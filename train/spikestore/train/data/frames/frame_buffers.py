"""Memory for dense batches, used again as soon as nobody holds the batch.

Fresh pages cost three times what filling them costs, so a loader goes round in a few buffers. How long a batch is
valid: as long as anything of it is alive, be it a view, an autograd graph or a NumPy array made from it. Each batch is a
lease, an array of its own over the buffer; every tensor over it keeps the lease alive, and with the lease the buffer
comes back. A user who keeps all batches gets all of them, in as many buffers.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

KEPT = 8
"""Buffers that are kept when nobody holds them."""


class FrameBuffers:
    """A ring of buffers.

    Parameters
    ----------
    reuse : bool
        Whether buffers are used again; otherwise each batch gets fresh memory.
    """

    def __init__(self, *, reuse: bool = True) -> None:
        # Leases come back in whatever thread drops the last tensor: both ends of a deque are safe for that.
        self._free: deque[npt.NDArray[np.float32]] = deque(maxlen=KEPT if reuse else 0)
        self._largest = 0

    def take(self, count: int) -> npt.NDArray[np.float32]:
        """Return `count` float32 numbers, whatever they are: shape (count,).

        The memory is free again when the array and all that was made from it are gone.
        """
        self._largest = max(self._largest, count)
        buffer = None
        while buffer is None or len(buffer) < count:  # smaller ones are from before a longer sample came
            try:
                buffer = self._free.popleft()
            except IndexError:
                buffer = np.empty(self._largest, np.float32)
        lease = buffer[:count]
        weakref.finalize(lease, self._free.append, buffer).atexit = False
        return lease
