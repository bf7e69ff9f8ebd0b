"""Options of a build. They do not change the samples of the resulting feature set."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.transform import ExecutorName

if TYPE_CHECKING:
    from spikestore.pipeline.recipes.resolve import OpenedRecipe


_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of a build. They do not change the samples of the resulting feature set.

    Attributes
    ----------
    workers : int, optional
        Number of local worker processes; if it is 0, this process builds the fragments itself. The default is one worker process
        per core, or one thread of this process per core if threads are expected to finish sooner.
    scheduler : str, optional
        Address of a running Dask scheduler, to use instead of local workers.
    fragment_samples : int, optional
        Number of samples per fragment, rounded up to a multiple of 64.
    restart : bool
        Start a new build instead of resuming an unfinished build.
    executor : {"auto", "fused", "tonic"}
        Code that computes the transform; all values of `executor` give the same samples. ``auto`` uses ``fused`` or a third
        implementation, plain NumPy. Plain NumPy is used if ``fused`` does not support the transform. It is also used if fewer than
        2,000,000 events are to be read, `scheduler` is not set, and either `part` is not set or the recipe has a sweep.
    part : tuple of int and int, optional
        ``(i, n)``: build only part i of n, counted from 1, and commit nothing; for job arrays.
    finalise : bool
        Compute nothing: commit the fragments of all parts, or report which are missing.
    allow_empty : bool
        If True, a set in which no time bin has an event is accepted; if False, such a set is an error.
    reuse : bool
        If True, and if a committed set of the same transform has some of the recordings, the rows of these recordings are copied
        from that set. If False, no rows are copied.
    derive : bool
        If True, and if a finer set of the same source gives the same samples, the new set is computed from the finer set. If
        False, no set is computed from a finer set.
    upstreams : tuple of str
        Stores to search before a set is computed; the upstreams of a recipe are searched after these stores.
    progress : callable, optional
        Called as ``progress(samples_done, samples_total, label)``.
    copy_progress : callable, optional
        Called during copies from an upstream as ``copy_progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    UsageError
        `part` is out of range, or two of `part`, `finalise` and `restart` are combined.
    """

    workers: int | None = None
    scheduler: str | None = None
    fragment_samples: int | None = None
    restart: bool = False
    executor: ExecutorName = "auto"
    part: tuple[int, int] | None = None
    finalise: bool = False
    allow_empty: bool = False
    reuse: bool = True
    derive: bool = True
    upstreams: tuple[str, ...] = ()
    progress: Progress | None = None
    copy_progress: Progress | None = None

    def __post_init__(self) -> None:
        if (self.part is not None) + self.finalise + self.restart > 1:
            raise UsageError(
                "give only one of --part, --finalise and --restart: --finalise commits what all parts wrote, and --restart discards all fragments of the unfinished build"
            )
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise UsageError(f"part must be (i, n) with i from 1 to n, got {self.part}")

    def with_recipe(self, opened: OpenedRecipe) -> BuildOptions:
        """Return a copy in which options that have their default get the value in the recipe, if the recipe has one.

        If `scheduler` is set, `workers` keeps its value. The stores that the recipe names as upstreams are appended to `upstreams`.
        """
        build = opened.recipe.build
        workers = self.workers if self.workers is not None or self.scheduler else build.workers
        return replace(
            self,
            workers=workers,
            fragment_samples=self.fragment_samples or build.fragment_samples,
            executor=build.executor if self.executor == "auto" else self.executor,
            allow_empty=self.allow_empty or build.allow_empty,
            upstreams=(*self.upstreams, *opened.upstreams),
        )


def parse_part(text: str) -> tuple[int, int]:
    """Return ``(i, n)`` for the text ``I/N``.

    Raises
    ------
    UsageError
        The text has another form, or I is not between 1 and N.
    """
    match = _PART.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--part must be I/N with I from 1 to N, such as 3/16, got {text!r}")
    return int(match[1]), int(match[2])
