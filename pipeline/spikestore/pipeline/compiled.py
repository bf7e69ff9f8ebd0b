"""Decorators that compile functions with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile at the first call, and cache the machine code for other processes if a cache folder is writable."""
    dispatcher: Any = cached_njit(function, nogil=True)
    return dispatcher  # type: ignore[no-any-return]


def inner(function: _Function) -> _Function:
    """Compile as part of the calling functions, without a cache entry."""
    dispatcher: Any = numba.njit(nogil=True)(function)
    return dispatcher  # type: ignore[no-any-return]
