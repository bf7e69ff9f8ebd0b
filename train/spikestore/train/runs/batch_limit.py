"""Check before training that no batch of the validation set exceeds ``max_frame_bytes``."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import frame_byte_limit, refuse_giant_frames
from spikestore.train.data.epoch_order import RankShare, SlicedOrder
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.data.placement import set_label
from spikestore.train.runs.config import DataConfig


def refuse_large_batches(
    data: DataConfig, features: FeatureSet, loader: FeatureLoader, *, ranks: int = 1
) -> None:
    """Raise an error if a batch of a loader without `shuffle` exceeds ``max_frame_bytes``.

    Without this check, the error would come after the first epoch, and the work of this epoch would be lost.

    Parameters
    ----------
    data : DataConfig
        Batches of the training run.
    features : FeatureSet
        The set of the loader.
    loader : FeatureLoader
        A loader without `shuffle`.
    ranks : int
        Number of processes that share each batch. The shares of all of them are checked, so every process raises the same error.

    Raises
    ------
    UsageError
        A batch exceeds the limit; the message names the longest row of one such batch.
    """
    limit = frame_byte_limit(data.max_frame_bytes)
    bin_bytes = math.prod(features.layout.sites) * torch.float32.itemsize
    longest = features.manifest.n_bins
    cut = data.cut_of(longest)
    padding = Padding(data.pad_to, data.pad_at_least or 0, cut)
    most = padding.bins(cut or longest)
    size, of = min(data.batch_size, loader.samples), set_label(features)
    if -(-size // ranks) * most * bin_bytes <= limit:
        return  # no length is read
    rows = loader.dataset.rows
    lengths = np.minimum(features.column("n_bins"), cut or longest)
    order = SlicedOrder("ascending", lambda epoch: rows, scattered=False)
    for rank in range(ranks):
        share, edges = order.batches(0, 0, size, RankShare(rank, ranks))
        for batch in (share[start:stop] for start, stop in itertools.pairwise(edges) if start < stop):
            row = int(batch[lengths[batch].argmax()])
            n_bins = int(lengths[row])
            bins = padding.bins(n_bins)
            needed = len(batch) * bins * bin_bytes
            refuse_giant_frames(row, n_bins, needed, limit, samples=len(batch), padded_to=bins, of=of)
