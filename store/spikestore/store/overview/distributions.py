"""Distributions of some rows of a feature set: sums of absolute values in each time bin, at each x and at each y; and the lengths of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.layout import BLOCK

MOST_BLOCKS = 16
"""Maximum number of blocks of rows that are read."""

MOST_NON_ZEROS = 4_000_000
"""Approximate maximum number of non-zeros that are read; at least one block is read. This many non-zeros are decoded in less than a second."""


@dataclass(frozen=True, eq=False)
class Distributions:
    """How the values and the lengths of some rows are distributed.

    Attributes
    ----------
    rows : int
        Rows that were read, without skipped rows.
    bins : float64 array, shape (longest,)
        Sum of the absolute values in each time bin.
    sites : dict of str to float64 array
        Sum of the absolute values at each x, and at each y if frames have this axis.
    lengths : int64 array, shape (rows,)
        Time bins of each row.
    """

    rows: int
    bins: npt.NDArray[np.float64]
    sites: dict[str, npt.NDArray[np.float64]]
    lengths: npt.NDArray[np.int64]

    def length_counts(self) -> tuple[int, int, npt.NDArray[np.int64]]:
        """Return the shortest length, the longest length, and the number of rows of each length from the shortest to the longest.

        There must be at least one row.
        """
        shortest, longest = int(self.lengths.min()), int(self.lengths.max())
        return shortest, longest, np.bincount(self.lengths - shortest)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``lengths`` has the number of rows of each length."""
        lengths, counts = np.unique(self.lengths, return_counts=True)
        return {
            "rows": self.rows,
            "per_bin": self.bins.tolist(),
            **{f"per_{name}": sums.tolist() for name, sums in self.sites.items()},
            "lengths": dict(zip(map(str, lengths.tolist()), counts.tolist(), strict=True)),
        }


def distributions(features: FeatureSet) -> Distributions:
    """Read at most `MOST_BLOCKS` blocks of rows, spread over the whole set, and return the distributions of these rows.

    Raises
    ------
    StoreError
        A stored object is missing or differs from what was committed.
    """
    layout = features.layout
    names = dict(zip(layout.axes[1:], layout.sites, strict=True))
    bins, lengths = np.zeros(0), []
    sites = {name: np.zeros(names[name]) for name in layout.axes[:1:-1]}
    for start, stop in _blocks(features):
        columns = features.read(start, stop)
        places = columns.index.astype(np.int64)
        value = abs(columns.value.astype(np.float64))
        longest = max(len(bins), int(columns.n_bins.max()))
        bins = np.pad(bins, (0, longest - len(bins)))
        bins += np.bincount(places // layout.site_count, value, longest)
        for name in sites:
            inner = 1 if name == "x" else names["x"]
            sites[name] += np.bincount(places // inner % names[name], value, names[name])
        lengths.append(columns.n_bins[columns.label >= 0].astype(np.int64))
    counted = np.concatenate(lengths)
    return Distributions(len(counted), bins, sites, counted)


def _blocks(features: FeatureSet) -> list[tuple[int, int]]:
    """Return pairs (start, stop) of rows to read; each pair is a block, and the blocks are evenly spaced over the set."""
    samples = len(features)
    blocks = -(-samples // BLOCK)
    of_a_block = max(1, features.manifest.nnz // blocks)
    most = min(blocks, MOST_BLOCKS, max(1, MOST_NON_ZEROS // of_a_block))
    chosen = np.linspace(0, blocks - 1, most).astype(int).tolist() if most > 1 else [0]
    return [(block * BLOCK, min((block + 1) * BLOCK, samples)) for block in chosen]
