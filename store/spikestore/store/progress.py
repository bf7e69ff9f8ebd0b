"""Types of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called as ``progress(done, total, label)`` with numbers of bytes, samples or objects; never by two threads at once."""

UnlabelledProgress: TypeAlias = Callable[[int, int], None]
"""Called as ``progress(done, total)`` by work on one set or one store; `labelled` makes such a callback."""


def labelled(progress: Progress, label: str) -> UnlabelledProgress:
    """Return a callback that calls `progress` with a fixed label."""
    return lambda done, total: progress(done, total, label)
