"""Limits the bytes per second that a benchmark reads from a disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/blkio")
"""Folder with Linux's groups of processes whose reads and writes can be limited (control groups, version 1)."""


@contextlib.contextmanager
def slow_disk(folder: Path, bytes_per_second: int) -> Iterator[None]:
    """Limit how fast this process, and processes that it starts in the ``with`` block, read from the disk of a folder.

    The limit does not apply to files in the page cache.

    Raises
    ------
    OSError
        The system has no such limit, the user may not set it, or the system cannot limit the device of the folder.
    """
    group = GROUPS / f"spikestore-{os.getpid()}"
    device = folder.stat().st_dev
    try:
        former = _own_group()
        _enter(former)  # fails here, before anything is limited, if it could not be entered again
        group.mkdir()
    except OSError as error:
        raise OSError(f"this process can't limit how fast it reads ({error})") from error
    try:
        limit = f"{os.major(device)}:{os.minor(device)} {bytes_per_second}"
        (group / "blkio.throttle.read_bps_device").write_text(limit, encoding="ascii")
        _enter(group)
        yield
    finally:
        _enter(former)
        group.rmdir()


def _own_group() -> Path:
    """Return the control group (cgroup) that this process belongs to."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "blkio" in controllers.split(","):
            return GROUPS / path.lstrip("/")
    raise OSError(f"no group of {GROUPS} is mounted")


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
