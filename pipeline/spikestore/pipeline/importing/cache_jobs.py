"""Tasks of an import. First all items of a cache are read and checked; then they are stored, fragment by fragment.

Opening files takes most of the time. In one process, HDF5 opens one file after the other, even with several threads.
Therefore each worker is a process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.execution.fragment_task import FragmentReport
from spikestore.pipeline.importing.cache_files import CachedSample, read_sample
from spikestore.pipeline.sources.file_hashes import FileStamp, check_unchanged
from spikestore.store.build import Build
from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.specs.transform import Transform

CHUNK_ITEMS = 64
"""Maximum number of items that a task reads: the number of samples in a block."""


class ChunkContents(NamedTuple):
    """Properties of the items that a task has read. If `ReadJob.keep` is true, also the items themselves."""

    chunk: int
    """Number of the chunk."""
    nnz: list[int]
    """Number of non-zeros of each item."""
    has_y: list[bool]
    """Whether the frames of each item have an axis y."""
    targets: list[int | str]
    """Target of each item."""
    samples: list[CachedSample] | None
    """The items in small dtypes; None if `ReadJob.keep` is false."""

    @property
    def nbytes(self) -> int:
        """Memory of the items that were kept, in bytes."""
        return sum(sample.indices.nbytes + sample.values.nbytes for sample in self.samples or ())


@dataclass(frozen=True, slots=True)
class ReadJob:
    """Inputs of the tasks that read and check all items; task i reads chunk i.

    Attributes
    ----------
    root : pathlib.Path
        The cache.
    names : tuple of str
        The cache's file names, in the order of the items, from item `first` on.
    transform : Transform
        The transform that filled the cache.
    keep : bool
        Whether results contain the items in addition to facts about them.
    first : int
        Number of the first item of `names`: 0, or the first item of the chunk if `only` returned this job.
    """

    root: Path
    names: tuple[str, ...]
    transform: Transform
    keep: bool
    first: int = 0

    @property
    def chunks(self) -> int:
        """Number of chunks into which `names` is divided."""
        return -(-len(self.names) // CHUNK_ITEMS)

    def only(self, chunk: int) -> ReadJob:
        """Return a smaller copy of this job for a worker. The copy has only the file names of this chunk."""
        return replace(self, names=self._names_of(chunk), first=chunk * CHUNK_ITEMS)

    def run(self, chunk: int) -> ChunkContents:
        """Read the items of a chunk; errors are those of `read_sample`."""
        samples = [read_sample(self.root / name, self.transform) for name in self._names_of(chunk)]
        return ChunkContents(
            chunk,
            [len(sample.indices) for sample in samples],
            [sample.has_y for sample in samples],
            [sample.target for sample in samples],
            [
                sample._replace(indices=_narrow(sample.indices), values=_narrow(sample.values))
                for sample in samples
            ]
            if self.keep
            else None,
        )

    def _names_of(self, chunk: int) -> tuple[str, ...]:
        begin = chunk * CHUNK_ITEMS - self.first
        return self.names[begin : begin + CHUNK_ITEMS]


@dataclass(frozen=True, slots=True)
class StoreJob:
    """Inputs of the tasks that store the items of a cache; task k stores fragment k.

    Attributes
    ----------
    build : Build
        The build.
    stamps : tuple of FileStamp
        Status of each file when it was hashed, in the order of items, from item `first` on.
    transform : Transform
        The transform that filled the cache.
    classes : tuple of str
        Class names.
    samples : sequence of CachedSample, optional
        All items; None if the items are not in memory, so that their files must be read.
    first : int
        Number of the first item of `stamps`: 0, or the first item of the fragment if `only` returned this job.
    """

    build: Build
    stamps: tuple[FileStamp, ...]
    transform: Transform
    classes: tuple[str, ...]
    samples: Sequence[CachedSample] | None = None
    first: int = 0

    def only(self, fragment: int) -> StoreJob:
        """Return a copy that contains the files of one fragment only, to send to a worker."""
        return replace(self, stamps=self._stamps_of(fragment), first=self.build.plan.rows(fragment).start)

    def run(self, fragment: int) -> FragmentReport:
        """Store a fragment and return a report.

        Raises
        ------
        SourceChangedError
            A file has changed since it was hashed.
        LayoutError, SourceNotFoundError, SourceError
            A file cannot be read again; see `read_sample`.
        StoreError
            The fragment cannot be stored.
        """
        began = time.perf_counter()
        rows = self.build.plan.rows(fragment)
        if self.samples is not None:
            samples = self.samples[rows.start : rows.stop]
        else:
            stamps = self._stamps_of(fragment)
            samples = [read_sample(stamp.path, self.transform) for stamp in stamps]
            check_unchanged(stamps)
        columns = _columns(samples, self.classes)
        record = self.build.put_fragment(fragment, columns)
        return FragmentReport(fragment, len(rows), record.nnz, time.perf_counter() - began)

    def _stamps_of(self, fragment: int) -> tuple[FileStamp, ...]:
        rows = self.build.plan.rows(fragment)
        return self.stamps[rows.start - self.first : rows.stop - self.first]


def _narrow(column: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return a column with the smallest unsigned dtype that holds its numbers, none of which is negative."""
    return column.astype(np.min_scalar_type(int(column.max(initial=0))))


def _columns(samples: Sequence[CachedSample], classes: tuple[str, ...]) -> SampleColumns:
    numbers = {name: number for number, name in enumerate(classes)}
    return SampleColumns(
        index=np.concatenate([sample.indices for sample in samples]),
        value=np.concatenate([sample.values for sample in samples]),
        nnz=np.array([len(sample.indices) for sample in samples], np.uint32),
        n_bins=np.array([sample.n_bins for sample in samples], np.uint32),
        label=np.array(
            [
                numbers[sample.target] if isinstance(sample.target, str) else sample.target
                for sample in samples
            ],
            np.int32,
        ),
        extras={},
    )
