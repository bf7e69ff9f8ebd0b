"""Cache on disk for numba's machine code, so that only the first process compiles.

numba's own cache ignores changes of imported modules, and its errors reach the caller of a compiled function. In this cache:

1. machine code is in a folder whose name contains a hash of the module and of every spikestore module that it
   imports, directly or not, so machine code of earlier sources never runs;
2. this folder is created in the first writable of these folders: ``$NUMBA_CACHE_DIR``, ``__pycache__`` beside the module, the
   user's cache folder;
3. every file begins with a hash of the rest of the file, because a flipped bit in machine code is not visible before the code
   runs;
4. a fault of the cache costs only time: damaged code is dropped and compiled again, code that cannot be written is
   compiled in every process, and a warning names the files or their folder.

numba is installed by the extras; only modules that compile functions import this module.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import logging
import os
import pickle
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, sigutils
from numba.core.ccallback import CFunc

from spikestore.store.machine import user_cache_folder
from spikestore.store.storage.system_calls import open_to_read

__all__ = ["cached_cfunc", "cached_njit"]

logger = logging.getLogger(__name__)

_PACKAGE = "spikestore"
_HASH_BYTES = 32


def cached_njit(function: Callable[..., Any], **options: Any) -> Any:
    """Return ``numba.njit(**options)(function)`` with its machine code cached on disk, if possible.

    Parameters
    ----------
    function : callable
        A function of a module of spikestore.
    **options
        Options of ``numba.njit``.
    """
    compiled = numba.njit(**options)(function)
    if (code := _code_on_disk(function)) is not None:
        compiled._cache = code
    return compiled


def cached_cfunc(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Return ``numba.cfunc(signature, **options)(function)`` with its machine code cached on disk, if possible.

    Parameters
    ----------
    signature
        Signature, as for ``numba.cfunc``.
    function : callable
        A function of a module of spikestore.
    **options
        Options of ``numba.cfunc``.
    """
    made = CFunc(function, sigutils.normalize_signature(signature), locals={}, options=options)  # type: ignore[no-untyped-call]
    if (code := _code_on_disk(function)) is not None:
        made._cache = code  # type: ignore[attr-defined]
    made.compile()
    return made


class _Folder(caching.InTreeCacheLocator):
    """Chooses the folder for a function's machine code; a locator of numba's cache."""

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Folder | None:
        """Return an object that tells numba where the function's machine code is stored; None if no folder is writable."""
        source = Path(file)
        name = f"{source.stem}-{_hash_of_sources(function.__module__)}"
        if numba.config.BOUNDSCHECK:  # type: ignore[attr-defined]
            name += "-checked"  # numba's own cache would run unchecked code
        for parent in _parents(source):
            locator = cls(function, file)
            locator._cache_path = str(parent / name)
            is_new = not (parent / name).exists()
            with contextlib.suppress(OSError):
                locator.ensure_cache_path()  # type: ignore[no-untyped-call]
                if is_new:
                    _remove_former(parent, source.stem, keep=name)
                return locator
        return None


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (_Folder,)  # type: ignore[assignment]


class _HashedFiles(caching.IndexDataCacheFile):
    """Files of numba's cache for a function: an index, and compiled code. Each file begins with the SHA-256 of the rest of the file."""

    def _load_index(self) -> Any:
        data = self._read(self._index_path)
        if data is None:
            return {}
        version, stamp, overloads = pickle.loads(data)  # noqa: S301 - written by this user
        if version != self._version:
            logger.info(
                "the compiled code in %s is from numba %s: it is compiled again", self._index_path, version
            )
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, pickle.dumps((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)  # type: ignore[no-untyped-call]
        data = self._read(path)
        return None if data is None else pickle.loads(data)  # noqa: S301 - written by this user

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))  # type: ignore[no-untyped-call]

    def _read(self, path: str) -> bytes | None:
        """Return the content of a file after the hash at its start; None if there is no file. Raise ValueError if the hash does not fit the content."""
        try:
            handle = open_to_read(Path(path))
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError(f"{path} is not a file")
            content = file.read()
        if hashlib.sha256(content[_HASH_BYTES:]).digest() != content[:_HASH_BYTES]:
            raise ValueError(f"{path} is damaged")
        return content[_HASH_BYTES:]

    def _write(self, path: str, data: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(data).digest() + data)


class _CodeOnDisk(caching.FunctionCache):
    """Cached machine code of one function; its errors are logged, not raised."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file = _HashedFiles(  # type: ignore[no-untyped-call]
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for a signature, or None; code that cannot be loaded is dropped."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # unpickling damaged bytes may raise any error
            logger.warning(
                "cannot load compiled code in %s (%s): the code is deleted and compiled again",
                self._files(),
                _one_line(error),
            )
        try:
            self.flush()  # type: ignore[no-untyped-call]  # an empty index: the code is written again
        except Exception as error:
            self._leave(error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the code for a signature; log a warning if this fails."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        self.disable()  # type: ignore[no-untyped-call]
        _warn_once(f"cannot write compiled code to {self.cache_path} ({_one_line(error)})")
        logger.debug("cannot write %s: each process compiles this function again", self._files())

    def _files(self) -> str:
        return str(Path(self.cache_path) / f"{self._impl.filename_base}.*")


def _code_on_disk(function: Callable[..., Any]) -> _CodeOnDisk | None:
    try:
        return _CodeOnDisk(function)
    except (RuntimeError, OSError):
        # numba has no locator, or the sources can't be read, as in an archive.
        _warn_once(
            "cannot cache compiled code, because neither the package's folder nor the user's cache folder is writable"
        )
    return None


@cache
def _warn_once(why: str) -> None:
    logger.warning(
        "%s: every process compiles for some seconds; set NUMBA_CACHE_DIR to a writable folder",
        why,
    )


def _parents(source: Path) -> Iterator[Path]:
    """Yield possible folders for the machine code of a module, in order of preference."""
    # Sources of the same name in other folders, such as other checkouts, have other caches.
    own = f"{source.parent.name}_{hashlib.sha256(bytes(source.parent)).hexdigest()[:16]}"
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR) / own  # type: ignore[attr-defined]
    yield source.parent / "__pycache__"
    user = user_cache_folder()
    if user is not None:
        yield user / "compiled" / own


def _remove_former(parent: Path, stem: str, *, keep: str) -> None:
    """Remove the folders with machine code of a module's earlier versions; `keep` is the name of the folder of the present version."""
    for folder in parent.glob(f"{stem}-{'[0-9a-f]' * 16}"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


@cache
def _hash_of_sources(module: str) -> str:
    """Return a hash of the source of a module and of all modules of spikestore that it imports, directly or not."""
    digest = hashlib.sha256()
    waiting, seen = [module], {module}
    sources: dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None:
            continue
        sources[name], imported = _source_and_imports(Path(file))
        waiting += imported - seen
        seen |= imported
    for name in sorted(sources):
        digest.update(f"{name} {len(sources[name])}\n".encode() + sources[name])
    return digest.hexdigest()[:16]


@cache
def _source_and_imports(file: Path) -> tuple[bytes, frozenset[str]]:
    """Return a module's source, and the names that it imports from spikestore: modules, and possibly other objects."""
    source = file.read_bytes()
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return source, frozenset(name for name in names if name.partition(".")[0] == _PACKAGE)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
