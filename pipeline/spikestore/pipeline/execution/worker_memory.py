"""Setting of malloc with which a worker process keeps freed memory for the arrays of its next task.

Dask's nannies set ``MALLOC_TRIM_THRESHOLD_`` to 64 KiB. With this value glibc returns memory to the system at once, and the
page faults of each new array cost more than the rest of a build.
"""

from __future__ import annotations

import ctypes
import functools
import platform

TRIM_THRESHOLD = 64 * 2**20
"""Free bytes at the top of the heap that the process keeps; the arrays of a task have a few tens of megabytes in total."""

MMAP_THRESHOLD = 32 * 2**20
"""Size in bytes above which malloc uses mmap: the largest value that glibc itself adopts."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@functools.cache
def keep_memory() -> bool:
    """Set both malloc thresholds for this process, once; return False if there is no glibc, or glibc rejects the thresholds."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD) and mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD))
