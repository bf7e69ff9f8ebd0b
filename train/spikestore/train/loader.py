"""The loader: batches from packed columns, in an order that is a pure function of seed, epoch and feature set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from spikestore.store_schemas import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train.batch import Batch, TensorColumns
from spikestore.train.order import epoch_order
from spikestore.train.packed import Progress, pack, refuse_other_than_features
from spikestore.train.residence import Residence, choose_residence, pick_device


class FeatureLoader:
    """Yields batches of a feature set, dense on the device.

    The packed columns are loaded and checked once, at construction. In an epoch nothing is read, and no worker
    process is needed: a batch is gathered from the columns, moved to the device packed, and made dense there.

    Parameters
    ----------
    features : FeatureSet
        The set. Recordings that were skipped are left out.
    batch_size : int
        Samples in a batch; the last batch may be smaller.
    residence : {"auto", "host", "device"}
        Where the columns live. ``auto`` takes the device if it is a GPU and they fit there.
    shuffle : bool
        Shuffle all samples, anew in each epoch; otherwise they come in the source's order.
    seed : int
        Seed of the order.
    device : torch.device or str
        Where batches go.
    pad_to : int, optional
        Time bins of every batch; by default those of its longest sample.
    drop_last : bool
        Leave out a smaller last batch.
    frames : {"dense", "sparse_coo"}
        What ``Batch.frames`` is.
    progress : callable, optional
        Told about loading: (samples loaded, samples in all, what).

    Raises
    ------
    UsageError
        A parameter makes no sense, or the set does not fit; the message has an estimate.
    DamagedError
        What is stored is not what was committed; the message names the object.

    Examples
    --------
    >>> loader = FeatureLoader(features, 128, shuffle=True, device="cuda")       # doctest: +SKIP
    >>> for epoch in range(10):                                                  # doctest: +SKIP
    ...     loader.set_epoch(epoch)
    ...     for frames, labels, lengths, samples in loader:
    ...         ...                                      # frames: (batch, time, polarity, [y,] x), float32
    """

    def __init__(
        self,
        features: FeatureSet,
        batch_size: int,
        residence: Residence = "auto",
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        pad_to: int | None = None,
        drop_last: bool = False,
        frames: Literal["dense", "sparse_coo"] = "dense",
        progress: Progress | None = None,
    ) -> None:
        refuse_other_than_features(features)
        if type(batch_size) is not int or batch_size < 1:
            raise UsageError(f"batch_size is {batch_size!r}, should be a whole number from 1 on")
        if frames not in ("dense", "sparse_coo"):
            raise UsageError(f"frames is 'dense' or 'sparse_coo', not {frames!r}")
        if pad_to is not None and pad_to < features.manifest.n_bins:
            raise UsageError(
                f"pad_to is {pad_to}, but the longest sample has {features.manifest.n_bins} time bins: "
                "raise it, or crop in the transform"
            )
        self.device = pick_device(device)
        self.residence = choose_residence(features, residence, self.device)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._digest = features.digest
        self._drop_last = drop_last
        self._frames = frames
        self._pad_to = pad_to
        packed = pack(features, progress)
        self.samples = len(packed)
        self._columns = TensorColumns(packed, self.device if self.residence == "device" else "cpu")

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass. A complete pass moves on to the next epoch by itself."""
        self.epoch = epoch

    @property
    def nbytes(self) -> int:
        """Bytes of the packed columns."""
        return self._columns.nbytes

    def order(self) -> torch.Tensor:
        """Return the order of this epoch: positions in the set without skipped rows, int64, shape (samples,)."""
        if not self.shuffle:
            return torch.arange(self.samples)
        return torch.from_numpy(
            epoch_order(self.samples, seed=self.seed, epoch=self.epoch, digest=self._digest)
        )

    def __iter__(self) -> Iterator[Batch]:
        return self.from_batch(0)

    def from_batch(self, first: int) -> Iterator[Batch]:
        """Yield the batches of this epoch from batch number `first` on, as if those before had been taken."""
        order, epoch = self.order(), self.epoch
        to_gpu = self.device.type == "cuda" and self.residence == "host"
        for batch in range(first, len(self)):
            packed = self._columns.gather(order[batch * self.batch_size : (batch + 1) * self.batch_size])
            if to_gpu:
                packed = packed.pin_memory()
            on_device = packed.to(self.device, non_blocking=to_gpu)
            yield on_device.batch(self._pad_to, sparse=self._frames == "sparse_coo")
        if self.epoch == epoch:
            self.epoch += 1
