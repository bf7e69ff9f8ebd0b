"""Decorators that compile functions with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call; cache the machine code for other processes if a cache folder is writable."""
    dispatcher: Any = cached_njit(function, nogil=True)
    return dispatcher  # type: ignore[no-any-return]


inner = compiled
"""Decorator for functions that other compiled functions call. Their code is cached too, so that other callers need not compile them again."""


def inlined(function: _Function) -> _Function:
    """Compile a function that other compiled functions call in inner loops; its code is always put into the caller.

    A call that is not inlined takes long if the function has many arrays as parameters.
    """
    dispatcher: Any = cached_njit(function, nogil=True, forceinline=True)
    return dispatcher  # type: ignore[no-any-return]
