"""Checks that the folder of a training run is writable, and locks it for one process."""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from spikestore.store_schemas.errors import StorageFullError, StoreError, UsageError

LOCK = ".writer"
"""Name of the file that the writing process locks; while it is locked, it holds host, process, user and start time."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_FULL = {errno.ENOSPC, errno.EDQUOT}


def refuse_unwritable(folder: Path) -> None:
    """Create the folder of a run if needed; raise an error unless checkpoints and scalars can be written there.

    Raises
    ------
    UsageError
        A folder is at the place where a checkpoint file must be written, or a file is at the place of a folder.
    StoreError
        The folder, or the folder ``tensorboard`` in it, can't be created or written to.
    StorageFullError
        The disk is full.
    """
    for path in (folder / "last.pt", folder / "best.pt"):
        if path.is_dir():
            raise UsageError(
                f"{path} is a folder, but a checkpoint must be written there: move it, or pass another --folder",
                path=str(path),
            )
    for path in (folder, folder / "tensorboard"):
        if path.exists() and not path.is_dir():
            raise UsageError(
                f"{path} is a file, but the run needs a folder there: move it, or pass another --folder",
                path=str(path),
            )
        probe = path / f".probe.{secrets.token_hex(4)}"
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0")  # not empty: on a full disk an empty file can still be created
        except OSError as error:
            kind = StorageFullError if error.errno in _FULL else StoreError
            raise kind(
                f"can't write to {path} ({error.strerror}): {_advice(error)}pass another --folder",
                path=str(path),
            ) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


def _advice(error: OSError) -> str:
    if error.errno in _FULL:
        return "make space on the disk, or "
    # Permissions change nothing on a file system that is read-only, or for a name that is too long.
    return "change its permissions, or " if error.errno in {errno.EACCES, errno.EPERM} else ""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock the folder, so that no other process trains in it while the context is open.

    The file ``.writer`` is locked by the system (``flock``; on NFS by the server), which releases the lock of a process
    that was killed. If the file system has no locks, ``.writer`` itself is the lock: it names the process that writes to the
    folder. A process of this machine that has ended is ignored. A process of another machine is never ignored, because it
    may still be running.

    Raises
    ------
    UsageError
        Another process writes to the folder; the message names this process and its start time, and says what to do.
    StoreError
        The file can't be written or locked.
    """
    path = folder / LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"can't write {path} ({error.strerror}): remove it, or pass another --folder",
            path=str(path),
        ) from error
    with file:
        locked = _lock(file)
        writer = _read(file)
        if locked is False or (locked is None and writer and not _has_ended(writer)):
            raise _in_use(path, writer, with_locks=locked is not None)
        _write(file, _myself())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that ended the run
                _write(file, None)


def remove_unused(folder: Path) -> None:
    """Remove the folder of a failed run if the run wrote nothing into it; otherwise leave the folder as it is."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOCK, "tensorboard"}:
            (folder / "tensorboard").rmdir()
            (folder / LOCK).unlink()
            folder.rmdir()


def _lock(file: IO[str]) -> bool | None:
    """Lock a file until it is closed. Return True if it is locked, False if another process holds the lock, None if the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(2**20)  # Windows forbids reading locked bytes: lock one beyond the content
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise StoreError(
            f"can't lock {file.name} ({error.strerror}): pass another --folder", path=str(file.name)
        ) from error
    except ImportError:  # a Python built without these modules
        return None
    return True


def _myself() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user ID without a name, as in containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return {"host": socket.gethostname(), "process": os.getpid(), "user": user, "since": since}


def _read(file: IO[str]) -> dict[str, Any]:
    """Return the process that a lock file names, as a dict; empty if the file names none."""
    try:
        file.seek(0)
        writer = json.loads(file.read(4096) or "{}")
    except (OSError, ValueError):
        return {}
    return writer if isinstance(writer, dict) else {}


def _write(file: IO[str], writer: dict[str, Any] | None) -> None:
    file.seek(0)
    file.truncate()
    if writer is not None:
        json.dump(writer, file)
    file.flush()


def _has_ended(writer: dict[str, Any]) -> bool:
    """Return whether `writer`, the last process that wrote to a run folder, ran on this machine and has ended."""
    process = writer.get("process")
    if writer.get("host") != socket.gethostname() or type(process) is not int or sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _in_use(path: Path, writer: dict[str, Any], *, with_locks: bool) -> UsageError:
    holder = "another process"
    if {"host", "process", "user", "since"} <= writer.keys():
        holder = (
            f"process {writer['process']} of {writer['user']} on {writer['host']}, since {writer['since']}"
        )
    advice = "wait for this process or stop it, then run the same command again; or pass another --folder"
    if not with_locks:
        advice += f" (this file system has no locks: if the other process has ended, remove {path})"
    return UsageError(f"{path.parent} is being written by {holder}: {advice}", path=str(path.parent))
