"""Random recordings in the layouts of N-MNIST and DVSGesture. The events belong to moving shapes, as in recordings of a camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Columns = tuple[npt.NDArray[np.int64], ...]
"""Times in µs, x, y, polarity."""

DRAWN = 32
"""Number of different recordings; all further recordings are copies of these, moved by a few pixels."""
WINDOW = 10_000
"""Length of a time bin, µs."""
BINS = 10
"""Number of bins of a recording, in the transform with a fixed number of bins."""


class Size(NamedTuple):
    """Size of a data set that a benchmark writes."""

    recordings: int
    events: int
    """Number of events of each recording."""


@dataclass(frozen=True)
class Layout:
    """A data set with random recordings.

    Attributes
    ----------
    dataset : str
        Name of the data set in spikestore and in Tonic.
    pixels : int
        Width and height of the sensor.
    full, small : Size
        Two sizes of the data set; `small` if rough numbers are enough.
    batch : int
        Number of samples in a batch; small for DVSGesture, because the frames of a recording may take 80 MB.
    draw : callable
        Returns a random recording.
    write : callable
        Called with the folder of the data set, a number and a recording; writes the recording's file.
    """

    dataset: str
    pixels: int
    full: Size
    small: Size
    batch: int
    draw: Callable[[np.random.Generator, int], Columns]
    write: Callable[[Path, int, Columns], Path]

    def transform(self, **bins: Any) -> Any:
        """Return the transform with bins of 10 ms, or with the ``to_frame`` parameters `bins`."""
        from spikestore.store_schemas.specs.transform import Transform

        frame = {"op": "to_frame", "sensor_size": [self.pixels, self.pixels, 2], **(bins or _BY_TIME)}
        return Transform.from_mapping({"operations": [frame]}, origin="benchmark")

    def tonic_dataset(self, save_to: Path) -> Any:
        """Return Tonic's data set of these recordings; its transform makes frames of 10 ms."""
        import tonic

        chain = tonic.transforms.ToFrame((self.pixels, self.pixels, 2), **_BY_TIME)
        # Tonic downloads a data set that has fewer files than the published one.
        known = {"_check_exists": lambda _: True}
        return type(self.dataset, (getattr(tonic.datasets, self.dataset),), known)(
            str(save_to), train=True, transform=chain
        )

    def located(self, save_to: Path) -> Any:
        """Return the source of the recordings in the folder `save_to`."""
        from spikestore.pipeline.sources.source_files import make_source

        return make_source(self.dataset, "train", save_to)


_BY_TIME = {"time_window": WINDOW, "include_incomplete": True}


def _digit(rng: np.random.Generator, events: int) -> Columns:
    """Return `events` events along random strokes that move in three saccades of 100 ms each, as in N-MNIST."""
    corners = rng.uniform(8, 26, (5, 2))
    along = rng.uniform(0, len(corners) - 1.001, events)
    corner = along.astype(int)
    stroke = corners[corner] + (along - corner)[:, None] * (corners[corner + 1] - corners[corner])
    t = np.sort(rng.integers(0, 300_000, events))
    phase = t % 100_000 / 100_000
    direction = np.array([[1, 1], [1, -1], [-1, 0]])[t // 100_000]
    place = stroke + 3 * (1 - np.abs(2 * phase - 1))[:, None] * direction + rng.normal(0, 0.5, (events, 2))
    x, y = np.rint(place).astype(np.int64).clip(0, 33).T
    leading = rng.random(events) < np.where(phase < 0.5, 0.7, 0.3)
    return t, x, y, leading.astype(np.int64)


def _gesture(rng: np.random.Generator, events: int) -> Columns:
    """Return the events of a gesture of six seconds: the edge of a hand moves in a circle once a second. 3 % of the events are noise."""
    t = np.sort(rng.integers(0, 6_000, events)) * 1000
    turn = 2 * np.pi * (t / 1e6 + rng.uniform())
    edge = rng.uniform(0, 2 * np.pi, events)
    noise = rng.random(events) < 0.03
    x, y = (
        np.where(
            noise,
            rng.integers(0, 128, events),
            np.rint(64 + 30 * along(turn) + 9 * along(edge) + rng.normal(0, 1, events)),
        )
        .astype(np.int64)
        .clip(0, 127)
        for along in (np.cos, np.sin)
    )
    return t, x, y, (np.cos(edge - turn - np.pi / 2) > 0).astype(np.int64)


def _write_digit(folder: Path, number: int, columns: Columns) -> Path:
    t, x, y, p = columns
    raw = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 0xFF, t & 0xFF], axis=1).astype(np.uint8)
    path = folder / "Train" / str(number % 10) / f"{number:05d}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw.tobytes())
    return path


def _write_gesture(folder: Path, number: int, columns: Columns) -> Path:
    t, x, y, p = columns
    path = folder / "ibmGestureTrain" / f"user{number // 11 + 1:02d}_led" / f"{number % 11}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack([x, y, p, t // 1000], axis=1).astype(np.int32))
    return path


NMNIST = Layout("NMNIST", 34, Size(3000, 4200), Size(300, 4200), 64, _digit, _write_digit)
GESTURE = Layout("DVSGesture", 128, Size(24, 200_000), Size(6, 20_000), 4, _gesture, _write_gesture)


def recordings_of(layout: Layout, count: int, events: int) -> list[Columns]:
    """Return `count` random recordings with `events` events each."""
    rng = np.random.default_rng(1)
    drawn = [layout.draw(rng, events) for _ in range(min(DRAWN, count))]
    moved: list[Columns] = []
    for number in range(count):
        t, x, y, p = drawn[number % DRAWN]
        shift = number // DRAWN
        moved.append((t, (x + shift) % layout.pixels, (y + shift // layout.pixels) % layout.pixels, p))
    return moved
