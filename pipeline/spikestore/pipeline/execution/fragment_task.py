"""The task of a build: read the recordings of one fragment, transform them, and store the fragment.

If a former set has a row already, the row is taken from that set (`growing`). If a row can be computed from the rows of a
finer set, it is computed from them (`deriving`). In both cases the recording is not read.

Dask may run a task in any worker, in any order and more than once. Therefore all writes are put-if-absent, and the task of
a stored fragment only looks up its record.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from spikestore.pipeline.execution.fragment_content import FragmentContent, content_of
from spikestore.pipeline.growing.former_rows import FormerRows, RowRun
from spikestore.pipeline.growing.moved_rows import moved_rows
from spikestore.pipeline.growing.whole_fragments import WholeFragment, whole_fragment
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.event_files.file_per_recording import FileReader
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.sources.file_hashes import check_unchanged
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.pipeline.transforms.choose import Executor, block_chain
from spikestore.pipeline.transforms.fused import FusedSamples
from spikestore.store.build import Build
from spikestore.store.columns.event_counts import EVENT_COLUMNS, count_events
from spikestore.store.columns.samples import SampleColumns, concatenate, range_problem
from spikestore.store.concurrency import Prefetcher
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.layout import SKIPPED_LABEL, Layout
from spikestore.store_schemas.specs.transform import ExecutorName, Transform

READ_BLOCK = 256
"""Maximum number of recordings per block."""

READ_EVENTS = 500_000
"""Approximate maximum number of events per block: a gesture has about 400,000, a spoken word 8,000. Small blocks reuse memory."""


@dataclass(frozen=True, slots=True)
class FragmentJob:
    """Inputs of the tasks of a build, sent to the workers with each task (a few kilobytes).

    Attributes
    ----------
    build : Build
        The build, with its plan and the store.
    located : LocatedSource
        The recordings.
    transform : Transform
        Transform of the recordings.
    executor : {"auto", "fused", "numpy", "tonic"}
        Implementation of the transform; the samples are the same.
    former : FormerRows, optional
        Positions of rows of this set in committed sets that have these rows already; or, as `FinerRows`, rows of this set
        that are computed from a finer set.
    """

    build: Build
    located: LocatedSource
    transform: Transform
    executor: ExecutorName | Executor = "auto"
    former: FormerRows | None = None

    @property
    def plan(self) -> Plan:
        """The plan of the build."""
        return self.build.plan

    def only(self, fragment: int) -> FragmentJob:
        """Return a copy that contains the recordings of one fragment only, to send to a worker."""
        rows = self.plan.rows(fragment)
        former = None if self.former is None else self.former.part(rows)
        return replace(self, located=self.located.part(rows), former=former)

    def run(self, fragment: int) -> FragmentReport:
        """Build and store one fragment; see `build_fragment`."""
        return build_fragment(self, fragment)


@dataclass(frozen=True, slots=True)
class SweepJob:
    """Inputs of tasks for several sets of one source: a task builds the same fragment of every set, and reads its recordings once.

    Attributes
    ----------
    jobs : tuple of FragmentJob
        The builds. All have the same recordings and the same fragment size, and none has `former`.
    """

    jobs: tuple[FragmentJob, ...]

    def only(self, fragment: int) -> SweepJob:
        """Return a copy that contains the recordings of one fragment only, to send to a worker."""
        return SweepJob(tuple(job.only(fragment) for job in self.jobs))

    def run(self, fragment: int) -> FragmentReport:
        """Build and store one fragment of each set."""
        began = time.perf_counter()
        rows = self.jobs[0].plan.rows(fragment)
        jobs = [each.only(fragment) for each in self.jobs if not each.build.has_fragment(fragment)]
        if not jobs:
            return FragmentReport(
                fragment, len(rows), 0, time.perf_counter() - began, variants=(None,) * len(self.jobs)
            )
        located, nnz = jobs[0].located, 0
        contents: dict[Address, FragmentContent] = {}
        check_unchanged(located.stamps)
        with located.open() as reader:
            results = _transform_each(jobs, reader, [rows])
        check_unchanged(located.stamps)
        for each, (columns, skipped) in zip(jobs, results, strict=True):
            events = count_events(columns)
            nnz += each.build.put_fragment(fragment, columns, skipped=skipped, events=events).nnz
            contents[each.build.address] = content_of(columns, each.plan.layout)
        return FragmentReport(
            fragment,
            len(rows),
            nnz,
            time.perf_counter() - began,
            variants=tuple(contents.get(each.build.address) for each in self.jobs),
        )


class FragmentReport(NamedTuple):
    """Result of a finished task."""

    fragment: int
    samples: int
    nnz: int
    seconds: float
    """Time of the task; about 0 if another builder had stored the fragment."""
    content: FragmentContent | None = None
    """Summary of the samples; None if another builder had stored the fragment."""
    taken: int = 0
    """Number of rows that were taken from former sets."""
    problems: tuple[str, ...] = ()
    """Reasons why rows of former sets could not be read; their recordings were read instead."""
    variants: tuple[FragmentContent | None, ...] = ()
    """`content` of each set of a `SweepJob`."""


def build_fragment(job: FragmentJob, fragment: int) -> FragmentReport:
    """Build and store one fragment, unless it is stored already; return a report.

    Raises
    ------
    RecordingError
        A recording cannot be transformed, and ``on_error`` of the source is not ``"skip"``.
    SourceChangedError
        A file changed after it was hashed.
    StoreError
        The fragment cannot be stored.
    """
    began = time.perf_counter()
    build = job.build
    rows = job.plan.rows(fragment)
    if build.has_fragment(fragment):
        return FragmentReport(fragment, len(rows), 0, time.perf_counter() - began)
    job = job.only(fragment)
    check_unchanged(job.located.stamps)
    if job.former is not None and job.former.derives:
        fragment_rows = _derived_rows(job, job.former, rows)
    else:
        with job.located.open() as reader:
            whole = _whole_fragment(job, reader, rows)
            if whole is not None:
                check_unchanged(job.located.stamps)
                return _put_whole(job, fragment, whole, began)
            fragment_rows = _rows_of_fragment(job, reader, rows)
    check_unchanged(job.located.stamps)
    columns = fragment_rows.columns
    record = build.put_fragment(
        fragment,
        columns,
        skipped=fragment_rows.skipped,
        events=count_events(columns),
        checked=fragment_rows.checked,
    )
    return FragmentReport(
        fragment,
        len(rows),
        record.nnz,
        time.perf_counter() - began,
        content_of(columns, job.plan.layout),
        fragment_rows.taken,
        fragment_rows.problems,
    )


def _whole_fragment(job: FragmentJob, reader: Reader, rows: range) -> WholeFragment | None:
    """Return the fragment of a former set that has exactly these rows, or None."""
    if job.former is None or not isinstance(reader, FileReader):
        return None
    layout = job.plan.layout
    return whole_fragment(
        job.former,
        rows,
        job.build,
        lambda samples: _with_labels(RowRun(rows.start, samples), reader, layout),
    )


def _put_whole(job: FragmentJob, fragment: int, whole: WholeFragment, began: float) -> FragmentReport:
    """Store a fragment that a former set has; return a report."""
    samples, facts = whole.samples, whole.facts
    job.build.put_encoded_fragment(fragment, samples, facts, whole.encoded, events=count_events(samples))
    content = content_of(samples, job.plan.layout)._replace(sites=whole.sites, nnz=facts.nnz)
    seconds = time.perf_counter() - began
    return FragmentReport(fragment, len(samples), facts.nnz, seconds, content, taken=len(samples))


def transform_rows(
    job: FragmentJob, reader: Reader, rows: range
) -> tuple[SampleColumns, list[SkippedRow], EventCounts]:
    """Read and transform recordings, reading the next block during the transform of the current one.

    Returns
    -------
    columns : SampleColumns
        One row for each of `rows`; `Build.put_fragment` validates them and converts them to stored dtypes.
    skipped : list of SkippedRow
        Rows without a sample, with the reason.
    events : EventCounts
        Numbers of all, cropped and dropped events.
    """
    columns, skipped = _transform(job, reader, [rows])
    return columns, skipped, count_events(columns)


class _FragmentRows(NamedTuple):
    """All rows of a fragment."""

    columns: SampleColumns
    skipped: Sequence[SkippedRow]
    checked: bool = False
    """Whether the rows are checked and have the stored dtypes."""
    taken: int = 0
    """Number of rows that were taken from former sets."""
    problems: tuple[str, ...] = ()
    """Reasons why rows of former sets could not be read."""


def _rows_of_fragment(job: FragmentJob, reader: Reader, rows: range) -> _FragmentRows:
    """Return the rows of a fragment. Rows that former sets have are taken from these sets; the other rows are read from recordings."""
    layout = job.plan.layout
    if job.former is None or not isinstance(reader, FileReader):
        return _FragmentRows(*transform_rows(job, reader, rows)[:2])
    moved = moved_rows(job.former, rows)
    runs, problems = job.former.read(rows) if moved is None else ([moved], [])
    runs = [RowRun(run.first, _with_labels(run, reader, layout)) for run in runs]
    columns, skipped = _with_missing_rows(job, reader, runs, _gaps(rows, runs))
    taken = sum(len(run.columns) for run in runs)
    return _FragmentRows(columns, skipped, True, taken, tuple(problems))


def _derived_rows(job: FragmentJob, former: FormerRows, rows: range) -> _FragmentRows:
    """Return the rows of a fragment: computed from the finer set where possible, else from the recordings."""
    runs, problems = former.read(rows)
    taken, missing = sum(len(run.columns) for run in runs), _gaps(rows, runs)
    if not missing:
        columns = concatenate(run.columns for run in runs)
        return _FragmentRows(columns, (), taken=taken)
    with job.located.open() as reader:
        columns, skipped = _with_missing_rows(job, reader, runs, missing)
    return _FragmentRows(columns, skipped, taken=taken, problems=tuple(problems))


def _gaps(rows: range, runs: Sequence[RowRun]) -> list[range]:
    """Return the rows that are in no run."""
    begins = [rows.start, *(run.first + len(run.columns) for run in runs)]
    ends = [*(run.first for run in runs), rows.stop]
    return [range(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]


def _with_missing_rows(
    job: FragmentJob, reader: Reader, runs: Sequence[RowRun], missing: Sequence[range]
) -> tuple[SampleColumns, list[SkippedRow]]:
    """Return all rows in order, and the skipped rows. Rows that are in no run are read from their recordings."""
    parts = {run.first: run.columns for run in runs}
    skipped: list[SkippedRow] = []
    if missing:
        columns, skipped = _transform(job, reader, missing)
        columns, done = columns.as_stored(job.plan.layout), 0  # with the dtypes of the other rows
        for span in missing:
            parts[span.start] = columns.rows(done, done + len(span))
            done += len(span)
    return concatenate(parts[first] for first in sorted(parts)), skipped


def _with_labels(run: RowRun, reader: FileReader, layout: Layout) -> SampleColumns:
    """Return rows of a former set, with the labels and columns that the reader of the new set gives for the same recordings."""
    label, extras = reader.labels_and_extras(run.first, run.first + len(run.columns))
    given = {"label": label, **extras}
    for name, column in given.items():
        problem = range_problem(name, column, layout.dtype(name))
        if problem is not None:
            raise UsageError(problem)
        given[name] = column.astype(layout.dtype(name))
    return SampleColumns(
        **{name: getattr(run.columns, name) for name in ("index", "value", "nnz", "n_bins")},
        label=given["label"],
        extras={
            name: run.columns.extras[name] if name in EVENT_COLUMNS else given[name] for name in layout.extras
        },
    )


def _transform(
    job: FragmentJob, reader: Reader, spans: Sequence[range]
) -> tuple[SampleColumns, list[SkippedRow]]:
    """Return the rows of ascending spans, and the skipped rows; see `transform_rows`."""
    ((columns, skipped),) = _transform_each([job], reader, spans)
    return columns, skipped


def _transform_each(
    jobs: Sequence[FragmentJob], reader: Reader, spans: Sequence[range]
) -> list[tuple[SampleColumns, list[SkippedRow]]]:
    """Return the rows and the skipped rows of each job. All jobs have the same recordings, which are read once."""
    source = jobs[0].located.source
    chains = [block_chain(job.transform, job.executor, has_y=reader.has_y) for job in jobs]
    errors: list[dict[int, RecordingError]] = [{} for _ in jobs]
    parts: list[list[SampleColumns]] = [[] for _ in jobs]
    n_events = reader.n_events()
    per_recording = max(1.0, float(n_events.mean())) if len(n_events) else 1.0
    size = max(1, min(READ_BLOCK, int(READ_EVENTS / per_recording)))
    blocks = (
        reader.read_block(start, min(start + size, rows.stop))
        for rows in spans
        for start in range(rows.start, rows.stop, size)
    )
    # Only one block is read ahead, to limit memory. Reading ahead saves time if it waits for a disk or releases
    # the GIL, as in `vlen_heap`.
    with closing(Prefetcher(blocks, 1)) as stream:
        for block in stream:
            for number, (job, chain) in enumerate(zip(jobs, chains, strict=True)):
                samples = chain(block, name_of=reader.name_of, sort=source.sort)
                if samples.errors and source.on_error != "skip":
                    first = samples.errors[min(samples.errors)]
                    hint = _hint(job, first, has_y=reader.has_y)
                    raise RecordingError(f"{first.message}: {hint}", **first.details) from first
                errors[number] |= samples.errors
                parts[number].append(_columns(block, samples, job.plan.layout))
    return [
        (
            concatenate(columns),
            [SkippedRow(row=row, reason=found[row].message[:2000]) for row in sorted(found)],
        )
        for columns, found in zip(parts, errors, strict=True)
    ]


def _hint(job: FragmentJob, error: RecordingError, *, has_y: bool) -> str:
    """Return what to do about a recording that cannot be transformed."""
    frame = job.transform.to_frame
    width, height, polarities = frame.sensor_size
    if has_y and height == 1 and error.details.get("field") == "y":
        return (
            f"these recordings have x and y, and sensor_size ({width}, 1, {polarities}) of {frame.op} is for channels: use a recipe for a "
            "data set with x and y"
        )
    remedy = (
        'fix the recording, or set on_error = "skip" under [source] to skip such recordings'
        if job.located.source.items is None
        else 'fix the item, or pass source_of_dataset(…, on_error="skip") to preprocess to skip such items'
    )
    if "max_bins" in error.details:
        return f"if this duration is right, use longer time bins or a larger max_bins; otherwise {remedy}"
    if "event" in error.details and (field := error.details.get("field")) in ("x", "y", "p"):
        return f"if this {field} is right, correct sensor_size, or the operations before {frame.op}; otherwise {remedy}"
    return remedy


def _columns(block: EventBlock, samples: FusedSamples, layout: Layout) -> SampleColumns:
    """Return the columns of a block's samples; a skipped row has 0 in every column and the label `SKIPPED_LABEL`."""
    good = np.ones(len(block), bool)
    good[[row - block.first_row for row in samples.errors]] = False
    extras = {
        name: getattr(samples, name) if name.startswith("n_") else block.extras[name]
        for name in layout.extras
    }
    return SampleColumns(
        index=samples.index,
        value=samples.value,
        nnz=samples.nnz,
        n_bins=samples.n_bins,
        label=np.where(good, block.labels, SKIPPED_LABEL),
        extras={name: np.where(good, column, 0) for name, column in extras.items()},
    )
