"""Rows of ``benchmarks.loading`` about streaming: the order of samples, and reading from the disk."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.form import Row, compare

RUN = 128
"""Number of rows of a span, by default."""


def shuffle_quality(bench: Any) -> Row:
    """Correlation between the positions of rows in one epoch and in the next, for 20 pairs of epochs; near 0 is good."""
    import numpy as np

    from spikestore.train.data.epoch_order import EpochSamples
    from spikestore.train.data.streaming.stream_order import cut_spans, lane_order
    from spikestore.train.data.subsets import subset_rows

    features = bench.features
    row = Row("stream_correlation_of_positions_between_epochs")
    if len(features) < 3:
        row.skipped = f"{len(features)} recordings have no correlation of positions"
        return row
    rows = subset_rows(features, None)
    cut = cut_spans(features, rows, None)
    places = [
        np.argsort(lane_order(cut, EpochSamples(rows, 0, features.digest), epoch).rows) for epoch in range(21)
    ]
    found = [float(np.corrcoef(a, b)[0, 1]) for a, b in itertools.pairwise(places)]
    row.ratios = found
    row.ours = {"runs": len(cut.starts), "lanes": cut.lanes, "rows_a_span": cut.span_rows}
    return row


def read_narrow(bench: Any) -> Row:
    """Speed of `read_narrow`, divided by the speed of `read` and a conversion to the same smaller dtypes: spans of 128 rows, one thread."""
    from spikestore.store.columns.packed_size import narrow_dtypes

    features = bench.features
    dtypes, spans = narrow_dtypes(features.manifest), _spans(features)
    samples: int = sum(stop - start for start, stop in spans)

    def narrow() -> float:
        began = time.perf_counter()
        for start, stop in spans:
            features.read_narrow(start, stop, dtypes)
        return samples / (time.perf_counter() - began)

    def whole() -> float:
        began = time.perf_counter()
        for start, stop in spans:
            columns = features.read(start, stop)
            columns.index.astype(dtypes[0])
            columns.value.astype(dtypes[1])
        return samples / (time.perf_counter() - began)

    narrow()
    whole()
    return compare(Row("read_narrow_vs_read"), narrow, whole, unit="samples/s")


def read_in_two_threads(bench: Any) -> Row:
    """Compare the speed of two threads that read spans of 128 rows in narrow dtypes with that of one thread.

    The ratio is below 2 because of Python's lock (GIL). Two processes share no lock, and do not slow each other.
    """
    from spikestore.store.columns.packed_size import narrow_dtypes

    features = bench.features
    dtypes, spans = narrow_dtypes(features.manifest), _spans(features)

    def rate(pool: ThreadPoolExecutor) -> Callable[[], float]:
        def read() -> float:
            began = time.perf_counter()
            for _ in pool.map(lambda span: features.read_narrow(*span, dtypes), spans):
                pass
            return len(features) / (time.perf_counter() - began)

        return read

    with ThreadPoolExecutor(2) as two, ThreadPoolExecutor(1) as one:
        rate(two)()
        return compare(Row("two_threads_that_read_vs_one"), rate(two), rate(one), unit="samples/s", turns=3)


def _spans(features: Any) -> list[tuple[int, int]]:
    """Return start and stop of all spans of at most `RUN` rows; no span reaches beyond the end of a fragment."""
    size = features.manifest.fragment_samples
    return [
        (start, min(start + RUN, len(features), (start // size + 1) * size))
        for first in range(0, len(features), size)
        for start in range(first, min(first + size, len(features)), RUN)
    ]


def decode_and_fill(bench: Any) -> Row:
    """Speed of ``stream``, relative to a loop that only reads all rows in the order of the set and writes frames. Both have two threads.

    Each thread of the loop writes all its batches to the same memory.
    """
    return _against_a_loop(bench, Row("stream_vs_decoding_and_filling_alone", 0.8), buffers=1)


def decode_and_keep(bench: Any) -> Row:
    """As `decode_and_fill`, but the loop has memory for four batches, as ``stream`` has.

    Batches of ``stream`` stay valid while the next ones are made.
    """
    return _against_a_loop(bench, Row("stream_vs_decoding_and_filling_four_batches"), buffers=2)


def _against_a_loop(bench: Any, row: Row, *, buffers: int) -> Row:
    """Compare ``stream`` with a loop that reads in order. Each thread of the loop writes its batches to `buffers` arrays in turn."""
    import numpy as np

    from spikestore.store.columns.packed_size import narrow_dtypes
    from spikestore.train.data.frames.frame_kernels import fill_frames

    features = bench.features
    dtypes = narrow_dtypes(features.manifest)
    like = np.empty(0, dtypes[0]), np.empty(0, dtypes[1])
    loader = bench.loader("stream")
    bins = max(int(lengths.max()) for lengths in (batch.lengths for batch in loader))
    site_count = int(np.prod(features.layout.sites, dtype=np.int64))
    frames = threading.local()

    def one(span: tuple[int, int]) -> None:
        rows = features.read_narrow(*span, dtypes)
        if not hasattr(frames, "turns"):
            memory = [np.zeros((RUN, bins * site_count), np.float32) for _ in range(buffers)]
            frames.turns = itertools.cycle(memory)
        starts, index, value = rows.offsets[:-1], rows.index, rows.value
        fill_frames(
            index.ctypes.data + starts * index.itemsize,
            value.ctypes.data + starts * value.itemsize,
            np.diff(rows.offsets),
            len(index) - starts,
            rows.n_bins * site_count,
            *like,
            next(frames.turns),
            0,
            len(starts),
        )

    def epoch() -> int:
        return sum(len(batch.labels) for batch in loader)

    processor: dict[str, list[float]] = {"ours": [], "peer": []}

    def timed(side: str, work: Callable[[], int]) -> Callable[[], float]:
        def rate() -> float:
            began, used = time.perf_counter(), time.process_time()
            samples = work()
            seconds = time.perf_counter() - began
            processor[side].append((time.process_time() - used) * 1e6 / samples)
            return samples / seconds

        return rate

    with ThreadPoolExecutor(2) as pool:

        def loop() -> int:
            for _ in pool.map(one, _spans(features)):
                pass
            return len(features)

        loop()
        compare(row, timed("ours", epoch), timed("peer", loop), unit="samples/s", turns=3)
    for shown, times in ((row.ours, processor["ours"]), (row.peer, processor["peer"])):
        shown["processor_us_a_sample"] = statistics.median(times)
    return row


READING = [decode_and_fill, decode_and_keep, read_narrow, read_in_two_threads]
"""Rows that compare a stream, or reading for it, with plainer ways of reading."""
