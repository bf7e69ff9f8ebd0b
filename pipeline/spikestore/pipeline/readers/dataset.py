"""Description of a data set: its name, files, splits, reader, columns, licence and citation.

Each data set has a module that creates one `Dataset`. `spikestore.pipeline.readers.registry` lists the built-in data sets.
Other packages register their data sets as entry points of the group ``spikestore.datasets``. The libraries of
readers are not imported here, because a run that finds all feature sets in the store does not need them.
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
"""Called with a source, the data set's folder, and the row of the source's first file; returns a reader of the source's recordings.

The row is 0, unless the source is a part of a larger source.
"""

_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class TonicClass:
    """The class of ``tonic.datasets`` for the same data set.

    Attributes
    ----------
    module : str
        Module of the class: ``tonic.datasets.<module>``.
    label_of : callable, optional
        Returns the target of a file from its name, if each file is a recording.
    options : tuple of str
        Arguments that change the events that the class reads; spikestore supports only their default, False.
    split_of : callable, optional
        Returns the split of an object of the class; needed if neither a file's name nor the attribute ``train`` determines the
        split. If spikestore cannot read the object, the function raises ValueError with the reason.
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
        Name of the data set in recipes. If `tonic.datasets` has a class for the data set, the data set has the name of this
        class.
    reader : str
        Name of the reader, as in ``Source.reader``; part of the key.
    reader_version : int
        Version of the reader's results, from 1; part of the key. If a reader returns other events, labels or columns for the same
        files, it needs a new version.
    splits : mapping of str to SplitFiles
        Files of each split, the training split first; empty if the recipe describes the files.
    open : callable
        Opens a source.
    citation : str
        The publication to cite.
    licence : str, optional
        Licence of the recordings, as published by their authors; None if it is not known for sure.
    columns : tuple of str
        Columns that the reader returns only on request (``Source.columns``).
    tonic : TonicClass, optional
        Tonic's class for the data set.
    described_by_recipe : bool
        Whether the recipe describes files, labels and splits; `splits` is empty then.

    Raises
    ------
    UsageError
        A name, a version or a column cannot be stored; or the data set has no splits and is not described by the recipe.
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
            raise UsageError(
                f"data set {self.name!r}: {wrong} is not a valid name: use letters, digits, '.', '_' and '-', "
                "begin with a letter or digit, and use at most 63 characters; names of readers and splits must be in lower case"
            )
        if self.reader_version < 1 or not (self.splits or self.described_by_recipe):
            raise UsageError(
                f"data set {self.name}: give at least one split, and a reader_version of 1 or more"
            )
        refuse_other_columns(f"data set {self.name}", self.columns)

    def refuse_unknown_column(self, column: str) -> None:
        """Raise `UnknownNameError` if the reader has no such optional column."""
        if column not in self.columns:
            known = f"it has {', '.join(self.columns)}" if self.columns else "it has none"
            raise UnknownNameError(
                f"{self.name} has no column {column!r} that can be requested: {known}",
                name=column,
                known=self.columns,
            )

    @property
    def file_per_recording(self) -> bool:
        """Whether recording i is file i of the source."""
        return all(isinstance(files, FileTree) for files in self.splits.values())


def refuse_other_columns(what: str, columns: tuple[str, ...]) -> None:
    """Raise `UsageError` if format 1 of the store cannot hold one of the columns; `what` names their reader or data set in the message."""
    storable = [name for name in EXTRAS if not name.startswith("n_")]
    other = [name for name in columns if name not in storable]
    if other:
        raise UsageError(
            f"{what} has a column {other[0]!r}, which format 1 of the store can't hold: leave it out, or use {' or '.join(storable)}"
        )
