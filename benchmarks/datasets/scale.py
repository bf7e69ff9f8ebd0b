"""Sizes of a benchmark run, and new folders for measurements that write files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    Attributes
    ----------
    scratch : Path
        Folder for the files that rows write; it is deleted at the end.
    small : bool
        Whether rough numbers are enough.
    recordings, events : int, optional
        Number of recordings, and number of events of each recording. By default, each benchmark chooses them.
    """

    scratch: Path
    small: bool = False
    recordings: int | None = None
    events: int | None = None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Return a new empty folder, which the end of the ``with`` block deletes."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            yield Path(folder)
