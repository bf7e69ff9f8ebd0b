"""Description of a data set: its name, files, splits, reader, columns, licence and citation.

Each data set is one module that makes one `Dataset`: ours stand in `spikestore.pipeline.readers.registry`, those of other packages
come by entry points of the group ``spikestore.datasets``. Nothing here imports a reader's libraries: a run that finds everything
in the store needs none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.split_files import FileTree, SplitFiles
from spikestore.store_schemas.errors import UnknownNameError, UsageError
from spikestore.store_schemas.layout import EXTRAS
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.specs.source import Source

OpenReader = Callable[[Source, Path, int], Reader]
"""Called with a source, the data set's folder, and the row of the source's first file; returns a reader of its recordings."""

_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class TonicClass:
    """The class of ``tonic.datasets`` that has a data set's name.

    Attributes
    ----------
    module : str
        Where it is: ``tonic.datasets.<module>``.
    label_of : callable, optional
        Returns the target of a file by its name, where each file is a recording.
    options : tuple of str
        Arguments that change the events that the class reads: only their default, False, has a reader.
    split_of : callable, optional
        Returns the split of an object of the class, where this is neither told by a file's name nor by an attribute ``train``;
        raises ValueError with the reason why the object has no reader.
    """

    module: str
    label_of: Callable[[str], int | str] | None = None
    options: tuple[str, ...] = ()
    split_of: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A data set with a reader.

    Attributes
    ----------
    name : str
        Its name, as in recipes; that of its class in `tonic.datasets`, if there is one.
    reader : str
        Name of the reader, as in ``Source.reader``: part of the key.
    reader_version : int
        Version of its results, from 1: part of the key. A reader that reads the same files as other events, labels or columns
        needs another one.
    splits : mapping of str to SplitFiles
        Where the files of each split are, training first; none if the recipe describes them.
    open : callable
        Opens a source.
    citation : str
        What to cite.
    licence : str, optional
        Licence of the recordings, as their authors publish them; None if it is not known for sure.
    columns : tuple of str
        Columns that the reader gives on request (``Source.columns``), besides those that it always gives.
    tonic : TonicClass, optional
        Tonic's class.
    described_by_recipe : bool
        Whether the recipe describes files, labels and splits: then it has no `splits`.

    Raises
    ------
    UsageError
        A name, a version or a column can't be stored.
    """

    name: str
    reader: str
    reader_version: int
    splits: Mapping[str, SplitFiles]
    open: OpenReader
    citation: str
    licence: str | None = None
    columns: tuple[str, ...] = ()
    tonic: TonicClass | None = None
    described_by_recipe: bool = False

    def __post_init__(self) -> None:
        names = [name for name in (self.reader, *self.splits) if NAME.match(name) is None]
        if _DATASET_NAME.fullmatch(self.name) is None or names:
            wrong = ", ".join(map(repr, names)) or repr(self.name)
            raise UsageError(f"data set {self.name!r}: {wrong} is no name of a reader, split or data set")
        if self.reader_version < 1 or not (self.splits or self.described_by_recipe):
            raise UsageError(f"data set {self.name}: give at least one split, and a reader_version from 1")
        refuse_other_columns(f"data set {self.name}", self.columns)

    def refuse_unknown_column(self, column: str) -> None:
        """Raise `UnknownNameError` if the reader has no such optional column."""
        if column not in self.columns:
            known = f"it has {', '.join(self.columns)}" if self.columns else "it has none"
            raise UnknownNameError(
                f"{self.name} has no column {column!r} that can be asked for: {known}",
                name=column,
                known=self.columns,
            )

    @property
    def file_per_recording(self) -> bool:
        """True if recording i is file i of the source."""
        return all(isinstance(files, FileTree) for files in self.splits.values())


def refuse_other_columns(what: str, columns: tuple[str, ...]) -> None:
    """Raise `UsageError` if format 1 cannot store a column of a reader."""
    storable = [name for name in EXTRAS if not name.startswith("n_")]
    other = [name for name in columns if name not in storable]
    if other:
        raise UsageError(
            f"{what} has a column {other[0]!r}, which format 1 can't store: it has {' and '.join(storable)}"
        )
