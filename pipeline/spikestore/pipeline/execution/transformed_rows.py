"""Reads recordings block by block and transforms them, for one set or for several sets at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.pipeline.transforms.choose import Executor, block_chain
from spikestore.pipeline.transforms.fused import FusedSamples
from spikestore.store.columns.event_counts import count_events
from spikestore.store.columns.samples import SampleColumns, concatenate
from spikestore.store.concurrency import Prefetcher
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.layout import SKIPPED_LABEL, Layout
from spikestore.store_schemas.specs.transform import ExecutorName, Transform

READ_BLOCK = 256
"""Maximum number of recordings per block."""

READ_EVENTS = 500_000
"""Approximate maximum number of events per block: a gesture has about 400,000, a spoken word 8,000. Small blocks reuse memory."""


class TransformJob(Protocol):
    """Recordings, and how they are transformed; see `fragment_task.FragmentJob`."""

    @property
    def located(self) -> LocatedSource:
        """The recordings."""

    @property
    def transform(self) -> Transform:
        """Transform of the recordings."""

    @property
    def executor(self) -> ExecutorName | Executor:
        """Implementation of the transform."""

    @property
    def plan(self) -> Plan:
        """Plan of the set."""


def transform_rows(
    job: TransformJob, reader: Reader, rows: range
) -> tuple[SampleColumns, list[SkippedRow], EventCounts]:
    """Read and transform recordings. The next block is read while the current block is transformed.

    Returns
    -------
    columns : SampleColumns
        One row for each of `rows`; `Build.put_fragment` validates them and converts them to stored dtypes.
    skipped : list of SkippedRow
        The rows without a sample, and the reason for each.
    events : EventCounts
        Numbers of all, cropped and dropped events.

    Raises
    ------
    RecordingError
        A recording cannot be read or transformed, and ``on_error`` of the source is not ``"skip"``.
    SourceError
        A file cannot be read, is damaged, or changed.
    """
    columns, skipped = transform_spans(job, reader, [rows])
    return columns, skipped, count_events(columns)


def transform_spans(
    job: TransformJob, reader: Reader, spans: Sequence[range]
) -> tuple[SampleColumns, list[SkippedRow]]:
    """Read and transform the recordings of ascending spans; return their rows and the skipped rows; see `transform_rows`, also for errors."""
    parts: list[SampleColumns] = []
    skipped: list[SkippedRow] = []
    with closing(transformed_blocks([job], reader, spans)) as blocks:
        for ((columns, without_sample),) in blocks:
            parts.append(columns)
            skipped += without_sample
    return concatenate(parts), skipped


def transformed_blocks(
    jobs: Sequence[TransformJob], reader: Reader, spans: Sequence[range]
) -> Generator[list[tuple[SampleColumns, list[SkippedRow]]]]:
    """Yield the rows of ascending spans block by block: for each block, a list with one entry per job.

    An entry has the columns of all rows of the block, and the rows that were skipped.

    All jobs have the same recordings, which are read once. The next block is read while the current block is transformed. Errors
    are those of `transform_rows`.
    """
    source = jobs[0].located.source
    chains = [block_chain(job.transform, job.executor, has_y=reader.has_y) for job in jobs]
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
            results = []
            for job, chain in zip(jobs, chains, strict=True):
                samples = chain(block, name_of=reader.name_of, sort=source.sort)
                if samples.errors and source.on_error != "skip":
                    first = samples.errors[min(samples.errors)]
                    hint = _hint(job, first, has_y=reader.has_y)
                    raise RecordingError(f"{first.message}: {hint}", **first.details) from first
                skipped = [
                    SkippedRow(row=row, reason=samples.errors[row].message[:2000])
                    for row in sorted(samples.errors)
                ]
                results.append((_columns(block, samples, job.plan.layout), skipped))
            yield results


def _hint(job: TransformJob, error: RecordingError, *, has_y: bool) -> str:
    """Return what to do about a recording that cannot be transformed."""
    frame = job.transform.to_frame
    width, height, polarities = frame.sensor_size
    if has_y and height == 1 and error.details.get("field") == "y":
        return (
            f"these recordings have x and y, but sensor_size ({width}, 1, {polarities}) of {frame.op} is for channels: use a recipe for a "
            "data set with x and y"
        )
    remedy = (
        'fix the recording, or set on_error = "skip" under [source] to skip such recordings'
        if job.located.source.items is None
        else 'fix the item, or skip such items: pass source_of_dataset(…, on_error="skip") to preprocess'
    )
    if "max_bins" in error.details:
        return f"if this duration is right, use longer time bins or a larger max_bins; otherwise {remedy}"
    if "event" in error.details and (field := error.details.get("field")) in ("x", "y", "p"):
        return f"if this {field} is right, change sensor_size, or the operations before {frame.op}; otherwise {remedy}"
    return remedy


def _columns(block: EventBlock, samples: FusedSamples, layout: Layout) -> SampleColumns:
    """Return the columns of a block's samples; a skipped row has the label `SKIPPED_LABEL`, and 0 in the other columns."""
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
