"""A local cache of file hashes: saves time, decides nothing.

One small sealed JSON document a file, under a name made of its path. An entry counts only if the file's size,
mtime, ctime and inode are those of the entry; one that is damaged, foreign or too large counts as absent.
(ctime, because ``rsync --times`` and the like can change a file's bytes and set the old mtime again.)

As in git's index, a file that changed within the last two seconds is not remembered: a later change could bear
the same time, at the granularity of some file systems ("racily clean").
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

import platformdirs

from spikestore.store_schemas.canonical import seal, sha256_hex, unseal
from spikestore.store_schemas.errors import SpikestoreError

logger = logging.getLogger(__name__)

_VERSION = 1
_LARGEST_ENTRY = 2**16
_RACY_NS = 2 * 10**9
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HashCache:
    """SHA-256 of files, by path and status.

    Safe with any number of processes: entries are replaced as a whole, and each is right by itself.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where it lives; the user's cache folder if None. Made when it is first written to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        base = Path(platformdirs.user_cache_dir("spikestore")) if folder is None else folder
        self._folder = base / "file-hashes"

    def get(self, path: Path, status: os.stat_result) -> str | None:
        """Return the SHA-256 (hex) of a file that has not changed since it was put, else None."""
        entry = self._entry(path)
        try:
            with entry.open("rb") as file:
                data = file.read(_LARGEST_ENTRY)
            document = unseal(data, path=str(entry))
        except FileNotFoundError:
            return None
        except (OSError, SpikestoreError) as error:
            logger.debug("hash cache entry ignored: %s", error)
            return None
        digest = document.pop("sha256", None)
        if document != _identity(path, status) or not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            return None
        return digest

    def put(self, path: Path, status: os.stat_result, digest: str, *, started_ns: int) -> None:
        """Remember a file's hash, unless the file changed just before; an unwritable cache is left alone.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        status : os.stat_result
            From before it was hashed.
        digest : str
            SHA-256 (hex).
        started_ns : int
            Time of day when hashing began, ns since the epoch.
        """
        if max(status.st_mtime_ns, status.st_ctime_ns) > started_ns - _RACY_NS:
            logger.debug("hash of %s not cached: the file is too new", path)
            return
        entry = self._entry(path)
        temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(seal({**_identity(path, status), "sha256": digest}))
                temporary.replace(entry)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
        except (OSError, SpikestoreError) as error:
            logger.debug("hash of %s not cached: %s", path, error)

    def _entry(self, path: Path) -> Path:
        return self._folder / f"{sha256_hex(os.fsencode(path))[:40]}.json"


def now_ns() -> int:
    """Return the time of day, ns since the epoch."""
    return time.time_ns()


def _identity(path: Path, status: os.stat_result) -> dict[str, Any]:
    # Numbers as text: ns and some inodes are beyond the 2^53 of canonical JSON. fsencode: any path has bytes.
    return {
        "version": _VERSION,
        "path": os.fsencode(path).hex(),
        "size": str(status.st_size),
        "mtime_ns": str(status.st_mtime_ns),
        "ctime_ns": str(status.st_ctime_ns),
        "inode": str(status.st_ino),
    }
