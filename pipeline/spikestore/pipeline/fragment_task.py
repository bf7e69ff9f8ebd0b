"""One task: read the recordings of one fragment, transform them, store the fragment.

Runs in a worker process, in any order, as often as Dask likes: everything it writes is put-if-absent, and a
fragment that has its record already costs one look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from spikestore.pipeline.readers.datasets import open_reader
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.recording import Recording, Sample
from spikestore.pipeline.source_files import LocatedSource, check_unchanged
from spikestore.store_schemas.build import Build
from spikestore.store_schemas.columns import SKIPPED_LABEL, Layout, SampleColumns, concatenate
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.plan import Plan
from spikestore.store_schemas.record import EventCounts, SkippedRow
from spikestore.store_schemas.storage import Storage
from spikestore.store_schemas.transform import Transform

READ_BLOCK = 256
"""Recordings read from the files at once."""

LOSSY_SHARE = 0.05
"""A sample that loses more than this share of its events, because no bin holds them, is worth a warning."""


@dataclass(frozen=True, slots=True)
class FragmentJob:
    """What all fragments of a build share; goes to the workers with every task, a few kilobytes.

    Attributes
    ----------
    storage : Storage
        The store.
    plan : Plan
        The build.
    located : LocatedSource
        The recordings.
    transform : Transform
        What is done to them.
    """

    storage: Storage
    plan: Plan
    located: LocatedSource
    transform: Transform

    def only(self, fragment: int) -> FragmentJob:
        """Return what one fragment needs of this, to be sent to a worker."""
        return replace(self, located=self.located.part(self.plan.rows(fragment)))


class FragmentReport(NamedTuple):
    """What a task says when it is done."""

    fragment: int
    samples: int
    nnz: int
    seconds: float
    """Spent in the task; about 0 if another builder had stored the fragment already."""


def build_fragment(job: FragmentJob, fragment: int) -> FragmentReport:
    """Store one fragment, unless it has its record already.

    Raises
    ------
    RecordingError
        A recording can't be transformed, and the source does not say ``on_error = "skip"``.
    SourceChangedError
        A file is no longer the one that was hashed.
    StoreError
        The fragment can't be stored.
    """
    began = time.perf_counter()
    build = Build(job.storage, job.plan)
    rows = job.plan.rows(fragment)
    if build.has_fragment(fragment):
        return FragmentReport(fragment, len(rows), 0, time.perf_counter() - began)
    job = job.only(fragment)
    check_unchanged(job.located.stamps)
    with open_reader(job.located.source, job.located.root, first_row=job.located.first_row) as reader:
        columns, skipped, events = transform_rows(job, reader, rows)
    check_unchanged(job.located.stamps)
    record = build.put_fragment(fragment, columns, skipped=skipped, events=events)
    return FragmentReport(fragment, len(rows), record.nnz, time.perf_counter() - began)


def transform_rows(
    job: FragmentJob, reader: Reader, rows: range
) -> tuple[SampleColumns, list[SkippedRow], EventCounts]:
    """Read and transform recordings.

    Returns
    -------
    columns : SampleColumns
        One row for each of `rows`, with stored dtypes.
    skipped : list of SkippedRow
        Rows without a sample, and why.
    events : EventCounts
        What happened to the events.
    """
    from spikestore.pipeline.tonic_chain import TonicChain

    chain = TonicChain(job.transform, has_y=reader.has_y)
    skip = job.located.source.on_error == "skip"
    skipped: list[SkippedRow] = []
    parts: list[SampleColumns] = []
    for start in range(rows.start, rows.stop, READ_BLOCK):
        stop = min(start + READ_BLOCK, rows.stop)
        packing = _Packing(job.plan.layout)
        for row, found in enumerate(reader.read(start, stop), start):
            try:
                recording = _recording(found)
                packing.add(
                    recording, chain(recording.events, name=reader.name_of(row), sort=job.located.source.sort)
                )
            except RecordingError as error:
                if not skip:
                    hint = 'mend it, or say on_error = "skip" under [source] to leave such recordings out'
                    raise RecordingError(f"{error.message}: {hint}", **error.details) from error
                skipped.append(SkippedRow(row=row, reason=error.message[:2000]))
                packing.add(None, None)
        parts.append(packing.columns())
    columns = concatenate(parts)
    return columns, skipped, _event_counts(columns)


def _recording(found: Recording | RecordingError) -> Recording:
    if isinstance(found, RecordingError):
        raise found
    return found


class _Packing:
    """Collects samples into columns."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._samples: list[tuple[Recording | None, Sample | None]] = []

    def add(self, recording: Recording | None, sample: Sample | None) -> None:
        """Add a row; None for a skipped one."""
        self._samples.append((recording, sample))

    def columns(self) -> SampleColumns:
        """Return all rows in columns with stored dtypes."""
        layout, samples = self._layout, [sample for _, sample in self._samples]
        dense = [sample for sample in samples if sample is not None]
        return SampleColumns(
            index=np.concatenate([np.zeros(0, np.int64), *(sample.index for sample in dense)]).astype(
                layout.dtype("index")
            ),
            # as_stored refuses counts beyond uint32; int64 keeps them as they are until then
            value=np.concatenate([np.zeros(0, np.int64), *(sample.value for sample in dense)]),
            nnz=np.array([0 if sample is None else len(sample.index) for sample in samples], np.int64),
            n_bins=np.array([0 if sample is None else sample.n_bins for sample in samples], np.int64),
            label=np.array(
                [SKIPPED_LABEL if one is None else one.label for one, _ in self._samples], np.int64
            ),
            extras={name: np.array(list(self._extra(name)), np.int64) for name in layout.extras},
        ).as_stored(layout)

    def _extra(self, name: str) -> Iterator[int]:
        for recording, sample in self._samples:
            if recording is None or sample is None:
                yield 0
            elif name.startswith("n_"):
                yield getattr(sample, name)
            else:
                yield recording.extras[name]


def _event_counts(columns: SampleColumns) -> EventCounts:
    totals = {
        name: int(columns.extras[name].sum(dtype=np.int64)) for name in ("n_events", "n_cropped", "n_dropped")
    }
    lossy = columns.extras["n_dropped"] > LOSSY_SHARE * columns.extras["n_events"].astype(np.float64)
    return EventCounts(**totals, lossy_samples=int(np.count_nonzero(lossy)))
