"""The task of a build: read the recordings of one fragment, transform them, and store the fragment.

If a former set (a committed set of the same transform) has a row already, the row is taken from that set (`growing`). If a
row can be computed from the rows of a finer set, it is computed from these rows (`deriving`). In both cases, the recording of
the row is not read.

Dask may run a task in any worker, in any order and more than once. Therefore all writes are put-if-absent. If the fragment of a
task is stored already, the task only looks up the record of the fragment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from spikestore.pipeline.execution.fragment_content import FragmentContent, content_of
from spikestore.pipeline.execution.transformed_rows import transform_spans, transformed_blocks
from spikestore.pipeline.growing.former_rows import FormerRows, RowRun
from spikestore.pipeline.growing.moved_rows import WithLabels, moved_parts
from spikestore.pipeline.growing.streamed_fragment import NewPart, stream_fragment
from spikestore.pipeline.growing.whole_fragments import whole_fragment
from spikestore.pipeline.readers.event_files.file_per_recording import FileReader
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.sources.file_hashes import check_unchanged
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.pipeline.transforms.choose import Executor
from spikestore.store.build import Build
from spikestore.store.columns.event_counts import EVENT_COLUMNS, count_events
from spikestore.store.columns.fragment_encoder import EncodedFragment, FragmentEncoder, encode_rows
from spikestore.store.columns.samples import SampleColumns, concatenate, range_problem
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import Record, SkippedRow
from spikestore.store_schemas.errors import SpikestoreError, StoreError, UsageError
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.specs.transform import ExecutorName, Transform


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
        Implementation of the transform. All implementations give the same samples.
    former : FormerRows, optional
        Rows that need not be computed from recordings, because they can be taken from committed sets, or computed from a finer
        set (`FinerRows`).
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
        """Return a smaller copy of this job for a worker. The copy can build only this fragment."""
        rows = self.plan.rows(fragment)
        former = None if self.former is None else self.former.part(rows)
        return replace(self, located=self.located.part(rows), former=former)

    def run(self, fragment: int) -> FragmentReport:
        """Build and store one fragment; see `build_fragment`."""
        return build_fragment(self, fragment)

    def compute(self, fragment: int) -> Callable[[], FragmentReport]:
        """Compute one fragment, and return the function that stores it; see `build_fragment`."""
        return _computed(self, fragment)


@dataclass(frozen=True, slots=True)
class SweepJob:
    """Inputs of tasks for several sets of one source. Task i builds fragment i of every set that lacks it, and reads the recordings of this fragment once.

    Attributes
    ----------
    jobs : tuple of FragmentJob
        The builds. All have the same recordings and the same fragment size, and none takes rows of stored sets: their `former` is None.
    """

    jobs: tuple[FragmentJob, ...]

    def only(self, fragment: int) -> SweepJob:
        """Return a smaller copy of this job for a worker. The copy can build only this fragment."""
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
        with _unchanged(located), located.open() as reader:
            results = _transformed(jobs, reader, fragment)
        for each, result in zip(jobs, results, strict=True):
            nnz += result.put(each.build, fragment).nnz
            contents[each.build.address] = content_of(fragment, result.content)
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
    """Summary of the samples; None if another builder had stored the fragment, and for tasks of sweeps (see `variants`) and imports."""
    taken: int = 0
    """Number of rows that were taken from former sets."""
    problems: tuple[str, ...] = ()
    """Reasons why rows of former sets could not be read; their recordings were read instead."""
    variants: tuple[FragmentContent | None, ...] = ()
    """For a `SweepJob`: the summary of each set in the order of its jobs; None for a set that had the fragment. Empty for other jobs."""


def build_fragment(job: FragmentJob, fragment: int) -> FragmentReport:
    """Build and store one fragment, unless it is stored already; return a report.

    Raises
    ------
    RecordingError
        A recording cannot be transformed, and ``on_error`` of the source is not ``"skip"``.
    SourceChangedError
        A file changed after it was hashed.
    SourceError
        A file cannot be read.
    UsageError
        The samples do not fit into the columns of the set.
    StoreError
        The fragment cannot be stored.
    """
    return _computed(job, fragment)()


def _computed(job: FragmentJob, fragment: int) -> Callable[[], FragmentReport]:
    """Compute a fragment. Return a function that stores the fragment and returns its report.

    If the fragment is stored already, nothing is computed, and that function only returns the report.
    """
    began = time.perf_counter()
    build, rows = job.build, len(job.plan.rows(fragment))
    if build.has_fragment(fragment):
        seconds = time.perf_counter() - began
        return lambda: FragmentReport(fragment, rows, 0, seconds)
    job = job.only(fragment)
    with _unchanged(job.located):
        if job.former is not None and job.former.derives:
            result = _derived(job, job.former, fragment)
        else:
            with job.located.open() as reader:
                result = _grown(job, reader, fragment) or _transformed([job], reader, fragment)[0]
    computed = time.perf_counter() - began

    def store() -> FragmentReport:
        began = time.perf_counter()
        nnz = result.put(build, fragment).nnz
        seconds = computed + time.perf_counter() - began
        content = content_of(fragment, result.content)
        return FragmentReport(fragment, rows, nnz, seconds, content, result.taken, result.problems)

    return store


@contextmanager
def _unchanged(located: LocatedSource) -> Iterator[None]:
    """Return a context that raises `SourceChangedError` if a file has changed since it was hashed.

    The files are checked before and after the ``with`` block. If the block raises an error of spikestore and a file has
    changed, `SourceChangedError` replaces this error, because the change may have caused it.
    """
    check_unchanged(located.stamps)
    try:
        yield
    except SpikestoreError:
        check_unchanged(located.stamps)
        raise
    check_unchanged(located.stamps)


class _Result(NamedTuple):
    """A fragment, and how many of its rows were taken from former sets."""

    content: EncodedFragment
    skipped: Sequence[SkippedRow]
    taken: int = 0
    """Number of rows that were taken from former sets."""
    problems: tuple[str, ...] = ()
    """Reasons why rows of former sets could not be read."""

    def put(self, build: Build, fragment: int) -> Record:
        """Store this result as the fragment with this number."""
        events = count_events(self.content.samples)
        return build.put_encoded_fragment(fragment, self.content, skipped=self.skipped, events=events)


def _transformed(jobs: Sequence[FragmentJob], reader: Reader, fragment: int) -> list[_Result]:
    """Return a fragment of each set.

    Each recording is read once for all sets, and rows are encoded as soon as they are transformed.
    """
    encoders = [FragmentEncoder(job.plan, fragment) for job in jobs]
    skipped: list[list[SkippedRow]] = [[] for _ in jobs]
    with closing(transformed_blocks(jobs, reader, [jobs[0].plan.rows(fragment)])) as blocks:
        for block in blocks:
            for number, (columns, without_sample) in enumerate(block):
                encoders[number].add(columns)
                skipped[number] += without_sample
    return [_Result(encoder.finish(), rows) for encoder, rows in zip(encoders, skipped, strict=True)]


def _grown(job: FragmentJob, reader: Reader, fragment: int) -> _Result | None:
    """Return a fragment with rows of former (earlier committed) sets; rows that these sets lack are computed from the recordings.

    Returns None if no former set has a row of the fragment.
    """
    former, rows = job.former, job.plan.rows(fragment)
    if former is None or not isinstance(reader, FileReader) or not former.part(rows).available.any():
        return None

    def with_labels(first: int, samples: SampleColumns) -> SampleColumns:
        return _with_labels(RowRun(first, samples), reader, job.plan.layout)

    whole = whole_fragment(former, job.plan, fragment, with_labels)
    if whole is not None:
        return _Result(whole, (), len(rows))
    streamed = _streamed(job, former, reader, fragment, with_labels)
    if streamed is not None:
        return streamed
    runs, problems = former.read(rows)
    runs = [RowRun(run.first, with_labels(run.first, run.columns)) for run in runs]
    columns, skipped = _with_missing_rows(job, reader, runs, _gaps(rows, [run.rows for run in runs]))
    taken = sum(len(run.columns) for run in runs)
    return _Result(encode_rows(job.plan, fragment, columns), skipped, taken, tuple(problems))


def _streamed(
    job: FragmentJob, former: FormerRows, reader: Reader, fragment: int, with_labels: WithLabels
) -> _Result | None:
    """Return a fragment that takes some rows from former sets, chunk by chunk, and computes the others.

    Return None if `moved_parts` returns no rows, if rows of former sets cannot be read, or if only Zarr supports the codecs.
    """
    rows = job.plan.rows(fragment)
    taken = moved_parts(former, rows, with_labels)
    if not taken:
        return None
    missing = _gaps(rows, [range(first, first + len(part.samples)) for first, part in taken.items()])
    new, skipped = _new_parts(job, reader, missing)
    parts = taken | new
    try:
        content = stream_fragment([parts[first] for first in sorted(parts)], job.plan, fragment)
    except StoreError:
        return None  # `FormerRows.read` returns the other rows, and says what is wrong
    return content and _Result(content, skipped, sum(len(part.samples) for part in taken.values()))


def _new_parts(
    job: FragmentJob, reader: Reader, missing: Sequence[range]
) -> tuple[dict[int, NewPart], Sequence[SkippedRow]]:
    """Read rows from their recordings. Return the part of each range, and the skipped rows. The key of a part is the first row of its range."""
    rows, skipped = _missing_rows(job, reader, missing)
    return {first: NewPart(columns, job.plan.layout) for first, columns in rows.items()}, skipped


def _derived(job: FragmentJob, former: FormerRows, fragment: int) -> _Result:
    """Return a fragment whose rows are computed from the finer set of `former` where possible, else from the recordings."""
    rows = job.plan.rows(fragment)
    runs, problems = former.read(rows)
    taken = sum(len(run.columns) for run in runs)
    missing = _gaps(rows, [run.rows for run in runs])
    if not missing:
        return _Result(encode_rows(job.plan, fragment, concatenate(run.columns for run in runs)), (), taken)
    with job.located.open() as reader:
        columns, skipped = _with_missing_rows(job, reader, runs, missing)
    return _Result(encode_rows(job.plan, fragment, columns), skipped, taken, tuple(problems))


def _gaps(rows: range, taken: Sequence[range]) -> list[range]:
    """Return the rows that are in no range of `taken`; these ranges must ascend."""
    begins = [rows.start, *(each.stop for each in taken)]
    ends = [*(each.start for each in taken), rows.stop]
    return [range(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]


def _with_missing_rows(
    job: FragmentJob, reader: Reader, runs: Sequence[RowRun], missing: Sequence[range]
) -> tuple[SampleColumns, list[SkippedRow]]:
    """Return the columns of all rows in order, and the rows that were skipped. The `missing` rows are read from their recordings."""
    new, skipped = _missing_rows(job, reader, missing)
    parts = {run.first: run.columns for run in runs} | new
    return concatenate(parts[first] for first in sorted(parts)), skipped


def _missing_rows(
    job: FragmentJob, reader: Reader, missing: Sequence[range]
) -> tuple[dict[int, SampleColumns], list[SkippedRow]]:
    """Read rows from their recordings. Return the columns of each range, in the stored dtypes, and the skipped rows. The key of a range is its first row."""
    if not missing:
        return {}, []
    columns, skipped = transform_spans(job, reader, missing)
    columns, rows, done = columns.as_stored(job.plan.layout), {}, 0
    for span in missing:
        rows[span.start] = columns.rows(done, done + len(span))
        done += len(span)
    return rows, skipped


def _with_labels(run: RowRun, reader: FileReader, layout: Layout) -> SampleColumns:
    """Return rows of a former set, with the labels and extra columns that `reader`, the reader of the new set, has for the same recordings."""
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
