"""Machine code that numba keeps on disk, so that only the first process compiles.

numba itself looks at the source file of a function and at nothing else, and an error of its cache becomes one of
whoever calls the function. Here

1. the folder of a module's code is called after the module and a hash of its source and of every spikestore module that
   it imports, directly or not: edited sources never run stale machine code;
2. it lies in the first of these that can be written to: ``$NUMBA_CACHE_DIR``, ``__pycache__`` beside the module, the
   user's cache folder;
3. a fault of the cache costs time and nothing else: damaged code is dropped and compiled again, code that can't be
   written is compiled in every process, and a warning names the file.

numba comes with the extras; only modules that compile import this one.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, sigutils
from numba.core.ccallback import CFunc

from spikestore.store.machine import user_cache_folder

__all__ = ["cached_cfunc", "cached_njit"]

logger = logging.getLogger(__name__)

_PACKAGE = "spikestore"


def cached_njit(function: Callable[..., Any], **options: Any) -> Any:
    """Return ``numba.njit(**options)(function)``, whose machine code is kept on disk where that is possible.

    Parameters
    ----------
    function : callable
        A function of a module of spikestore.
    **options
        Options of ``numba.njit``.
    """
    made = numba.njit(**options)(function)
    if (code := _code_on_disk(function)) is not None:
        made._cache = code
    return made


def cached_cfunc(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Return ``numba.cfunc(signature, **options)(function)``, whose machine code is kept on disk where that is possible.

    Parameters
    ----------
    signature
        As ``numba.cfunc`` takes it.
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
    """Finds the folder for a function's machine code."""

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Folder | None:
        """Return one whose folder can be written to, or None."""
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


class _CodeOnDisk(caching.FunctionCache):
    """The machine code of one function; none of its errors reaches a caller."""

    _impl_class = _Implementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for a signature, or None; what can't be loaded is dropped."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # unpickling damaged bytes can end in about anything
            logger.warning(
                "compiled code in %s can't be loaded (%s): it is dropped and compiled again",
                self._files(),
                _one_line(error),
            )
        try:
            self.flush()  # type: ignore[no-untyped-call]  # an empty index: the code is written anew
        except Exception as error:
            self._leave(error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for a signature, if it can be."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        self.disable()  # type: ignore[no-untyped-call]
        _warn_once(f"can't be written to {self.cache_path} ({_one_line(error)})")
        logger.debug("compiled code of %s is not kept", self._files())

    def _files(self) -> str:
        return str(Path(self.cache_path) / f"{self._impl.filename_base}.*")


def _code_on_disk(function: Callable[..., Any]) -> _CodeOnDisk | None:
    try:
        return _CodeOnDisk(function)  # type: ignore[no-untyped-call]
    except RuntimeError:  # numba: no locator available
        _warn_once(
            "can't be kept, since neither the package's folder nor the user's cache folder can be written to"
        )
    return None


@cache
def _warn_once(why: str) -> None:
    logger.warning(
        "compiled code %s: every process compiles for some seconds; set NUMBA_CACHE_DIR to a folder that can be written to",
        why,
    )


def _parents(source: Path) -> Iterator[Path]:
    """Yield the folders in which the folder of a module's code may lie, the best first."""
    # Sources of the same name in other places, such as other checkouts, have other folders.
    own = f"{source.parent.name}_{hashlib.sha256(bytes(source.parent)).hexdigest()[:16]}"
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR) / own  # type: ignore[attr-defined]
    yield source.parent / "__pycache__"
    user = user_cache_folder()
    if user is not None:
        yield user / "compiled" / own


def _remove_former(parent: Path, stem: str, *, keep: str) -> None:
    """Remove the code of former sources of a module."""
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
    """Return a source and the modules of spikestore that it imports; names that are no modules may be among them."""
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
