"""Translation of operating system errors in a folder store into `StoreError`, each with a message of one line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from spikestore.store.storage.folder_walk import kind_of
from spikestore.store.storage.publishing import TEMPORARY
from spikestore.store.storage.system_calls import error_numbers
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_LOST = error_numbers(
    "ESTALE", "ENOTCONN", "EIO", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO"
)  # fmt: skip
_OUT_OF_PLACE = {
    errno.ELOOP: "a link that leads back to itself",
    errno.EISDIR: "a folder",
    errno.ENOTEMPTY: "a folder that is not empty",
}
_NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


@contextlib.contextmanager
def clear_errors(url: str, path: str, verb: str) -> Iterator[None]:
    """Convert an error of the operating system in the ``with`` block to a `StoreError` whose message names `path` and `url`.

    `verb` is ``"read"``, ``"write"``, ``"list"`` or ``"delete"``.
    """
    try:
        yield
    except StoreError:
        raise
    except NotADirectoryError as error:
        raise _in_the_way(url, path, verb) from error
    except FileNotFoundError as error:
        if verb == "write":
            raise StoreError(f"cannot write {path} in {url}: {error.strerror}", path=path) from error
        if (Path(url) / path).is_symlink():
            raise out_of_place(url, path, "a link that leads to no file") from error
        raise MissingObjectError(f"{path} is not in the store {url}", path=path) from error
    except OSError as error:
        raise _named(url, error, path, verb) from error


def out_of_place(url: str, path: str, kind: str, *, wanted: str = "file") -> DamagedError:
    """Return the error for a path of the wrong kind, such as a pipe in place of a file.

    Parameters
    ----------
    url, path : str
        URL of the store, and path in it.
    kind : str
        Actual kind of the path, such as ``"a pipe"``.
    wanted : {"file", "folder"}
        Expected kind.
    """
    why = f"it is {kind} instead of a {wanted}"
    return DamagedError(
        f"{path} in {url} is not a regular {wanted}: {why}; move it away", path=path, objects=(path,), why=why
    )


def _in_the_way(url: str, path: str, verb: str) -> StoreError:
    """Return the error for an object that cannot be accessed because something above it is not a folder.

    For a write, the folder of temporary files is examined too.
    """
    parts = path.split("/")
    needed = ["/".join(parts[:count]) for count in range(1, len(parts))]
    for above in [*needed, TEMPORARY] if verb == "write" else needed:
        place = Path(url) / above
        if os.path.lexists(place) and not place.is_dir():
            return out_of_place(url, above, kind_of(place) or "a file", wanted="folder")
    if verb == "write":
        reason = "a parent folder of the store is a file: choose another folder for the store"
        return StoreError(f"cannot write {path} in {url}: {reason}", path=path)
    return MissingObjectError(f"{path} is not in the store {url}", path=path)


def _named(url: str, error: OSError, path: str, verb: str) -> StoreError:
    if error.errno in _OUT_OF_PLACE:
        return out_of_place(url, path, _OUT_OF_PLACE[error.errno])
    if error.errno in _FULL:
        reason = "quota exhausted" if error.errno == errno.EDQUOT else "no space left"
        return StorageFullError(
            f"{reason} for {path} in {url} ({error.strerror}): free some space and run the command again; "
            "finished fragments are kept",
            path=path,
        )
    if error.errno == errno.EFBIG:
        return StorageFullError(
            f"{path} in {url} is larger than the largest file that is allowed: raise the limit of this process (ulimit -f), or use a file "
            "system that allows larger files; finished fragments are kept",
            path=path,
        )
    if error.errno in _LOST:
        return StoreError(
            f"the file system of {url} is not available at {path} ({error.strerror}): mount it and run the command "
            "again; finished fragments are kept",
            path=path,
        )
    if error.errno in _NO_LINKS and verb == "write":
        return StoreError(
            f"the file system of {url} cannot create a file without the risk of replacing another file ({error.strerror}), so writing "
            "to it is not safe: use another file system, or a bucket",
            path=path,
        )
    if error.errno in _READ_ONLY and verb in {"write", "delete"}:
        remedy = "mount it for writing" if error.errno == errno.EROFS else "get write permission"
        return ReadOnlyStoreError(
            f"cannot write to the store {url} ({error.strerror}): {remedy}, or use another store", path=path
        )
    return StoreError(f"cannot {verb} {path} in {url}: {error.strerror or error}", path=path)
