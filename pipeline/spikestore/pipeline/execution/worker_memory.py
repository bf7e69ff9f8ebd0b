"""Let a worker keep the memory that arrays leave, for the arrays of its next task.

Dask's nannies set ``MALLOC_TRIM_THRESHOLD_`` to 64 KiB, so that glibc gives memory back at once and every array begins
with page faults, which cost more than all else that a build does.
"""

from __future__ import annotations

import ctypes
import functools
import platform

TRIM_THRESHOLD = 64 * 2**20
"""Bytes at the top of the heap that stay with the process. Arrays of a task are a few tens of megabytes in all."""

MMAP_THRESHOLD = 32 * 2**20
"""Bytes from which an array gets pages of its own: what glibc itself arrives at in a process with arrays of this size."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@functools.cache
def keep_memory() -> bool:
    """Set both for this process, once; return whether that was possible: other C libraries than glibc have their own ways."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD) and mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD))
