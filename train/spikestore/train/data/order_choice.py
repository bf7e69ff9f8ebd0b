"""Choice of the order of a loader's samples.

A loader that loads a saved state finishes the epoch in the order that the state names. The loader that saved the state may have
had another `residence` or `window`.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.train.data.epoch_order import BatchOrder, EpochSamples, SlicedOrder
from spikestore.train.data.placement import Chosen
from spikestore.train.data.streaming.stream_order import (
    SpanCut,
    WindowOrder,
    cut_spans,
    named_spans,
)


class OrderChoice:
    """The orders in which loaders of the same samples, seed and kind of shuffling can yield the samples.

    Parameters
    ----------
    features : FeatureSet
        The set.
    samples : EpochSamples
        Rows in use, and the seed.
    shuffle, window
        See `FeatureLoader`.
    weights : float64 array, shape (samples,), optional
        Draw with replacement, in proportion to these weights.
    """

    def __init__(
        self,
        features: FeatureSet,
        samples: EpochSamples,
        *,
        shuffle: bool,
        weights: npt.NDArray[np.float64] | None,
        window: int | None,
    ) -> None:
        # The set itself is not stored: a loader of a set in memory can be pickled, but some storages cannot.
        self._set_rows = len(features)
        self._fragment_samples = features.manifest.fragment_samples
        self._samples = samples
        self._shuffle = shuffle
        self._weights = weights
        self._window_cut = cut_spans(features, samples.rows, window)

    def of(self, residence: Chosen) -> BatchOrder:
        """Return the order in which a loader yields the samples of an epoch; `residence` is where the loader keeps the set: ``host``, ``device`` or ``stream``."""
        if self._weights is not None:
            name = f"weighted {hashlib.sha256(self._weights.astype('<f8').tobytes()).hexdigest()[:16]}"
            return SlicedOrder(name, partial(self._samples.drawn, self._weights), scattered=True)
        if not self._shuffle:
            return SlicedOrder("rows", self._samples.ascending, scattered=False)
        if residence == "stream":
            return self._windowed(self._window_cut)
        return SlicedOrder("uniform", self._samples.shuffled, scattered=True)

    def named(self, name: object) -> BatchOrder | None:
        """Return the order with this name, which a loader's state contains; None if these samples have no such order."""
        for order in (self.of("host"), self.of("stream")):
            if order.name == name:
                return order
        if self._weights is not None or not self._shuffle or not isinstance(name, str):
            return None
        cut = named_spans(self._set_rows, self._fragment_samples, self._samples.rows, name)
        return None if cut is None else self._windowed(cut)

    def _windowed(self, cut: SpanCut) -> WindowOrder:
        return WindowOrder(self._samples, cut, fragment_samples=self._fragment_samples)
