"""Conversion of one long recording in EVT3 to frames of 10 ms, on one core.

The peer decodes the recording with eventcv, and counts the events with a histogram in NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.scale import Scale
from benchmarks.form import Row, compare, timed
from benchmarks.peers.process import PeerError, PeerProcess

WIDTH, HEIGHT = 1280, 720
EVENTS, FEW_EVENTS = 20_000_000, 1_000_000
RATE = 10
"""Number of events per µs."""
WINDOW = 10_000


def evt3_frames(scale: Scale) -> Row:
    """Speed of a build of a set from an EVT3 file, divided by the speed of eventcv and NumPy, which make dense frames in memory from the same file."""
    from spikestore.pipeline import BuildOptions, preprocess
    from spikestore.pipeline.readers.folder.settings import FolderSettings
    from spikestore.pipeline.sources.folder_sources import make_folder_sources
    from spikestore.store_schemas.specs.transform import Transform

    row = Row("evt3_frames: file to frames of 10 ms on one core vs eventcv and NumPy", 1)
    events = scale.events or (FEW_EVENTS if scale.small else EVENTS)
    frame = {
        "op": "to_frame",
        "sensor_size": [WIDTH, HEIGHT, 2],
        "time_window": WINDOW,
        "include_incomplete": True,
    }
    transform = Transform.from_mapping({"operations": [frame]}, origin="benchmark")
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    with scale.folder() as folder:
        path = folder / "data/street/street.raw"
        path.parent.mkdir(parents=True)
        _write(path, events)
        located = make_folder_sources(FolderSettings(), folder / "data", cache=folder / "cache")["all"]
        stores: list[Any] = []

        def ours() -> float:
            store = folder / f"store{len(stores)}"
            options = BuildOptions(workers=0, executor="fused")
            seconds = timed(
                lambda: stores.append(
                    preprocess(located, transform, store=store, name="street", options=options)
                )
            )
            return events / seconds

        try:
            with (
                PeerProcess("eventcv", "benchmarks.peers.eventcv_frames", path, str(core)) as peer,
                _on(core),
            ):
                ours()
                row = compare(row, ours, peer.rate, unit="events/s")
                _refuse_other_frames(stores[0], peer.facts)
        except PeerError as error:
            row.skipped = str(error)
        return row


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Run this process, and the threads that it starts, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _refuse_other_frames(features: Any, facts: dict[str, Any]) -> None:
    """Raise `SystemExit` unless our set has as many non-zeros and events as `facts` of the peer."""
    total = int(sum(part.value.sum(dtype=np.int64) for part in features.fragments()))
    if (features.manifest.nnz, total) != (facts["non_zeros"], facts["total"]):
        raise SystemExit(
            f"the frames differ: {features.manifest.nnz} non-zeros with {total} events, and {facts}"
        )


def _write(path: Path, events: int) -> None:
    """Write a recording of edges that move over the sensor; words that equal those of the previous event are left out."""
    rng = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(
            f"% evt 3.0\n% format EVT3;height={HEIGHT};width={WIDTH}\n% geometry {WIDTH}x{HEIGHT}\n% end\n".encode()
        )
        before = np.array([-1, -1, -1])
        for start in range(0, events, 1_000_000):
            count = min(1_000_000, events - start)
            t = np.sort(rng.integers(start // RATE, (start + count) // RATE, count))
            edge = rng.integers(0, 12, count)
            along = rng.integers(0, 240, count)
            x = (edge * 107 + t // 2000 + rng.integers(0, 3, count)) % WIDTH
            y = (edge * 311 % 480 + along) % HEIGHT
            p = (edge + rng.integers(0, 8, count) // 7) % 2
            changing = np.stack([t >> 12, t & 0xFFF, y])
            # The first 2^24 µs only: the high part of the time has 12 bits.
            words = np.stack([8 << 12 | changing[0], 6 << 12 | changing[1], y, 2 << 12 | p << 11 | x], axis=1)
            changed = np.diff(changing, axis=1, prepend=before[:, None]) != 0
            wanted = np.concatenate([changed, np.ones((1, count), bool)]).T
            file.write(words[wanted].astype("<u2").tobytes())
            before = changing[:, -1]
