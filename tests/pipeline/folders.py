"""Small folders of recordings, and recipes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.recipes.recipe import Recipe

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
TRANSFORM: list[dict[str, Any]] = [
    {"op": "to_frame", "sensor_size": [16, 12, 2], "time_window": 1000, "include_incomplete": True}
]


def draw(seed: int, count: int = 40) -> npt.NDArray[np.void]:
    """Return events of 20 ms on 16 x 12 pixels, sorted by time."""
    rng = np.random.default_rng(seed)
    events = np.empty(count, EVENT)
    events["t"] = np.sort(rng.integers(0, 20_000, count))
    events["x"], events["y"], events["p"] = (rng.integers(0, size, count) for size in (16, 12, 2))
    return events


def save(path: Path, events: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, events)
    return path


def write_tree(root: Path, *files: str) -> dict[str, npt.NDArray[np.void]]:
    """Write recordings of different events; return the events by the path of their file."""
    written = {file: draw(seed) for seed, file in enumerate(sorted(files))}
    for file, events in written.items():
        save(root / file, events)
    return written


def recipe_for(root: Path, source: dict[str, Any] | None = None, **folder: Any) -> Recipe:
    """Return a recipe for a folder; `folder` is the table ``[source.folder]``."""
    table = {"folder": folder} if folder else {}
    return Recipe.from_mapping(
        {
            "name": "mine",
            "source": {"dataset": "folder", "data": str(root), **(source or {}), **table},
            "transform": TRANSFORM,
        },
        origin="mine.toml",
    )
