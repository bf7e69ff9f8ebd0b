"""Division of the work on a batch among threads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

Part = Callable[[int, int], int]
"""Works on samples `first` to `last` - 1 of a batch; returns a number."""


class SharedWork:
    """Work on a batch, divided into parts; each thread that helps takes the next part that no other thread has taken.

    Parameters
    ----------
    part : callable
        Does a part of the work.
    ranges : list of (int, int)
        First sample, and last sample + 1, of each part.
    pool : Executor, optional
        Threads that help; None if only the thread that calls the method `largest` does the work.
    """

    def __init__(self, part: Part, ranges: list[tuple[int, int]], pool: Executor | None) -> None:
        self._part: Part | None = part
        self._ranges = deque(ranges)
        self._numbers: list[int] = []
        self._errors: list[BaseException] = []
        self._helpers = [] if pool is None else [pool.submit(self._help) for _ in ranges]

    def _help(self) -> None:
        """Do parts of the work until no part is left."""
        part = self._part
        while part is not None:
            try:
                # In this block, because Ctrl-C may arrive when the range is taken.
                samples = self._next_range()
                if samples is None:
                    return
                self._numbers.append(part(*samples))
            except BaseException as error:  # raised by `largest`
                self._errors.append(error)

    def _next_range(self) -> tuple[int, int] | None:
        try:
            return self._ranges.popleft()
        except IndexError:
            return None

    def largest(self) -> int:
        """Do the parts that no thread has taken, and wait for the other parts.

        Each part returns a number; the result is the largest of these numbers, or -1 if there are no parts.

        If a part raised an error, this error is raised; an interrupt (Ctrl-C) takes precedence over other errors. A second call
        returns the same number. Only one thread may call this method at a time.
        """
        self._help()
        for helper in self._helpers:
            # Helpers that have not begun are not waited for: the pool may be reading.
            if not helper.cancel():
                helper.result()
        self._helpers = []
        # A thread of the pool may look at cancelled work long after this, and the part refers to the batch's memory.
        self._part = None
        if self._errors:
            # The first one that is no `Exception`, else the first one: code that handles the error of a part must not end an interrupt.
            raise min(self._errors, key=lambda error: isinstance(error, Exception))
        return max(self._numbers, default=-1)


class ParallelFor:
    """Divides work on the samples of a batch among threads.

    Parameters
    ----------
    pool : Executor, optional
        The threads; None for the calling thread only.
    parts : int
        Number of parts, one for each thread; fewer if there are fewer samples.
    """

    def __init__(self, pool: Executor | None, parts: int) -> None:
        self._pool = pool
        self._parts = parts

    def begin(self, part: Part, samples: int) -> SharedWork:
        """Divide the samples 0 to `samples` - 1 into ranges, and begin to call ``part(first, last)`` for these ranges in the threads.

        Threads that have other work may begin late or not at all; the thread that calls `SharedWork.largest` does the
        ranges that no thread has taken.
        """
        parts = min(self._parts, samples)
        edges = [samples * number // parts for number in range(parts + 1)] if parts else [0]
        ranges = [*itertools.pairwise(edges)]
        return SharedWork(part, ranges, self._pool)
