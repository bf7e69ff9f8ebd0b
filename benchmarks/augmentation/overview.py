"""The picture of docs/loading.md: ``python -m benchmarks.augmentation.overview STORE NAME:SPLIT FILE.png``.

One sample without augmentation, and the same sample after each augmentation that needs no y.
"""

from __future__ import annotations

import sys
from typing import Any

from matplotlib.figure import Figure

from spikestore.store import Store
from spikestore.train import FeatureLoader
from spikestore.train.data.augmentation.picture import show_sample
from spikestore.train.data.augmentation.tables import augmentations_of, checked_tables

TABLES: tuple[dict[str, Any], ...] = (
    {"op": "time_shift", "bins": 40},
    {"op": "time_stretch", "strength": 0.5},
    {"op": "time_reversal", "probability": 1},
    {"op": "channel_shift", "channels": 15},
    {"op": "channel_jitter", "channels": 5},
    {"op": "spatial_flip", "probability": 1},
    {"op": "event_drop", "probability": 0.5},
    {"op": "event_thinning", "probability": 0.5},
    {"op": "time_mask", "share": 0.3},
    {"op": "channel_mask", "channels": 40},
    {"op": "uniform_noise", "events": 300},
    {"op": "blend", "keep": 0.5},
    {"op": "cut_mix", "probability": 1},
    {"op": "event_mix", "probability": 1},
)


def main() -> None:
    """Write the picture."""
    store, name, path = sys.argv[1:]
    features = Store(store)[name]
    columns = 5
    figure = Figure(figsize=(2 * columns, 4.5), layout="constrained")
    grid = figure.subplots(-(-(len(TABLES) + 1) // columns), columns)
    for axes, table in zip(grid.flat, ({"op": "none"}, *TABLES), strict=True):
        augment = () if table["op"] == "none" else augmentations_of(checked_tables(table), 3)
        batch = next(iter(FeatureLoader(features, 32, "host", shuffle=True, augment=augment)))
        show_sample(axes, batch.frames[0])
        axes.set_title(table["op"], fontsize=8)
        axes.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
