"""Machine code that numba keeps on disk, so that only the first process compiles.

numba itself is not imported here: who compiles hands in its decorator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)


def kept(decorate: Callable[..., Any], function: Callable[..., Any], **options: Any) -> Any:
    """Return ``decorate(cache=True, **options)(function)``; without the cache where there is no place for it.

    numba looks for a folder that can be written to: ``$NUMBA_CACHE_DIR``, the package's own, the user's.

    Parameters
    ----------
    decorate : callable
        A decorator of numba's that knows ``cache``.
    function : callable
        What to compile.
    **options
        More options of the decorator.
    """
    try:
        return decorate(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        _say()
    return decorate(**options)(function)


@cache
def _say() -> None:
    logger.warning(
        "compiled code can't be kept, since neither the package's folder nor the user's cache folder can be written "
        "to: every process compiles for some seconds; set NUMBA_CACHE_DIR to a folder that can be"
    )
