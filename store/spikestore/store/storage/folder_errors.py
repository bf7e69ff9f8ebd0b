"""Translation of operating system errors in a folder store into `StoreError`, one line each."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from spikestore.store.storage.system_calls import error_numbers
from spikestore.store_schemas.errors import (
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_LOST = error_numbers(
    "ESTALE", "ENOTCONN", "EIO", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO"
)  # fmt: skip
_NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


@contextlib.contextmanager
def clear_errors(url: str, path: str, verb: str) -> Iterator[None]:
    """Raise errors on an object as `StoreError` with its name; `verb` is read, write, list or delete."""
    try:
        yield
    except StoreError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if verb == "write":
            raise StoreError(f"cannot write {path} in {url}: {error.strerror}", path=path) from error
        raise MissingObjectError(f"{path} is not in the store {url}", path=path) from error
    except OSError as error:
        raise _named(url, error, path, verb) from error


def _named(url: str, error: OSError, path: str, verb: str) -> StoreError:
    if error.errno in _FULL:
        reason = "quota exhausted" if error.errno == errno.EDQUOT else "no space left"
        return StorageFullError(
            f"{reason} for {path} in {url} ({error.strerror}): free some space and run the command again; "
            "finished fragments are kept",
            path=path,
        )
    if error.errno in _LOST:
        return StoreError(
            f"the file system of {url} is not available ({error.strerror}), at {path}: mount it and run the command "
            "again; finished fragments are kept",
            path=path,
        )
    if error.errno in _NO_LINKS and verb == "write":
        return StoreError(
            f"the file system of {url} cannot name a file in one step ({error.strerror}), which safe writes need: use "
            "another file system, or a bucket",
            path=path,
        )
    if error.errno in _READ_ONLY and verb in {"write", "delete"}:
        return ReadOnlyStoreError(f"cannot write to the store {url} ({error.strerror})", path=path)
    return StoreError(f"cannot {verb} {path} in {url}: {error.strerror or error}", path=path)
