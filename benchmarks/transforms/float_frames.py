"""Density and stored size of Tonic's float frames: ``python -m benchmarks.transforms.float_frames``.

The table has a row for each transform, with four numbers:

1. the density, which is the share of non-zeros;
2. the compressed bytes of the columns ``index`` and ``value``;
3. number 2 divided by the compressed bytes of dense float32 frames;
4. the uncompressed bytes of the columns divided by the uncompressed bytes of the frames.

The recordings are random: a moving spot, and noise.
docs/decisions/0074-float-frames-are-float32-columns.md has a table of results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone


def main() -> None:
    """Print the table."""
    print("| recording | transform | density | columns | columns / dense | columns in memory / dense |")
    print("|---|---|---|---|---|---|")
    for side, events, length, noise in (
        (128, 100_000, 2_000_000, 0.5),
        (128, 100_000, 2_000_000, 0.05),
        (34, 5_000, 300_000, 0.2),
    ):
        data = recording(side, events, length, noise)
        label = f"{side} × {side}, {events:,} events, {noise:.0%} noise"
        for name, transform in _transforms(side, data["t"][-1] // 20).items():
            frames = np.asarray(transform(data.copy())).astype(np.float32).reshape(-1)
            index = np.flatnonzero(frames).astype(np.uint32)
            columns = _stored(index, 1) + _stored(frames[index], 0)
            print(
                f"| {label} | {name} | {len(index) / len(frames):.3f} | {columns:,} bytes | "
                f"{columns / _stored(frames, 0):.2f} | {2 * len(index) / len(frames):.2f} |"
            )


def recording(side: int, n_events: int, length: int, noise: float) -> npt.NDArray[Any]:
    """Return random events with Tonic's fields, in a spot that moves on a circle; the share `noise` of the events is spread over the whole sensor."""
    random = np.random.default_rng(0)
    events = np.zeros(n_events, [("x", "i8"), ("y", "i8"), ("t", "i8"), ("p", "i8")])
    events["t"] = np.sort(random.integers(0, length, n_events))
    angle, in_spot = events["t"] / length * 20, random.random(n_events) >= noise
    for field, center in (("x", np.sin(angle)), ("y", np.cos(angle))):
        spot = side / 2 + side * 0.3 * center + random.normal(0, side / 32, n_events)
        place = np.where(in_spot, spot, random.integers(0, side, n_events))
        events[field] = place.clip(0, side - 1)
    events["p"] = random.integers(0, 2, n_events)
    return events


def _transforms(side: int, step: int) -> dict[str, Any]:
    from tonic import transforms

    size = (side, side, 2)
    binary = [transforms.ToFrame(size, n_time_bins=32), transforms.ToBinaRep(4, 8)]
    made = {
        "ToVoxelGrid, 10 bins": transforms.ToVoxelGrid(size, 10),
        "ToTimesurface, 20 steps, tau of one step": transforms.ToTimesurface(size, float(step), float(step)),
        "ToBinaRep, 4 frames of 8 bits": transforms.Compose(binary),
    }
    if side < 100:  # Tonic needs minutes for larger recordings
        name = "ToAveragedTimesurface, cells of 10, surfaces of 5"
        made[name] = transforms.ToAveragedTimesurface(size, time_window=1e5, tau=1e4)
    return made


def _stored(values: npt.NDArray[Any], delta_order: int) -> int:
    """Return the number of bytes of `values` after a store's codec has encoded them, without the checksum."""
    delta = DeltaSpec.try_consecutive(delta_order)
    config = ChunkConfig(compression_level=8, mode_spec=ModeSpec.auto(), delta_spec=delta)
    return len(standalone.simple_compress(values, config))


if __name__ == "__main__":
    main()
