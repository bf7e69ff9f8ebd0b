"""A batch source with limited memory: threads read spans of rows before a batch needs the spans, and used spans are dropped."""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store.columns.packed_size import narrow_dtypes
from spikestore.store.storage import FolderStorage
from spikestore.store.trust.narrow_rows import NarrowRows
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.wording import plural, size_text
from spikestore.train.data.epoch_order import BatchOrder, RankShare
from spikestore.train.data.frames.padding import truncated
from spikestore.train.data.frames.sample_pointers import SamplePointers
from spikestore.train.data.placement import set_label
from spikestore.train.data.streaming.span_buffers import SpanBuffers
from spikestore.train.data.streaming.stream_order import (
    LANES,
    SpanCut,
    WindowOrder,
    covering,
    cut_spans,
    owned,
    sample_bytes,
)

logger = logging.getLogger(__name__)

_WAITING = 8
"""Number of additional threads if the store is a bucket, because its reads mostly wait."""

_Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Reads:
    """The reads of a pass, not sorted: read i has the rows ``starts[i]`` to ``stops[i]`` (exclusive)."""

    starts: _Int64s
    stops: _Int64s
    of_sample: _Int64s
    """Number of the read that has each sample; int64, shape (samples,)."""
    ahead: int
    """Maximum number of reads that are held before a batch needs them."""


class Stream:
    """Batch source that reads samples from the store during an epoch.

    Parameters
    ----------
    features : FeatureSet
        The set.
    rows : int64 array, shape (samples,)
        Rows in use, ascending.
    order : BatchOrder
        Order of the loader's epochs. The size of the buffers is computed for this order. `batches` also accepts another order,
        to finish an epoch that another loader began.
    share : RankShare
        This process's share of each batch.
    threads : int
        Threads that read.
    truncate_to : int, optional
        Time bins after which each sample is cut.

    Raises
    ------
    UsageError
        Samples are shuffled, and there are more ranks than lanes. A lane is a sequence of spans of rows; each rank needs a lane.
    """

    def __init__(
        self,
        features: FeatureSet,
        rows: _Int64s,
        order: BatchOrder,
        *,
        share: RankShare,
        threads: int,
        truncate_to: int | None = None,
    ) -> None:
        self._features = features
        self._share = share
        self._threads = threads
        self._truncate_to = truncate_to
        self._dtypes = narrow_dtypes(features.manifest)
        self.waiting = 0 if isinstance(features.storage, FolderStorage) else _WAITING
        self._blocks = cut_spans(features, rows, 8 * BLOCK)
        self._shuffle = isinstance(order, WindowOrder)
        self._cut = order.cut if isinstance(order, WindowOrder) else self._blocks
        if self._shuffle and self._cut.lanes < share.ranks:
            most = min(LANES, len(self._blocks.starts))
            if share.ranks > most:
                limit, remedy = f"{most} with any window", ""
            elif len(self._cut.starts) > self._cut.lanes:
                limit, remedy = f"{self._cut.lanes} with this window", "a larger window, "
            else:  # a smaller window cuts the set into more spans
                limit, remedy = f"{self._cut.lanes} with this window", "a smaller window, "
            raise UsageError(
                f"{share.ranks} ranks are too many to stream this set: the limit is {limit}; use {remedy}fewer ranks, or residence='host'"
            )
        self.samples = len(rows)
        among = self._cut.lanes * self._cut.together * self._cut.span_rows
        self.window_samples = min(among, len(rows)) if self._shuffle else 1
        self._buffers = SpanBuffers(self.nbytes)
        self.window_bytes = int(self.window_samples * sample_bytes(features))
        if self._shuffle:
            logger.info(
                "%s: samples are shuffled within a window of %s (%s); at most %s are in memory",
                set_label(features),
                plural(self.window_samples, "sample"),
                size_text(self.window_bytes),
                size_text(self.nbytes),
            )

    def __getstate__(self) -> dict[str, object]:
        """Raise an error, because open storages and reads can't be pickled."""
        raise UsageError(
            "a loader with residence='stream' can't be pickled or copied: create the loader in the process that uses it, or "
            "use residence='host'"
        )

    @property
    def nbytes(self) -> int:
        """Expected maximum of the bytes in memory: the current window, and the next window, which is being read."""
        lanes = self._cut.lanes if self._shuffle else 2 * self._threads
        held = min(2 * lanes * self._cut.together * self._cut.span_rows, self.samples)
        return int(held * sample_bytes(self._features))

    def batches(
        self, order: BatchOrder, epoch: int, first: int, batch_size: int, pool: Executor
    ) -> Iterator[SamplePointers]:
        """Yield this rank's samples of each global batch of an epoch, from batch number `first` on.

        Raises
        ------
        DamagedError, StoreError
            A span could not be read; raised at the next batch, even if only later batches need the span.
        """
        rows, edges = order.batches(epoch, first, batch_size, self._share)
        reads = self._reads(order, rows, edges)
        in_flight = max(2 * (self._threads + self.waiting), 2 * batch_size // self._cut.span_rows)
        held = _HeldSpans(self, reads, rows, edges, pool, in_flight)
        try:
            for batch in range(len(edges) - 1):
                yield held.take(batch)
        finally:
            held.close()

    def _reads(self, order: BatchOrder, rows: _Int64s, edges: _Int64s) -> _Reads:
        cut: SpanCut = self._blocks
        if not order.scattered:
            ahead = 2 * self._threads
            if isinstance(order, WindowOrder):
                cut = order.cut
                lanes = owned(np.arange(cut.lanes), cut.lanes, self._share)
                ahead = max(int(lanes.sum()) * cut.together, ahead)
            return _Reads(cut.starts, cut.stops, covering(cut.starts, rows), ahead)
        # Each batch reads its own blocks: if blocks were held until all their samples are used, memory would soon hold the whole set.
        batch_of_row = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        key = batch_of_row * len(cut.starts) + covering(cut.starts, rows)
        keys, of_sample = np.unique(key, return_inverse=True)
        batch_of_read, block = np.divmod(keys, len(cut.starts))
        in_a_batch = int(np.bincount(batch_of_read).max(initial=0))
        return _Reads(cut.starts[block], cut.stops[block], of_sample, in_a_batch + 2 * self._threads)

    @property
    def like(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Two empty arrays: one with the dtype of ``index``, one with the dtype of ``value``."""
        index, value = self._dtypes
        return np.empty(0, index), np.empty(0, value)

    @property
    def sites(self) -> tuple[int, ...]:
        """Sizes of the axes after time."""
        return self._features.layout.sites

    def read(self, start: int, stop: int) -> tuple[NarrowRows, _Int64s]:
        """Read and check the samples `start` to `stop` - 1, and cut long samples to ``truncate_to`` time bins; return the samples and a table.

        The table has the shape (6, samples), int64. Each column describes one sample by six numbers: address of its index, address of its
        value, number of non-zeros, number of time bins, class, and number of elements from the sample's first non-zero to the end
        of the array ``index`` of all samples.
        """
        read = self._features.read_narrow(start, stop, self._dtypes, self._buffers.empty)
        rows = truncated(read, self._truncate_to, self._features.layout.site_count)
        starts, table = rows.offsets[:-1], np.empty((6, len(rows.label)), np.int64)
        for address, column in ((table[0], rows.index), (table[1], rows.value)):
            np.multiply(starts, column.itemsize, out=address)
            address += column.ctypes.data
        np.subtract(rows.offsets[1:], starts, out=table[2])
        table[3], table[4] = rows.n_bins, rows.label
        np.subtract(len(rows.index), starts, out=table[5])
        return rows, table


class _HeldSpans:
    """The spans that are in memory or being read, and the addresses of their samples.

    The constructor computes the first and the last batch that need each span, for the whole pass. So the work for a
    batch is limited to new spans and to spans that no later batch needs.
    """

    def __init__(
        self, stream: Stream, reads: _Reads, rows: _Int64s, edges: _Int64s, pool: Executor, in_flight: int
    ) -> None:
        self._stream = stream
        self._starts, self._stops = reads.starts, reads.stops
        self._ahead = reads.ahead
        self._span_rows = int((reads.stops - reads.starts).max(initial=0))
        self._pool = pool
        self._in_flight = in_flight
        self._rows, self._edges = rows, edges.tolist()
        self._span_of = reads.of_sample
        self._within = rows - reads.starts[reads.of_sample]
        wanted, self._begin = _by_batch(reads.of_sample, edges, len(reads.starts), first=True)
        self._done, self._end = _by_batch(reads.of_sample, edges, len(reads.starts), first=False)
        self._wanted = deque(wanted)
        self._new = wanted
        self._coming: dict[int, Future[tuple[NarrowRows, _Int64s]]] = {}
        # Spans whose reads have ended, also with an error.
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._spans: dict[int, NarrowRows] = {}
        self._owners: tuple[NarrowRows, ...] | None = None
        self._unused: set[int] = set()
        # First place in `_where` of each span that is in memory.
        self._first = np.zeros(len(reads.starts), np.int64)
        self._free: list[int] = []
        # The tables of the spans in memory; see `Stream.read`.
        self._where = np.zeros((6, 0), np.int64)
        self._like, self._sites = stream.like, stream.sites

    def take(self, batch: int) -> SamplePointers:
        """Wait for the spans of a batch and return pointers to its samples; drop spans that only earlier batches need.

        Batches are taken one after another, from 0 on.
        """
        if batch:
            self._drop(self._done[self._end[batch - 1] : self._end[batch]])
        self._read_ahead()
        for span in self._new[self._begin[batch] : self._begin[batch + 1]]:
            if span not in self._spans:
                self._arrive(span)
            self._unused.discard(span)
        start, stop = self._edges[batch], self._edges[batch + 1]
        places = self._first[self._span_of[start:stop]] + self._within[start:stop]
        # Contiguous rows: numba compiles separate code for strided ones.
        index_at, value_at, nnz, lengths, labels, room = np.take(self._where, places, axis=1)
        if self._owners is None:
            # All spans in memory: those that this batch does not need are needed by later ones, so they are not held any longer.
            self._owners = tuple(self._spans.values())
        return SamplePointers(
            index_at=index_at,
            value_at=value_at,
            counts=nnz,
            lengths=lengths,
            labels=labels,
            samples=self._rows[start:stop],
            room=room,
            like=self._like,
            sites=self._sites,
            owners=self._owners,
        )

    def close(self) -> None:
        """Cancel pending reads."""
        for future in self._coming.values():
            future.cancel()

    def _drop(self, spans: list[int]) -> None:
        for span in spans:
            del self._spans[span]
            self._free.append(int(self._first[span]))
            self._owners = None

    def _read_ahead(self) -> None:
        """Collect finished reads, re-raise their errors, submit new ones."""
        while not self._ended.empty():
            self._collect(self._ended.get())
        while (
            self._wanted
            and len(self._coming) < self._in_flight
            and len(self._coming) + len(self._unused) < self._ahead
        ):
            self._start(self._wanted.popleft())

    def _arrive(self, span: int) -> None:
        """Wait until a span is in memory."""
        while span not in self._spans:
            if span not in self._coming:  # spans before it in the queue fill the limit
                self._wanted.remove(span)
                self._start(span)
            self._collect(self._ended.get())
            self._read_ahead()

    def _start(self, span: int) -> None:
        start, stop = int(self._starts[span]), int(self._stops[span])
        future = self._pool.submit(self._stream.read, start, stop)
        self._coming[span] = future
        ended = self._ended
        future.add_done_callback(lambda _: ended.put(span))

    def _collect(self, span: int) -> None:
        """Take over the rows of a span whose read has ended, or raise the error of the read."""
        self._store(span, *self._coming.pop(span).result())

    def _store(self, span: int, columns: NarrowRows, table: _Int64s) -> None:
        if not self._free:
            size = self._where.shape[1]
            more = (size // self._span_rows + 8) * self._span_rows
            self._free = list(range(size, size + more, self._span_rows))
            self._where = np.concatenate([self._where, np.zeros((6, more), np.int64)], axis=1)
        first = self._free.pop()
        self._where[:, first : first + table.shape[1]] = table
        self._first[span] = first
        self._spans[span] = columns
        self._owners = None
        self._unused.add(span)


def _by_batch(spans: _Int64s, edges: _Int64s, count: int, *, first: bool) -> tuple[list[int], list[int]]:
    """Return the spans that have samples, sorted by their first sample if `first` is true, else by their last sample.

    Also return one number for each edge: how many spans have their first (else last) sample before the edge.

    Parameters
    ----------
    spans : int64 array, shape (samples,)
        Span of each sample.
    edges : int64 array, shape (batches + 1,)
        Start of each batch, and the end of the last batch.
    count : int
        Number of all spans, with or without samples.
    """
    numbers = np.arange(len(spans))
    step = -1 if first else 1
    sample = np.full(count, -1, np.int64)
    sample[spans[::step]] = numbers[::step]  # of several samples of a span, the last one assigned stays
    used = np.flatnonzero(sample >= 0)
    ordered = used[np.argsort(sample[used])]
    return ordered.tolist(), np.searchsorted(sample[ordered], edges).tolist()
