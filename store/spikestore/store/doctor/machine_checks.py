"""Checks of the machine: Python, packages, cores, memory, caches."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spikestore.store.doctor.findings import Finding, versions
from spikestore.store.machine import (
    available_cores,
    free_memory_bytes,
    physical_memory_bytes,
    user_cache_folder,
)
from spikestore.store_schemas.wording import size_text

LEAST_MEMORY = 1 << 30
"""Free memory in bytes below which a finding is a problem: a build with two workers needs about half of it."""
_LEAST_FILES = 256
"""If the system allows fewer open files than this, the finding is a problem."""


def machine_checks() -> Iterator[Finding]:
    """Yield findings on this machine, the packages of the store, and the folders of caches."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield from versions("spikestore", "numpy", "pydantic", "zarr", "numcodecs", "obstore", "pcodec", "numba")
    yield Finding("cores", "ok", f"{available_cores()} of {os.cpu_count()} may be used")
    yield _memory()
    yield from _open_files()
    yield _writable("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a writable folder")
    cache = user_cache_folder()
    if cache is None:
        remedy = "set HOME or XDG_CACHE_HOME, so that recordings are not hashed again in each run"
        yield Finding("cache", "absent", "this user has no home folder: nothing is cached", remedy)
    else:
        yield _writable("cache", cache, "set XDG_CACHE_HOME to a writable folder")


def _memory() -> Finding:
    free, physical = free_memory_bytes(), physical_memory_bytes()
    if free is None or physical is None:
        return Finding("memory", "absent", "the system does not report it")
    detail = f"{size_text(free)} of {size_text(physical)} are free"
    if free < LEAST_MEMORY:
        return Finding(
            "memory", "problem", detail, "close other programs, or use fewer workers (--workers 0)"
        )
    return Finding("memory", "ok", detail)


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < _LEAST_FILES:
        yield Finding("open files", "problem", f"at most {limit}", "raise the limit: ulimit -n 1024")
    else:
        yield Finding("open files", "ok", "no limit" if limit < 0 else f"at most {limit}")


def _writable(what: str, folder: Path, remedy: str) -> Finding:
    """Return a finding: whether files can be written to `folder`. If `folder` does not exist, its nearest existing parent is tried."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"spikestore")
            file.flush()
    except OSError as error:
        return Finding(what, "problem", f"{folder}: {error.strerror or error}", remedy)
    return Finding(what, "ok", str(folder))
