"""How much memory this machine has."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any


def physical_memory_bytes() -> int | None:
    """Return the machine's physical memory in bytes; None where the system does not say."""
    if hasattr(os, "sysconf"):
        try:
            pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):  # a name that this Unix does not know
            return None
        return pages * size if pages > 0 and size > 0 else None
    return _of_windows()[0]


def free_memory_bytes() -> int | None:
    """Return the memory in bytes that can be had without swapping; None where the system does not say.

    Linux and Windows say it. Elsewhere half of the physical memory is assumed to be free.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    if not hasattr(os, "sysconf"):
        return _of_windows()[1]
    physical = physical_memory_bytes()
    return None if physical is None else physical // 2


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("free_physical", ctypes.c_uint64),
        ("page_file", ctypes.c_uint64),
        ("free_page_file", ctypes.c_uint64),
        ("address_space", ctypes.c_uint64),
        ("free_address_space", ctypes.c_uint64),
        ("free_extended", ctypes.c_uint64),
    )


def _of_windows() -> tuple[int | None, int | None]:
    """Return physical and free memory by ``GlobalMemoryStatusEx``; None for both elsewhere."""
    windll: Any = getattr(ctypes, "windll", None)
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.physical), int(status.free_physical)
