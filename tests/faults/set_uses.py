"""All ways of using the samples of a set; each returns the label and the frames of every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spikestore.store import FeatureSet
from spikestore.train import FeatureDataset, FeatureLoader

Frames = dict[int, tuple[int, bytes]]
"""Label and frames of each row."""


def loaded(features: FeatureSet, **options: Any) -> Frames:
    """Return the samples that a loader yields."""
    samples: Frames = {}
    for batch in FeatureLoader(features, 16, max_frame_bytes=2**24, **options):
        for frames, label, length, row in zip(*(one.numpy() for one in batch), strict=True):
            samples[int(row)] = int(label), frames[:length].astype(np.int64).tobytes()
    return samples


def items(features: FeatureSet) -> Frames:
    """Return the samples of a data set."""
    samples = FeatureDataset(features, max_frame_bytes=2**24)
    return {
        int(row): (int(label), frames.astype(np.int64).tobytes())
        for row, (frames, label) in zip(samples.rows, (samples[i] for i in range(len(samples))), strict=True)
    }


def rows(features: FeatureSet) -> Frames:
    """Return the samples that the set's own methods return."""
    skipped = {one.row for one in features.manifest.skipped}
    label = features.column("label")
    return {
        row: (int(label[row]), features.frames(row, max_frame_bytes=2**20).astype(np.int64).tobytes())
        for row in range(len(features))
        if row not in skipped
    }


USES: dict[str, Callable[[FeatureSet], Frames]] = {
    "rows": rows,
    "host": lambda features: loaded(features, residence="host"),
    "device": lambda features: loaded(features, residence="device"),
    "stream": lambda features: loaded(features, residence="stream"),
    "items": items,
}
