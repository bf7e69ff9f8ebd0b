"""How functions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile at the first call, and keep the machine code for other processes where there is a place for it."""
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


def inner(function: _Function) -> _Function:
    """Compile as part of the functions that call it."""
    made: Any = numba.njit(nogil=True)(function)
    return made  # type: ignore[no-any-return]
