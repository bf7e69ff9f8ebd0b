"""Home folders, cores and memory that this process may use; each may be unknown or limited, as in a container."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path
from typing import Any

from spikestore.store_schemas.errors import UsageError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def expand_home(path: Path | str) -> Path:
    """Return a path with a leading ``~`` or ``~user`` replaced by the home folder.

    Raises
    ------
    UsageError
        The user or the home folder is unknown.
    """
    if not str(path).startswith("~"):  # pathlib would take ./~name for ~name
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        first = Path(path).parts[0]
        why = "this user has no home folder" if first == "~" else f"no user {first[1:]!r} on this machine"
        raise UsageError(
            f"{path}: {why}; write the full path, or ./{first}/… for a folder with the name {first}",
            path=str(path),
        ) from None


def absolute_path(path: Path | str) -> Path:
    """Return an absolute path without ``~``, ``.`` and ``..``.

    If `path` contains ``..``, all symbolic links in the path are resolved; otherwise no link is resolved.

    Raises
    ------
    UsageError
        The path begins with ``~``, and the user or the home folder is unknown.
    """
    absolute = expand_home(path).absolute()
    return Path(os.path.realpath(absolute)) if ".." in absolute.parts else absolute


def user_cache_folder() -> Path | None:
    """Return spikestore's folder in the user's cache; None if the user has no home folder, for example in a container."""
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("spikestore"))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # platformdirs before 4.4 returns "~/.cache"


def user_data_folder() -> Path:
    """Return spikestore's folder in the user's data folder.

    Raises
    ------
    UsageError
        The user has no home folder.
    """
    import platformdirs

    try:
        folder = Path(platformdirs.user_data_dir("spikestore", appauthor=False))
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        raise UsageError(
            "no default store, because this user has no home folder: pass --store or set SPIKESTORE_STORE"
        )
    return folder


def available_cores() -> int:
    """Return the number of cores that this process may use, within the limits of SLURM, ``taskset`` or a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_cores()
    return max(1, min(cores, math.ceil(limit))) if math.isfinite(limit) else cores


def _cgroup_cores() -> float:
    """Return the limit of this process's control groups, in cores (for example set by ``docker run --cpus``); infinite without a limit."""
    least = math.inf
    for folder in _cgroup_folders():
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
                period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
            if quota not in ("max", "-1"):
                least = min(least, int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue  # not Linux, or no limit at this level
    return least


def _cgroup_folders() -> list[Path]:
    """Return the folders of this process's CPU control groups (version 1 and 2), and their parent folders."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    folders = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "cpu" in controllers.split(","):
            root = _CGROUPS if number == "0" else _CGROUPS / "cpu"
            own = root / path.lstrip("/")
            # Inside a container the path may be the host's, and the root is the container's own group.
            folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return folders


def physical_memory_bytes() -> int | None:
    """Return the machine's physical memory in bytes; None if the system does not report it."""
    if hasattr(os, "sysconf"):
        try:
            pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):  # a name that this Unix does not know
            return None
        return pages * size if pages > 0 and size > 0 else None
    return _of_windows()[0]


def free_memory_bytes() -> int | None:
    """Return the memory in bytes that is available without swapping.

    Linux and Windows report this number. On other systems, the result is half of the physical memory, or None if that is unknown.
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
    """Return physical and free memory from ``GlobalMemoryStatusEx``; None for both on other systems."""
    windll: Any = getattr(ctypes, "windll", None)
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.physical), int(status.free_physical)
