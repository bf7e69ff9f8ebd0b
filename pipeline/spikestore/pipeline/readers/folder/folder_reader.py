"""Reader of the data set ``folder``: each file is decoded by its format; labels and columns come from the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.event_files.file_per_recording import Decoded, FileReader, decode_each
from spikestore.pipeline.readers.folder.settings import FOLDER as NAME
from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.pipeline.readers.formats.events import FourColumns
from spikestore.pipeline.readers.formats.registry import format_named, format_of
from spikestore.store_schemas.errors import UnknownNameError, UsageError
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.folder import FolderContent
from spikestore.store_schemas.specs.source import Source


class FolderReader(FileReader):
    """Reader of one split of a folder; recordings are sorted by the path of their file.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    source : Source
        The source, which has the member ``folder``.
    first_row : int
        If `source` is a part of a larger source: the row of its first file in the larger source.

    Raises
    ------
    UsageError
        The source lacks the member ``folder``, states another version of a format, or states a format of a package that is
        not installed.
    """

    name = NAME
    version = 1

    def __init__(self, root: Path, source: Source, first_row: int) -> None:
        if source.folder is None:
            raise UsageError(
                f"the source {source.dataset}/{source.split} lacks the field 'folder': create the source from its recipe"
            )
        self._content_of: FolderContent = source.folder
        decoding = source.folder.decoding
        for name, version in decoding.formats.items():
            _refuse_other_version(name, version)
        self.classes = source.folder.classes
        self.has_y = "y" in decoding.fields
        fields = [
            ("t", np.int64),
            ("x", np.int32),
            *([("y", np.int32)] if self.has_y else []),
            ("p", np.uint8),
        ]
        self.event = np.dtype(fields)
        self._places = {file.name: place for place, file in enumerate(source.files)}
        # The other columns stay in the source (docs/format.md, "Folder").
        stored = tuple(name for name in source.columns if name in FOLDER.columns)
        super().__init__(root, source.files, first_row=first_row, limit=source.limit, columns=stored)

    @classmethod
    def open(cls, source: Source, root: Path, first_row: int) -> Self:
        """Return a reader of a source; see `spikestore.pipeline.readers.dataset.OpenReader`."""
        return cls(root, source, first_row)

    def labels_of(self, files: Sequence[SourceFile]) -> npt.NDArray[np.int64]:
        """Return the label of each file; `files` must be the first files of the source."""
        return np.array(self._content_of.labels[: len(files)], np.int64)

    def extras_of(self, files: Sequence[SourceFile]) -> dict[str, npt.NDArray[np.int64]]:
        """Return the columns `extras` with one value for each of `files`, in their order."""
        places = [self._places[file.name] for file in files]
        columns = self._content_of.columns
        return {name: np.array(columns[name], np.int64)[places] for name in self.extras}

    @property
    def estimates_events(self) -> bool:
        """Whether the sizes of some files tell only roughly how many events the files have."""
        formats = {format_of(file.name) for file in self.files}
        return any(known is not None and not known.is_least for known in formats)

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return an estimate of the number of events of each recording, from the size of its file."""
        counts = [known.n_events(file.size) if (known := format_of(file.name)) else 0 for file in self.files]
        return np.array(counts, np.int64)

    def decode_files(self, files: Sequence[SourceFile], contents: Sequence[bytes]) -> Decoded:
        """Return the events of the given files."""
        fields = self._content_of.decoding.fields
        event = np.dtype([("t", np.int64), ("x", np.int32), ("y", np.int32), ("p", np.uint8)])
        decoded = decode_each(list(zip(files, contents, strict=True)), self._columns, event)
        return decoded._replace(
            y=decoded.y if "y" in fields else None, p=decoded.p if "p" in fields else None
        )

    def _columns(self, file: tuple[SourceFile, bytes]) -> FourColumns:
        """Return the columns t, x, y and p of one file; y or p is an empty array if the recordings do not have this field."""
        known, decoding = format_of(file[0].name), self._content_of.decoding
        if known is None:
            raise ValueError("its format is not known")
        events = clean_events(known.events_of(file[0].name, file[1]), decoding)
        present = tuple(name for name, column in events._asdict().items() if column is not None)
        if present != decoding.fields:
            raise ValueError(
                f"it has the fields {', '.join(present)}, other recordings have {', '.join(decoding.fields)}"
            )
        y = np.empty(0, np.int32) if events.y is None else events.y
        p = np.empty(0, np.uint8) if events.p is None else events.p
        return events.t, events.x, y, p


def _refuse_other_version(name: str, version: int) -> None:
    try:
        installed = format_named(name).version
    except UnknownNameError as error:
        raise UsageError(f"{error.message}: install the package that reads this format") from None
    if installed != version:
        raise UsageError(
            f"the recordings need the format {name} version {version}, but the installed format has version {installed}: "
            "use the same versions of all packages in all processes; if this source was pickled, create it again from the recipe"
        )


FOLDER = Dataset(
    name=NAME,
    reader=FolderReader.name,
    reader_version=FolderReader.version,
    splits={},
    open=FolderReader.open,
    citation="",
    columns=("speaker", "user"),
    described_by_recipe=True,
)
"""A folder of recordings; a recipe describes its splits."""
