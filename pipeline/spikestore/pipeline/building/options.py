"""How to build; nothing here changes the result."""

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
    """How to build; nothing here changes the result.

    Attributes
    ----------
    workers : int, optional
        Local worker processes, one per core by default; 0 works in this process.
    scheduler : str, optional
        Address of a running Dask scheduler, to use instead of local workers.
    fragment_samples : int, optional
        Wished rows of a fragment, rounded up to a multiple of 64.
    restart : bool
        Begin anew instead of going on with an unfinished build.
    executor : {"auto", "fused", "tonic"}
        Who runs the transform; the samples are the same. ``auto`` is the fused pass where it can, else plain NumPy.
    part : tuple of int and int, optional
        ``(i, n)``: build only share i of n, from 1, and commit nothing. For job arrays.
    finalise : bool
        Compute nothing: commit what the jobs of `part` have built, or say what is missing.
    allow_empty : bool
        Accept a set without any event in a time bin, which is an error otherwise.
    upstreams : tuple of str
        Stores that are asked before anything is computed; a recipe's own come after these.
    progress : callable, optional
        Called as ``progress(samples_done, samples_total, label)``.
    copy_progress : callable, optional
        Called during copies from an upstream as ``copy_progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    UsageError
        `part` is no share, or goes together with `finalise` or `restart`.
    """

    workers: int | None = None
    scheduler: str | None = None
    fragment_samples: int | None = None
    restart: bool = False
    executor: ExecutorName = "auto"
    part: tuple[int, int] | None = None
    finalise: bool = False
    allow_empty: bool = False
    upstreams: tuple[str, ...] = ()
    progress: Progress | None = None
    copy_progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.part is None:
            return
        number, of = self.part
        if not 1 <= number <= of:
            raise UsageError(f"there is no part {number} of {of}: parts are 1 to {max(of, 1)}")
        if self.finalise or self.restart:
            raise UsageError(
                "--part goes with neither --finalise nor --restart: begin anew before the parts start"
            )

    def with_recipe(self, opened: OpenedRecipe) -> BuildOptions:
        """Return these options with what the recipe says where the caller said nothing."""
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
    """Return the part that ``I/N`` means.

    Raises
    ------
    UsageError
        It is no part, or I is not between 1 and N.
    """
    match = _PART.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--part is I/N with I from 1 to N, such as 3/16, not {text!r}")
    return int(match[1]), int(match[2])
