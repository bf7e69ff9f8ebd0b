"""Which order a loader has, and which other ones it can finish an epoch in."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.train.data.epoch_order import BatchOrder, Rows, SlicedOrder, epoch_order, weighted_order
from spikestore.train.data.placement import Chosen
from spikestore.train.data.streaming.stream_order import (
    RunCut,
    WindowOrder,
    cut_runs,
    named_runs,
)


class OrderChoice:
    """The orders of a set's samples that belong to one seed, subset and kind of shuffling.

    Parameters
    ----------
    features : FeatureSet
        The set.
    rows : int64 array, shape (samples,)
        Which rows of it, ascending.
    shuffle : bool
        Otherwise rows ascend, whatever the residence.
    weights : float64 array, shape (samples,), optional
        Draw with replacement, in proportion to these.
    seed : int
        Of the order.
    window : int, optional
        Samples among which ``stream`` shuffles.
    """

    def __init__(
        self,
        features: FeatureSet,
        rows: Rows,
        *,
        shuffle: bool,
        weights: npt.NDArray[np.float64] | None,
        seed: int,
        window: int | None,
    ) -> None:
        # Not the set itself: a loader of a set in memory travels to other processes, a storage may not.
        self._samples = len(features)
        self._fragment_samples = features.manifest.fragment_samples
        self._digest = features.digest
        self._rows = rows
        self._shuffle = shuffle
        self._weights = weights
        self._seed = seed
        self._window_cut = cut_runs(features, rows, window)

    def of(self, residence: Chosen) -> BatchOrder:
        """Return the order of a residence."""
        if self._weights is not None:
            name = f"weighted {hashlib.sha256(self._weights.astype('<f8').tobytes()).hexdigest()[:16]}"
            draw = partial(_weighted_rows, self._rows, self._weights, self._seed, self._digest)
            return SlicedOrder(name, draw, scattered=True)
        if not self._shuffle:
            return SlicedOrder("rows", partial(_ascending_rows, self._rows), scattered=False)
        if residence == "stream":
            return self._windowed(self._window_cut)
        return SlicedOrder(
            "uniform", partial(_uniform_rows, self._rows, self._seed, self._digest), scattered=True
        )

    def named(self, name: object) -> BatchOrder | None:
        """Return the order with a name, as a state of a loader has it; None if no residence and window give it."""
        for own in (self.of("host"), self.of("stream")):
            if own.name == name:
                return own
        if self._weights is not None or not self._shuffle or not isinstance(name, str):
            return None
        cut = named_runs(self._samples, self._fragment_samples, self._rows, name)
        return None if cut is None else self._windowed(cut)

    def _windowed(self, cut: RunCut) -> WindowOrder:
        return WindowOrder(
            self._rows, cut, seed=self._seed, digest=self._digest, fragment_samples=self._fragment_samples
        )


def _ascending_rows(rows: Rows, epoch: int) -> Rows:
    return rows


def _uniform_rows(rows: Rows, seed: int, digest: str, epoch: int) -> Rows:
    return rows[epoch_order(len(rows), seed=seed, epoch=epoch, digest=digest)]


def _weighted_rows(rows: Rows, weights: npt.NDArray[np.float64], seed: int, digest: str, epoch: int) -> Rows:
    return rows[weighted_order(weights, seed=seed, epoch=epoch, digest=digest)]
