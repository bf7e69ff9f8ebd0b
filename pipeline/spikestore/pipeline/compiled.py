"""Decorators that compile functions with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call; cache the machine code for other processes if a cache folder is writable."""
    dispatcher: Any = cached_njit(function, nogil=True)
    return dispatcher  # type: ignore[no-any-return]


def inner(function: _Function) -> _Function:
    """Compile a function as part of the functions that call it; it has no cache entry of its own."""
    dispatcher: Any = numba.njit(nogil=True)(function)
    return dispatcher  # type: ignore[no-any-return]
