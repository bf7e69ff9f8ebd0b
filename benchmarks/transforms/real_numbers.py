"""Frames of real numbers against Tonic: the transform, the bytes on disk, and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.datasets.scale import Scale
from benchmarks.datasets.written import bytes_below
from benchmarks.form import Row, compare, timed
from benchmarks.transforms.float_frames import recording
from spikestore.pipeline import preprocess
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.choose import block_chain
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader

BATCH = 4
NOISE = 0.2
"""Share of the events outside the moving spot."""


@dataclass(frozen=True)
class _Case:
    """A transform of Tonic and the recordings for it.

    Attributes
    ----------
    name : str
        Start of the names of this case's rows in the results.
    side, events, length : int
        Number of pixels along each axis, number of events of a recording, and length of a recording in µs.
    transform : callable
        Returns Tonic's transform for a sensor size.
    target : float
        Target for the ratio of our recordings/s to Tonic's.
    """

    name: str
    side: int
    events: int
    length: int
    transform: Callable[[tuple[int, int, int]], Any]
    target: float = 1.0

    @property
    def tonic(self) -> Any:
        return self.transform((self.side, self.side, 2))

    def recordings(self, count: int) -> list[npt.NDArray[Any]]:
        """Return copies of one random recording; copy i is shifted in x by i pixels."""
        one = recording(self.side, self.events, self.length, NOISE)
        moved = [one.copy() for _ in range(count)]
        for number, events in enumerate(moved):
            events["x"] = (events["x"] + number) % self.side
        return moved


def _voxel_grid(size: tuple[int, int, int]) -> Any:
    from tonic import transforms

    return transforms.ToVoxelGrid(size, 10)


def _timesurface(size: tuple[int, int, int], dt: float) -> Any:
    from tonic import transforms

    return transforms.ToTimesurface(size, dt, 100_000.0)


def _averaged(size: tuple[int, int, int]) -> Any:
    from tonic import transforms

    return transforms.ToAveragedTimesurface(size, time_window=1e5, tau=1e4)


def _bina_rep(size: tuple[int, int, int]) -> Any:
    from tonic import transforms

    return transforms.Compose([transforms.ToFrame(size, n_time_bins=32), transforms.ToBinaRep(4, 8)])


CASES = (
    _Case("voxel_grid", 128, 100_000, 2_000_000, _voxel_grid),
    _Case("timesurface", 128, 100_000, 2_000_000, partial(_timesurface, dt=100_000.0)),
    _Case("short_timesurface", 128, 100_000, 2_000_000, partial(_timesurface, dt=500_000.0)),
    # Tonic needs minutes for larger recordings.
    _Case("averaged_timesurface", 34, 5_000, 300_000, _averaged),
    _Case("bina_rep", 128, 100_000, 2_000_000, _bina_rep),
)


def _speed(case: _Case, scale: Scale) -> Row:
    """Compare recordings/s: our transform, which returns the non-zeros of the frames, against Tonic's, which returns the frames."""
    recordings = case.recordings(scale.recordings or (4 if scale.small else 16))
    theirs, events = case.tonic, np.concatenate(recordings)
    block = EventBlock(
        first_row=0,
        offsets=np.arange(len(recordings) + 1, dtype=np.int64) * case.events,
        t=events["t"].copy(),
        time_table=None,
        x=events["x"].astype(np.uint16),
        y=events["y"].astype(np.uint16),
        p=events["p"].astype(np.uint8),
        labels=np.zeros(len(recordings), np.int64),
        extras={},
        errors={},
    )
    chain = block_chain(transform_from_tonic(theirs), "auto", has_y=True)

    def ours() -> float:
        return len(recordings) / timed(lambda: chain(block, name_of=str))

    def tonic() -> float:
        copies = [one.copy() for one in recordings]  # ToVoxelGrid changes its input
        return len(recordings) / timed(lambda: [theirs(one) for one in copies])

    ours()  # the first run compiles
    row = Row(f"{case.name} vs Tonic", case.target)
    return compare(row, ours, tonic, unit="recordings/s", turns=3)


class _Drawn:
    """A data set of random recordings with Tonic's transform, or with none."""

    classes = ("one", "two")

    def __init__(self, recordings: list[npt.NDArray[Any]], transform: Any = None) -> None:
        self._recordings, self._transform = recordings, transform

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, item: int) -> tuple[Any, int]:
        events = self._recordings[item].copy()
        return (events if self._transform is None else self._transform(events)), item % 2


def _stored(case: _Case, scale: Scale, folder: Path) -> tuple[FeatureSet, Any]:
    """Build the feature set of a case in a new store, and fill a cache of Tonic with the same frames. Return the set and the cache."""
    import tonic

    recordings = case.recordings(scale.recordings or (8 if scale.small else 64))
    features = preprocess(
        _Drawn(recordings), case.tonic, store=folder / "store", name=case.name, version="1", workers=0
    )
    cached: Any = tonic.DiskCachedDataset(_Drawn(recordings, case.tonic), cache_path=str(folder / "cache"))
    for item in range(len(cached)):
        _ = cached[item]
    return features, cached


def _bytes(case: _Case, scale: Scale) -> Row:
    """Bytes of the store, divided by the bytes of Tonic's cache."""
    row = Row(f"{case.name}: bytes of the store ÷ DiskCachedDataset", better="lower")
    with scale.folder() as folder:
        _stored(case, scale, folder)
        sizes = bytes_below(folder / "store"), bytes_below(folder / "cache")
    row.ratios = [sizes[0] / sizes[1]]
    row.ours, row.peer = {"bytes": sizes[0]}, {"bytes": sizes[1]}
    return row


def _loading(case: _Case, scale: Scale) -> Row:
    """Compare loading dense batches with loading from Tonic's disk cache, which is in the page cache. Both sides use one core."""
    import tonic
    from torch.utils.data import DataLoader

    with scale.folder() as folder:
        features, cached = _stored(case, scale, folder)
        ours = FeatureLoader(features, BATCH, "host", shuffle=True, threads=1)
        theirs: Any = DataLoader(
            cached, BATCH, shuffle=True, collate_fn=tonic.collation.PadTensors(batch_first=True)
        )
        row = Row(f"{case.name}: loader vs warm DiskCachedDataset")
        rates = [partial(_samples_per_second, loader, len(features)) for loader in (ours, theirs)]
        for rate in rates:
            rate()
        return compare(row, rates[0], rates[1], unit="samples/s", turns=3)


def _samples_per_second(loader: Iterable[Any], count: int) -> float:
    return count / timed(lambda: [None for _ in loader])


def _named(measure: Callable[[_Case, Scale], Row], case: _Case, name: str) -> Callable[[Scale], Row]:
    def row(scale: Scale) -> Row:
        return measure(case, scale)

    row.__name__, row.__doc__ = name, measure.__doc__
    return row


ROWS = [
    _named(measure, case, f"{case.name}{suffix}")
    for measure, suffix in ((_speed, ""), (_bytes, "_bytes"), (_loading, "_loading"))
    for case in CASES
]
"""The rows of this module."""
