"""Sources from files on disk: find the files, and identify them by their hashes.

The source keeps the status of each file (`FileStamp`), so that a build can check that the files have not changed since they
were hashed (`check_unchanged`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikestore.pipeline.readers.registry import dataset_files, dataset_named, open_reader
from spikestore.pipeline.sources.file_hashes import FileStamp, hash_files
from spikestore.pipeline.sources.hash_cache import HashCache
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import SourceError
from spikestore.store_schemas.specs.items import FilePart
from spikestore.store_schemas.specs.source import OnError, Source

if TYPE_CHECKING:
    from spikestore.pipeline.readers.items.items_reader import LocatedPart
    from spikestore.pipeline.readers.reader import Reader

_TABLE_FROM = 100
"""Minimum number of files whose hashes are cached together in one document."""


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """A source with the paths of its files on this machine.

    Attributes
    ----------
    source : Source
        The source, which determines the key.
    root : pathlib.Path
        Folder of the data set; the names in ``source.files`` are relative to it.
    stamps : tuple of FileStamp
        Path, size and times of each file in ``source.files``, or in the parts of ``source.items``.
    first_row : int
        Row of the first recording, counted in the whole source. It is 0, except in what the method `part` returns.
    parts : tuple of LocatedPart
        For each part of ``source.items``, the folder or object with its recordings. Empty if the source has no ``items``.
    """

    source: Source
    root: Path
    stamps: tuple[FileStamp, ...]
    first_row: int = 0
    parts: tuple[LocatedPart, ...] = ()

    def open(self) -> Reader:
        """Return an open reader of the recordings; errors are those of `spikestore.pipeline.readers.registry.open_reader`."""
        if self.source.items is not None:
            from spikestore.pipeline.readers.items.items_reader import ItemsReader

            return ItemsReader(self.source.items, self.parts, first_row=self.first_row)
        return open_reader(self.source, self.root, first_row=self.first_row)

    @property
    def seconds_to_read(self) -> float:
        """Approximate time in s to read the rows of data set objects; 0 for files. The transform takes further time."""
        items = self.source.items
        if items is None:
            return 0.0
        import numpy as np  # a run with nothing to do needs no NumPy

        starts = np.cumsum([0, *(part.length for part in items.parts)])
        part_of = np.searchsorted(starts, np.asarray(items.row_numbers), side="right") - 1
        rows: list[int] = np.bincount(part_of, minlength=len(items.parts)).tolist()
        return sum(n * place.seconds_per_item for n, place in zip(rows, self.parts, strict=True))

    def part(self, rows: range) -> LocatedSource:
        """Return a copy of the source that has only the files of some rows, to send to a task.

        If each recording is one file, the files of other rows are removed: sending the names, hashes and stamps of all
        60,000 files of N-MNIST to each task would take 12 MB. If the source has ``items``, the parts of ``items`` are
        cut in the same way. Any other source is returned as it is. Rows keep their numbers. A cut copy has no
        ``limit``; do not use its key.

        Parameters
        ----------
        rows : range
            Consecutive rows of the source.
        """
        own = slice(rows.start - self.first_row, rows.stop - self.first_row)
        if self.source.items is not None:
            from spikestore.pipeline.readers.items.items_reader import rows_of_content

            items, parts = rows_of_content(self.source.items, self.parts, own)
            source = self.source.model_copy(update={"items": items, "limit": None})
            used = {
                path
                for part, place in zip(items.parts, parts, strict=True)
                if isinstance(part, FilePart) and place.root
                for path in _paths(place.root, [file.name for file in part.files])
            }
            stamps = tuple(stamp for stamp in self.stamps if stamp.file in used)
            return replace(self, source=source, stamps=stamps, first_row=rows.start, parts=parts)
        if not dataset_named(self.source.dataset).file_per_recording:
            return self
        folder = None if self.source.folder is None else self.source.folder.part(own)
        update = {"files": self.source.files[own], "limit": None, "folder": folder}
        source = self.source.model_copy(update=update)
        return replace(self, source=source, stamps=self.stamps[own], first_row=rows.start)


def make_source(
    dataset: str,
    split: str,
    folder: Path | str,
    *,
    sort: bool = False,
    on_error: OnError = "raise",
    limit: int | None = None,
    columns: Iterable[str] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> LocatedSource:
    """Return one split of a data set, identified by the content of its files.

    Parameters
    ----------
    dataset, split : str
        Name of the data set, as in `spikestore.pipeline.readers.registry`, and name of the split.
    folder : pathlib.Path or str
        Tonic's ``save_to``, or the folder with the files themselves.
    sort : bool
        Sort each recording's events by time.
    on_error : {"raise", "skip"}
        Effect of a recording that cannot be transformed: an error, or a skipped recording.
    limit : int, optional
        Read only this many recordings from the start.
    columns : iterable of str
        Optional columns to store, such as ``user`` of DVSGesture; part of the key.
    cache : pathlib.Path, optional
        Folder of the hash cache; by default the user's cache folder. It need not exist or be writable.
    progress : callable, optional
        Called during hashing as ``progress(bytes_done, bytes_total, file_name)``.

    Raises
    ------
    UnknownNameError
        The data set, the split or a column does not exist.
    UsageError
        The package that registers the data set cannot be loaded, or two packages register it.
    SourceNotFoundError
        The folder or a file does not exist.
    SourceChangedError
        A file changed while it was hashed.
    SourceError
        A file cannot be read.
    SpecError
        An option has an invalid value.
    """
    registered = dataset_named(dataset)
    asked = sorted(set(columns))
    for column in asked:
        registered.refuse_unknown_column(column)
    root, names = dataset_files(dataset, split, folder)

    def source_of(files: list[dict[str, Any]]) -> Source:
        return Source.from_mapping(
            {
                "reader": registered.reader,
                "reader_version": registered.reader_version,
                "dataset": dataset,
                "split": split,
                "sort": sort,
                "on_error": on_error,
                "limit": limit,
                "files": files,
                **({"columns": asked} if asked else {}),
            },
            origin=f"source {dataset}/{split}",
        )

    # An invalid option raises here, before gigabytes are hashed.
    source_of([{"name": names[0], "size": 0, "sha256": "0" * 64}])
    files, stamps = identify_files(root, names, f"{dataset}/{split}", cache=cache, progress=progress)
    return LocatedSource(source_of(files), root, stamps)


def identify_files(
    root: Path,
    names: Sequence[str],
    label: str,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[dict[str, Any]], tuple[FileStamp, ...]]:
    """Return the content of the field ``files`` of a source, and for each file its path and status when it was hashed (`FileStamp`).

    Parameters
    ----------
    root : pathlib.Path
        The data set's folder.
    names : sequence of str
        Paths of the files, relative to the data set's folder.
    label : str
        Name of this set of files, such as the split. If there are many files, one document of the hash cache has the hashes of the
        whole set.
    cache : pathlib.Path, optional
        Folder of the hash cache; by default the user's cache folder.
    progress : callable, optional
        Called during hashing as ``progress(bytes_done, bytes_total, file_name)``.

    Raises
    ------
    SourceNotFoundError, SourceChangedError, SourceError
        See `make_source`.
    """
    for name in names:
        if not _is_text(name):  # names are stored, as text
            raise SourceError(
                f"the name of {root / name} is not UTF-8: rename the file", path=str(root / name)
            )
    paths = _paths(root, names)
    hashes = HashCache(cache)
    if len(names) < _TABLE_FROM:
        stamped = hash_files(paths, hashes, progress)
    else:
        with hashes.table(root, label) as table:
            stamped = hash_files(paths, table, progress)
    files = [
        {"name": name, "size": stamp.size, "sha256": digest}
        for name, (stamp, digest) in zip(names, stamped, strict=True)
    ]
    return files, tuple(stamp for stamp, _ in stamped)


def _paths(root: Path, names: Iterable[str]) -> list[str]:
    """Return the paths of files in a folder, as texts for `FileStamp.file`."""
    folder = os.path.join(root, "")  # noqa: PTH118 - with the separator at its end
    return [folder + name for name in names]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
