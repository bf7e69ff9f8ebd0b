"""Data sets of cameras, against frame folders of SpikingJelly 2.0. SpikingJelly's classes fill these folders, in a separate environment."""

from __future__ import annotations

from pathlib import Path

from benchmarks.datasets.against_tonic import epochs_of
from benchmarks.datasets.layouts import BINS, GESTURE, NMNIST, WINDOW, Layout
from benchmarks.datasets.scale import Scale
from benchmarks.datasets.written import WORKERS, Written, bytes_below, written
from benchmarks.form import Row, compare
from benchmarks.peers.process import PeerError, PeerProcess
from benchmarks.preprocess.builds import timed_on_clean_disk

_BY_TIME = f"duration={WINDOW}"
_BY_NUMBER = f"number={BINS}"


def nmnist_spikingjelly_filling(scale: Scale) -> Row:
    """N-MNIST: rate of building with two warm workers, divided by the rate at which SpikingJelly fills frame folders with two threads."""
    return _filling(scale, NMNIST, Row("nmnist_spikingjelly_filling: build vs filling frame folders", 5))


def gesture_spikingjelly_filling(scale: Scale) -> Row:
    """DVSGesture: our build from Tonic's files with two warm workers, against SpikingJelly, which fills frame folders from ``.npz`` files with two threads."""
    return _filling(scale, GESTURE, Row("gesture_spikingjelly_filling: build vs filling frame folders", 5))


def nmnist_spikingjelly_bytes(scale: Scale) -> Row:
    """N-MNIST in bins of 10 ms: bytes of the store, divided by the bytes of SpikingJelly's compressed frames."""
    row = Row("nmnist_spikingjelly_bytes: store ÷ frame folders, 10 ms", 0.6, better="lower")
    return _bytes(scale, NMNIST, row, _BY_TIME)


def nmnist_spikingjelly_bytes_of_bins(scale: Scale) -> Row:
    """N-MNIST in 10 bins: bytes of the store, divided by the bytes of SpikingJelly's compressed frames."""
    row = Row("nmnist_spikingjelly_bytes_of_bins: store ÷ frame folders, T = 10", 0.6, better="lower")
    return _bytes(scale, NMNIST, row, _BY_NUMBER)


def gesture_spikingjelly_bytes(scale: Scale) -> Row:
    """DVSGesture in bins of 10 ms: bytes of the store, divided by the bytes of SpikingJelly's compressed frames."""
    row = Row("gesture_spikingjelly_bytes: store ÷ frame folders, 10 ms", 0.6, better="lower")
    return _bytes(scale, GESTURE, row, _BY_TIME)


def gesture_spikingjelly_bytes_of_bins(scale: Scale) -> Row:
    """DVSGesture in 10 bins: bytes of the store, divided by the bytes of SpikingJelly's compressed frames."""
    row = Row("gesture_spikingjelly_bytes_of_bins: store ÷ frame folders, T = 10", 0.6, better="lower")
    return _bytes(scale, GESTURE, row, _BY_NUMBER)


def nmnist_spikingjelly_loading(scale: Scale) -> Row:
    """N-MNIST: rate of loading dense batches, divided by the rate at which two workers load SpikingJelly's frame folders from the page cache."""
    return _loading(scale, NMNIST, Row("nmnist_spikingjelly_loading: loader vs warm frame folders", 10))


def gesture_spikingjelly_loading(scale: Scale) -> Row:
    """DVSGesture: dense batches, against frame folders in the page cache, with two workers."""
    return _loading(scale, GESTURE, Row("gesture_spikingjelly_loading: loader vs warm frame folders", 10))


def _peer(data: Written, mode: str, bins: str) -> PeerProcess:
    layout = data.layout
    numbers = map(str, (layout.pixels, bins, layout.batch, WORKERS))
    module = "benchmarks.peers.spikingjelly_frames"
    return PeerProcess("spikingjelly", module, mode, data.folder, layout.dataset, *numbers)


def _filling(scale: Scale, layout: Layout, row: Row) -> Row:
    from spikestore.pipeline.execution.schedulers import open_scheduler

    try:
        with (
            written(scale, layout, event_files=True) as data,
            _peer(data, "fill", _BY_TIME) as peer,
            open_scheduler(WORKERS) as scheduler,
        ):
            transform = layout.transform()
            data.build(transform, scheduler)

            def ours() -> float:
                return data.count / timed_on_clean_disk(lambda: data.build(transform, scheduler))

            return compare(row, ours, peer.rate, unit="recordings/s")
    except PeerError as error:
        row.skipped = str(error)
        return row


def _bytes(scale: Scale, layout: Layout, row: Row, bins: str) -> Row:
    chosen = {"n_time_bins": BINS} if bins == _BY_NUMBER else {}
    try:
        with written(scale, layout, event_files=True) as data, _peer(data, "fill", bins) as peer:
            size = bytes_below(Path(data.built(**chosen).storage.url))
    except PeerError as error:
        row.skipped = str(error)
        return row
    row.ratios = [size / peer.facts["bytes"]]
    row.ours, row.peer = {"bytes": size}, {"bytes": peer.facts["bytes"]}
    return row


def _loading(scale: Scale, layout: Layout, row: Row) -> Row:
    try:
        with written(scale, layout, event_files=True) as data, _peer(data, "load", _BY_TIME) as peer:
            return compare(row, epochs_of(data), peer.rate, unit="samples/s")
    except PeerError as error:
        row.skipped = str(error)
        return row
