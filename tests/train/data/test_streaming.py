"""Streaming: the same samples in limited memory, in an order that is a pure function, with errors at the next batch."""

from __future__ import annotations

import copy
import gc
import itertools
import logging
import multiprocessing
import pickle
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import types
from tests.store.small_sets import memory_storage, same
from tests.train.conftest import learnable

from spikestore.store import FeatureSet, Store
from spikestore.store.columns import reader as column_readers
from spikestore.store.columns.zarr_reader import ZarrReader
from spikestore.store.trust.narrow_rows import Empty, NarrowRows
from spikestore.store.trust.rows import refuse_untrue_rows
from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.store_schemas.specs.canonical import canonical_json
from spikestore.train import Batch, FeatureLoader, pack
from spikestore.train.data import placement as residences
from spikestore.train.data.epoch_order import EpochSamples, RankShare
from spikestore.train.data.frames.frame_kernels import fill_frames
from spikestore.train.data.streaming.stream_order import covering, cut_spans, lane_order, owned
from spikestore.train.data.subsets import subset_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a set of 1500 rows in 8 fragments."""
    folder = tmp_path_factory.mktemp("stream") / "store"
    store = Store(folder)
    store.point("many", {"train": learnable("train", 1500, 1).build(store.storage, 192)})
    return folder


@pytest.fixture(scope="module")
def many(folder: Path) -> FeatureSet:
    """Return the set."""
    return Store(folder)["many:train"]


def rows_of(loader: FeatureLoader) -> list[int]:
    """Return the rows of an epoch, in order."""
    return [row for batch in loader for row in batch.samples.tolist()]


def by_row(batches: list[Batch]) -> dict[int, tuple[int, int, bytes]]:
    """Return label, length and frames by row."""
    return {
        int(row): (int(label), int(length), frames[:length].numpy().tobytes())
        for batch in batches
        for frames, label, length, row in zip(*batch, strict=True)
    }


def test_the_same_batches_as_from_memory(many: FeatureSet) -> None:
    """Without shuffling, stream and host yield equal batches; with it, equal samples, each once."""
    host = list(FeatureLoader(many, 100, "host"))
    for mine, other in zip(FeatureLoader(many, 100, "stream"), host, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    shuffled = list(FeatureLoader(many, 100, "stream", shuffle=True, window=512))
    assert by_row(shuffled) == by_row(host)
    assert sum(len(batch.labels) for batch in shuffled) == len(many) - 1  # one row was skipped


def test_runs_the_machine_code_that_host_runs(many: FeatureSet) -> None:
    """All arrays are contiguous, because numba compiles separate code for strided ones."""
    next(iter(FeatureLoader(many, 16, "stream")))
    compiled: Any = fill_frames
    arrays = {one for signature in compiled.signatures for one in signature if isinstance(one, types.Array)}
    assert {one.layout for one in arrays} == {"C"}


def test_equal_on_any_threads_and_storage(many: FeatureSet) -> None:
    """Neither threads, nor the kind of storage, nor the size of fragments change the samples."""
    memory = memory_storage()
    copied = learnable("train", 1500, 1).build(memory, 192)
    loaders = [
        FeatureLoader(features, 64, "stream", shuffle=True, seed=3, window=512, threads=threads)
        for features, threads in ((many, 1), (many, 3), (copied, 2))
    ]
    for batches in zip(*loaders, strict=True):
        for other in batches[1:]:
            assert all(torch.equal(a, b) for a, b in zip(batches[0], other, strict=True))


def test_the_reader_equals_zarrs(many: FeatureSet) -> None:
    """Ranged reads and direct decoding return the values that Zarr reads, for spans of any blocks."""
    zarrs = ZarrReader(many.manifest, canonical_json(many.root), many.storage.zarr_store(many.data_path))
    for fragment, start, stop in ((0, 0, 64), (0, 64, 192), (1, 0, 192), (7, 128, 156), (7, 0, 156)):
        first = fragment * 192
        columns, check = zarrs.read(fragment, start, stop)
        assert same(many.read(first + start, first + stop), columns)
        refuse_untrue_rows(many.address, many.manifest, fragment, columns, check, start)


def test_other_codecs_are_read_by_zarr(many: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan whose codecs only Zarr knows can be streamed."""
    truth = rows_of(FeatureLoader(many, 100, "stream", shuffle=True, window=512))
    monkeypatch.setattr(column_readers, "packed_objects", lambda build, root: None)
    many = FeatureSet(many.storage, many.address, many.manifest)
    assert rows_of(FeatureLoader(many, 100, "stream", shuffle=True, window=512)) == truth


def test_order_is_a_pure_function(many: FeatureSet) -> None:
    """The order depends on seed and epoch; the number of lanes follows from the window and the set."""
    rows = subset_rows(many, None)
    cut = cut_spans(many, rows, 512)
    assert (cut.span_rows, cut.lanes, cut.together) == (64, 8, 1)
    orders = [
        lane_order(cut, EpochSamples(rows, seed, many.digest), epoch).rows
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[3])
    assert all(np.array_equal(np.sort(order), rows) for order in orders)
    assert (
        orders[0][:10].tolist() == rows_of(FeatureLoader(many, 64, "stream", shuffle=True, window=512))[:10]
    )


def test_an_epoch_is_drawn_from_a_window(many: FeatureSet) -> None:
    """The number of open spans never exceeds that of the window, and positions in two epochs do not correlate."""
    rows = subset_rows(many, None)
    cut = cut_spans(many, rows, 512)
    orders = [lane_order(cut, EpochSamples(rows, 0, many.digest), epoch).rows for epoch in range(100)]
    spans = covering(cut.starts, orders[0])
    begins = {span: int(np.flatnonzero(spans == span)[0]) for span in np.unique(spans)}
    ends = {span: int(np.flatnonzero(spans == span)[-1]) for span in begins}
    most = max(sum(begins[span] <= at <= ends[span] for span in begins) for at in range(0, len(spans), 7))
    assert most <= 2 * cut.lanes
    # 24 spans get new positions in each epoch: one correlation has a deviation of 1/sqrt(24), their mean over 99 a tenth of it.
    places = [np.argsort(order) for order in orders]
    between = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(places)]
    assert abs(np.mean(between)) < 0.08
    assert abs(np.mean([np.corrcoef(place, rows)[0, 1] for place in places])) < 0.08


def test_no_rows_come_first_in_every_epoch(many: FeatureSet) -> None:
    """It also holds where each lane has only one span, whose halves are read one after the other."""
    rows = subset_rows(many, None)
    cut = cut_spans(many, rows, 8192)
    assert (cut.span_rows, cut.lanes, len(cut.starts)) == (128, 16, 16)
    orders = [lane_order(cut, EpochSamples(rows, 0, many.digest), epoch).rows for epoch in range(50)]
    places = [np.argsort(order) for order in orders]
    between = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(places)]
    assert abs(np.mean(between)) < 0.1


def test_an_epoch_begins_early(many: FeatureSet) -> None:
    """Lanes begin one after another: the first batch needs few of them, and no span is read twice."""
    rows = subset_rows(many, None)
    cut = cut_spans(many, rows, 512)
    assert (cut.lanes, cut.together) == (8, 1)
    for epoch in range(20):
        order = lane_order(cut, EpochSamples(rows, 0, many.digest), epoch)
        assert len(set(order.lanes[:16])) <= 4
        assert len(set(order.lanes[192:256])) == 8
        for first in range(0, 1500, 256):
            lanes = order.lanes[first : first + 256]
            shares = [int(owned(lanes, 8, RankShare(rank, 2)).sum()) for rank in range(2)]
            assert max(shares) - min(shares) <= 48, (first, shares)
    read = []

    class Counting(FeatureSet):
        def read_narrow(
            self, start: int, stop: int, dtypes: tuple[Any, Any], empty: Empty | None = None
        ) -> NarrowRows:
            read.append((start, stop))
            return super().read_narrow(start, stop, dtypes, empty)

    counting = Counting(many.storage, many.address, many.manifest)
    list(FeatureLoader(counting, 64, "stream", shuffle=True, window=512))
    assert len(read) == len(set(read)) == len(cut.starts)


def test_the_first_group_of_a_lane_is_a_single_span(many: FeatureSet) -> None:
    """Where a lane shuffles several spans together, the epoch can begin after one has been read."""
    rows = subset_rows(many, None)
    cut = replace(cut_spans(many, rows, 256), lanes=2, together=3)
    order = lane_order(cut, EpochSamples(rows, 0, many.digest), 0)
    for lane in range(2):
        spans = covering(cut.starts, order.rows[order.lanes == lane])
        sizes = [len(set(spans[start : start + 64])) for start in (0, 64, 64 + 32)]
        assert sizes[0] == 1
        assert sizes[1:] == [3, 3]


def test_window_is_stated(many: FeatureSet, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the window in samples and bytes."""
    with caplog.at_level(logging.INFO, "spikestore"):
        loader = FeatureLoader(many, 64, "stream", shuffle=True, window=512)
    assert (
        "SSC train: samples are shuffled within a window of 512 samples (49.8 kB); at most 99.7 kB are in memory"
        in caplog.text
    )
    assert loader.nbytes < pack(many).nbytes
    caplog.clear()
    with caplog.at_level(logging.INFO, "spikestore"):
        FeatureLoader(many, 64, "stream")
    assert "window" not in caplog.text  # nothing is shuffled
    with caplog.at_level(logging.INFO, "spikestore"):
        FeatureLoader(many, 64, "stream", rows=subset_rows(many, None)[:1], shuffle=True)
    assert "within a window of 1 sample (" in caplog.text
    with caplog.at_level(logging.INFO, "spikestore"):
        loader = FeatureLoader(many, 16, "stream", shuffle=True, window=64_000)
    assert (
        f"window of {len(rows_of(loader)):,} samples (145.9 kB); at most 145.9 kB are in memory"
        in caplog.text
    )


@pytest.mark.slow
def test_memory_is_bounded(many: FeatureSet) -> None:
    """Spans are dropped after their samples have been drawn."""
    loader = FeatureLoader(many, 16, "stream", shuffle=True, window=512, threads=1)
    most = 0
    for number, _ in enumerate(loader):
        if number % 8:
            continue
        alive = [one for one in gc.get_objects() if type(one) is NarrowRows]
        most = max(most, len(alive))
        del alive
    # The present window, the next one, and reads in progress.
    assert 8 <= most <= 8 + 8 + 4
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is NarrowRows]


@pytest.mark.parametrize("column", ["index", "nnz", "check"])
def test_a_fragment_lost_in_mid_epoch_is_an_error(folder: Path, tmp_path: Path, column: str) -> None:
    """The error comes at the next batch after a read has failed, names the object and has its cause."""
    copy = shutil.copytree(folder, tmp_path / "store")
    features = Store(copy)["many:train"]
    loader = FeatureLoader(features, 16, "stream", threads=1)
    iterator = iter(loader)
    for _ in range(10):
        next(iterator)
    lost = copy / features.data_path / column / "c" / "6"
    lost.unlink()
    with pytest.raises(DamagedError, match=rf"{column}/c/6 \(missing\)") as caught:
        list(iterator)
    assert caught.value.__cause__ is not None
    assert caught.value.details["objects"] == (f"{features.data_path}/{column}/c/6",)
    mine = ("spikestore-prefetch", "spikestore-loader")
    assert not [one for one in threading.enumerate() if one.name.startswith(mine)]


@pytest.mark.parametrize("column", ["index", "value", "nnz", "n_bins", "label", "n_events", "start", "check"])
def test_damage_is_named(folder: Path, tmp_path: Path, column: str) -> None:
    """For a flipped bit anywhere, the error names the object."""
    copy = shutil.copytree(folder, tmp_path / "store")
    features = Store(copy)["many:train"]
    path = copy / features.data_path / column / "c" / "3"
    for at in (0.1, 0.5, 0.95):
        data = bytearray(path.read_bytes())
        data[int(len(data) * at)] ^= 4
        path.write_bytes(data)
        with pytest.raises(DamagedError, match=rf"{column}/c/3 \(damaged\)"):
            list(FeatureLoader(features, 64, "stream", shuffle=True, window=512))
        data[int(len(data) * at)] ^= 4
        path.write_bytes(data)


def test_exchanged_fragments_are_noticed(folder: Path, tmp_path: Path) -> None:
    """Objects of another fragment have valid checksums, but are rejected."""
    copy = shutil.copytree(folder, tmp_path / "store")
    features = Store(copy)["many:train"]
    for column in ("label", "n_bins"):
        objects = copy / features.data_path / column / "c"
        one, other = (objects / "1").read_bytes(), (objects / "2").read_bytes()
        (objects / "1").write_bytes(other)
        (objects / "2").write_bytes(one)
        with pytest.raises(DamagedError, match=f"{column}/c/"):
            list(FeatureLoader(features, 64, "stream"))


def _iterate(loader: FeatureLoader, results: multiprocessing.Queue[str]) -> None:
    try:
        next(iter(loader))
    except UsageError as error:
        results.put(str(error))


def test_fork_is_refused(many: FeatureSet) -> None:
    """A forked child gets a clear error immediately, instead of a read that hangs."""
    loader = FeatureLoader(many, 16, "stream")
    results: multiprocessing.Queue[str] = multiprocessing.get_context("fork").Queue()
    child = multiprocessing.get_context("fork").Process(target=_iterate, args=(loader, results))
    child.start()
    assert "can't be used in a forked process" in results.get(timeout=30)
    child.join(30)
    assert child.exitcode == 0


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_copies_are_refused(many: FeatureSet, copied: Callable[[object], object]) -> None:
    """The error of a streaming loader says what to do; loaders of sets in memory can be copied and pickled."""
    with pytest.raises(
        UsageError, match="can't be pickled or copied: create the loader in the process that uses it"
    ):
        copied(FeatureLoader(many, 16, "stream"))
    copied(FeatureLoader(many, 16, "host", device="cpu"))


def test_auto_streams_sets_that_do_not_fit(
    many: FeatureSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With too little memory on the host, `auto` streams and logs the reason."""
    monkeypatch.setattr(residences, "free_host_bytes", lambda: 1000)
    with caplog.at_level(logging.INFO, "spikestore"):
        assert FeatureLoader(many, 16).residence == "stream"
    assert "of memory; 1.0 kB are free on the host: the set is streamed from the store" in caplog.text


def test_weights_and_too_many_ranks_are_refused(many: FeatureSet) -> None:
    """Unsupported options are rejected at construction."""
    with pytest.raises(UsageError, match="weights= needs the whole set in memory"):
        FeatureLoader(many, 16, "stream", weights=np.ones(1500))
    for ranks, window, limit in (
        (9, 512, "8 with this window; use a larger window, fewer ranks"),
        (17, 8192, "16 with this window; use a smaller window, fewer ranks"),
        (25, 8192, "24 with any window; use fewer ranks"),
    ):
        with pytest.raises(
            UsageError,
            match=f"{ranks} ranks are too many to stream this set: the limit is {limit}",
        ):
            FeatureLoader(many, 16, "stream", shuffle=True, window=window, ranks=ranks)
    FeatureLoader(many, 16, "stream", shuffle=True, window=1536, ranks=17)
    FeatureLoader(many, 16, "stream", shuffle=True, window=1536, ranks=9)
    with pytest.raises(UsageError, match=r"window must be .* got 10"):
        FeatureLoader(many, 16, "stream", window=10)
