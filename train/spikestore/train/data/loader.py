"""The loader: batches from a store, in an order that is a pure function of seed, epoch and feature set."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, Never

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset

from spikestore.store import FeatureSet
from spikestore.store.concurrency import DaemonThreads, Prefetcher
from spikestore.store.machine import available_cores
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.arguments import augmentations, callables, true_or_false, whole_number
from spikestore.train.data.batch import Batch
from spikestore.train.data.batch_source import BatchSource, WholeSet
from spikestore.train.data.epoch_order import BatchOrder, EpochSamples, RankShare
from spikestore.train.data.frames.collate import Assembly, Augmentation, PendingBatch
from spikestore.train.data.loader_samples import LoaderSamples, absent_attribute, refuse_loader_arguments
from spikestore.train.data.order_choice import OrderChoice
from spikestore.train.data.packed import pack, refuse_other_than_features
from spikestore.train.data.placement import Chosen, Residence, choose_residence, pick_device
from spikestore.train.data.streaming.streaming import Stream
from spikestore.train.data.subsets import subset_rows, subset_weights

logger = logging.getLogger(__name__)

DEPTH = 2
"""Batches that are made ahead."""
_MOST_THREADS = 4


class FeatureLoader(IterableDataset[Batch]):
    """Yields batches of a feature set, dense on the device.

    With ``host`` and ``device`` the packed columns are loaded and checked once, at construction; with ``stream``
    they are read, checked and decoded while an epoch goes on, in bounded memory (docs/loading.md). No worker process
    is needed: threads make the next batches while the last one is used.

    A batch stays valid while any reference to it or to a view of it exists; then its buffer is reused.

    Each pass over the loader is an epoch with an order of its own, also after a pass that was left before its end
    (``break``, `itertools.islice`, Lightning's ``limit_train_batches``); `set_epoch` chooses another one.

    Parameters are flat keywords, as those of a DataLoader. They come in groups: which samples and in which order (`rows` to
    `drop_last`), the share of this process, what a batch is (`device` to `transform`), and how it is made.

    Parameters
    ----------
    features : FeatureSet
        The set. Recordings that were skipped are left out.
    batch_size : int
        Samples in a global batch, all ranks together; the last batch may be smaller.
    residence : {"auto", "host", "device", "stream"}
        Where the columns live. ``auto`` takes the device if it is a GPU and they fit there, else the host, and streams
        what fits neither.
    rows : integer or bool array or tensor, or str, optional
        Which rows of the set: their numbers, a mask of shape (rows of the set,), or ``PARTITION:PART`` of a partition
        in the store (`keep_partition`). See `subsets`.
    shuffle : bool
        Shuffle anew in each epoch: all samples alike with ``host`` and ``device``, within a window with ``stream``.
        Otherwise they come in the source's order.
    seed : int
        Seed of the order; augmentations have seeds of their own.
    weights : float array, shape (rows of the set,) or (samples,), optional
        Draw as many samples as there are, with replacement, in proportion to these; not with ``stream``. One weight for
        each row of the set, or one for each sample of the loader, in the order of `rows`: as a `FeatureDataset` of the
        same rows numbers its items.
    window : int, optional
        Samples among which ``stream`` shuffles at any time.
    drop_last : bool
        Leave out a smaller last batch.
    rank, ranks : int
        Number of this process and how many there are: each takes its share of every global batch.
    device : torch.device or str
        Where batches go.
    frames : {"dense", "sparse_coo"}
        What ``Batch.frames`` is.
    pad_to : int, optional
        Time bins of every batch; by default those of its longest sample.
    augment : callable or sequence of callables
        Applied in turn to the packed batch on the device: (SparseBatch, epoch) to SparseBatch. See `augmentation`.
    transform : callable, optional
        Applied to each batch when it is dense: Batch to Batch. Runs ahead, in a thread of the loader: torch's own random
        numbers come there in no fixed order, and the caller's ``no_grad`` is not seen.
    threads : int, optional
        Threads that read and make batches; 4 at most by default, and no more than there are cores.
    reuse : bool
        False gives each batch fresh memory, for whoever keeps bare addresses of it.
    max_frame_bytes : int, optional
        Bytes that the dense frames of a batch may take: a row can ask for any amount. 4 GiB by default, or half of this
        machine's memory where that is less.
    progress : callable, optional
        Called during loading as ``progress(samples_done, samples_total, label)``.

    Raises
    ------
    UsageError
        A parameter makes no sense, or is one of torch's DataLoader that has no meaning here; or the set does not fit, and
        the message has an estimate.
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
        *,
        rows: npt.ArrayLike | None = None,
        shuffle: bool = False,
        seed: int = 0,
        weights: npt.ArrayLike | None = None,
        window: int | None = None,
        drop_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device | str = "cpu",
        frames: Literal["dense", "sparse_coo"] = "dense",
        pad_to: int | None = None,
        augment: Augmentation | Sequence[Augmentation] = (),
        transform: Callable[[Batch], Batch] | None = None,
        threads: int | None = None,
        reuse: bool = True,
        max_frame_bytes: int | None = None,
        progress: Progress | None = None,
        **others: Never,
    ) -> None:
        refuse_loader_arguments(others, inspect.signature(FeatureLoader).parameters)
        refuse_other_than_features(features)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffle = true_or_false("shuffle", shuffle)
        self.drop_last = true_or_false("drop_last", drop_last)
        self.seed = whole_number("seed", seed)
        share = _rank_share(rank, ranks)
        if window is not None:
            window = whole_number("window", window, 64)
        if threads is not None:
            threads = whole_number("threads", threads, 1)
        if max_frame_bytes is not None:
            max_frame_bytes = whole_number("max_frame_bytes", max_frame_bytes, 1)
        if transform is not None:
            callables("transform", [transform], "a function from Batch to Batch")
        if frames not in ("dense", "sparse_coo"):
            raise UsageError(f"frames is 'dense' or 'sparse_coo', not {frames!r}")
        self.device = pick_device(device)
        self._assembly = Assembly(
            self.device,
            frames,
            _pad_to(pad_to, features),
            augmentations(augment),
            transform,
            reuse=true_or_false("reuse", reuse),
            threads=threads or min(_MOST_THREADS, available_cores()),
            max_frame_bytes=max_frame_bytes,
        )
        self.residence = choose_residence(features, residence, self.device)
        chosen = subset_rows(features, rows)
        chances = None if weights is None else subset_weights(features, chosen, weights)
        if self.residence == "stream" and chances is not None:
            raise UsageError("weights need the whole set in memory: use residence 'host' or 'device'")
        self.epoch = 0
        """The epoch of the newest pass, or of the next one if that has ended."""
        self._batch = 0  # of this epoch, the next one to hand out
        self._under_way = False  # a pass has handed out batches of it: the next pass begins another one
        self._pass: object = None  # the newest, which alone moves the position
        self._process = os.getpid()
        samples = EpochSamples(chosen, self.seed, features.digest)
        self._orders = OrderChoice(features, samples, shuffle=self.shuffle, weights=chances, window=window)
        self._own_order = self._orders.of(self.residence)
        self._order = self._own_order  # of this epoch: another one if it began elsewhere
        if self.residence == "stream":
            self._source: BatchSource = Stream(
                features, chosen, self._own_order, share=share, threads=self._assembly.threads
            )
            labels: npt.NDArray[np.int64] | FeatureSet = features
        else:
            on_gpu = self.residence == "device" and self.device.type != "cpu"
            packed = pack(features, progress)
            labels = packed.label[np.searchsorted(packed.rows, chosen)]
            self._source = WholeSet(packed, share=share, device=self.device if on_gpu else None)
        self.samples = len(chosen)
        self._set = repr(features)
        self._samples = LoaderSamples(features.classes, chosen, labels)
        self._identity = {
            "digest": features.digest,
            "rows": hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest(),
            "seed": self.seed,
            "batch_size": self.batch_size,
        }

    def __repr__(self) -> str:
        return (
            f"<FeatureLoader of {self._set}: {self.samples} samples in {len(self)} batches of {self.batch_size}, "
            f"shuffle={self.shuffle}, seed={self.seed}, residence={self.residence!r}, device={str(self.device)!r}, "
            f"next epoch {self.epoch + self._under_way}>"
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def dataset(self) -> LoaderSamples:
        """The samples of an epoch, as scripts ask a DataLoader for them: ``len(loader.dataset)``, ``.targets``."""
        return self._samples

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(absent_attribute(name), name=name, obj=self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, from its start, or from where `load_state_dict` went in the same epoch."""
        epoch = whole_number("epoch", epoch)
        if epoch != self.epoch or self._under_way:
            self._go_to(epoch, 0, self._own_order)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """What Lightning looks for to call `set_epoch`, as it does on a ``DistributedSampler``: its ``sampler`` is the loader."""
        return SimpleNamespace(sampler=self)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed columns that are held, at most."""
        return self._source.nbytes

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of an epoch: of the next one, or what is left of the one that `load_state_dict` went to.

        The pass begins, and the epoch is decided, when its first batch is asked for.

        Raises
        ------
        DamagedError, StoreError
            ``stream``: what is read is damaged, missing, or can't be reached.
        UsageError
            The loader came into this process by a fork, and streams; or it is in one of several DataLoader workers.
        """
        worker = torch.utils.data.get_worker_info()
        if worker is not None and worker.num_workers > 1:
            raise UsageError(
                f"each of {worker.num_workers} DataLoader workers would hand out every sample: iterate over the loader itself, "
                "whose threads do their work, or use FeatureDataset with workers"
            )
        if self.residence == "stream" and os.getpid() != self._process:
            raise UsageError(
                "a loader with residence='stream' can't be used in a forked process, where reads would hang: make it in "
                "the process that uses it, without DataLoader workers (its threads do their work)"
            )
        if self._under_way:
            self._go_to(self.epoch + 1, 0, self._own_order)
        epoch, first, process = self.epoch, self._batch, os.getpid()
        self._pass = current = object()
        pool = DaemonThreads(self._assembly.threads + self._source.waiting, "spikestore-loader")
        ahead = Prefetcher(self._make(self._order, epoch, first, pool), DEPTH, pool.abandon, errors="first")
        try:
            # No name holds a batch while the next one is made: its memory may be wanted again.
            for number in range(first, len(self)):
                if os.getpid() != process:
                    raise UsageError(
                        "a pass that began before a fork ends there: begin another one in the new process"
                    )
                yield self._take(ahead, number, current)
        finally:
            ahead.close()
        if self._pass is current:
            self._go_to(epoch + 1, 0, self._own_order)

    def _take(self, ahead: Prefetcher[PendingBatch], number: int, current: object) -> Batch:
        batch = next(ahead).taken()
        if self._pass is current:  # only now: after an error, or Ctrl-C, the batch was not handed out
            self._batch, self._under_way = number + 1, True
        return batch

    def _go_to(self, epoch: int, batch: int, order: BatchOrder) -> None:
        """Let the next pass begin there."""
        self.epoch, self._batch, self._order = epoch, batch, order
        self._under_way, self._pass = False, None

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is: what `load_state_dict` needs to hand out the very next batch.

        torchdata's ``Stateful`` protocol. The position counts global batches, so that it holds for any number of
        threads and ranks; it is one in the order that the state names.
        """
        return {"epoch": self.epoch, "batch": self._batch, "order": self._order.name, **self._identity}

    def state_at(self, epoch: int, batch: int, residence: Chosen) -> dict[str, Any]:
        """Return the state of a loader like this one with `residence`, before it hands out a batch of an epoch."""
        order = self._orders.of(residence).name
        return {**self.state_dict(), "epoch": epoch, "batch": batch, "order": order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another loader was; the next pass goes on from there.

        An epoch that began in the order of another residence or window is finished in that order, so that each sample
        comes once; epochs after it have this loader's order. ``stream`` finishes an epoch of ``host`` and ``device`` in
        bounded memory too, but slowly: it reads 64 samples for each one.

        Raises
        ------
        UsageError
            The state is of another set, subset, seed, batch size or kind of shuffling, or no state at all.
        """
        if not isinstance(state, Mapping):
            raise UsageError(f"{type(state).__name__} is no state of a loader")
        for name, mine in self._identity.items():
            if type(state.get(name)) is not type(mine) or state[name] != mine:
                raise UsageError(f"the state has {name} = {state.get(name)!r}, this loader {mine!r}")
        epoch, batch = state.get("epoch"), state.get("batch")
        if type(epoch) is not int or type(batch) is not int or not 0 <= batch <= len(self) or epoch >= 2**62:
            raise UsageError(f"the state has epoch = {epoch!r}, batch = {batch!r}, of {len(self)} batches")
        order = self._orders.named(state.get("order"))
        if order is None:
            raise UsageError(
                f"the state has a position in the order {state.get('order')!r}, and this loader has "
                f"{self._own_order.name!r}: give it the shuffle and weights of the one that made the state"
            )
        if batch == len(self):  # stopped between the last batch and the end of the pass
            epoch, batch = epoch + 1, 0
        if batch == 0 or order.name == self._own_order.name:
            order = self._own_order
        else:
            logger.info("epoch %d is finished in the order in which it began, %r", epoch + 1, order.name)
            if self.residence == "stream" and order.scattered:
                logger.info("until then 64 samples are read for each one, which is slow")
        self._go_to(epoch, batch, order)

    def _make(self, order: BatchOrder, epoch: int, first: int, pool: DaemonThreads) -> Iterator[PendingBatch]:
        with pool:
            samples = self._source.batches(order, epoch, first, self.batch_size, pool)
            for batch in itertools.islice(samples, max(len(self) - first, 0)):
                yield self._assembly.make(batch, epoch, pool)


def _rank_share(rank: int, ranks: int) -> RankShare:
    ranks, rank = whole_number("ranks", ranks, 1), whole_number("rank", rank, 0)
    if rank >= ranks:
        raise UsageError(f"rank is {rank}, of {ranks} ranks it should be one of 0 to {ranks - 1}")
    return RankShare(rank, ranks)


def _pad_to(pad_to: int | None, features: FeatureSet) -> int | None:
    if pad_to is None:
        return None
    pad_to = whole_number("pad_to", pad_to, 1)
    if pad_to < features.manifest.n_bins:
        raise UsageError(
            f"pad_to is {pad_to}, but the longest sample has {features.manifest.n_bins} time bins: "
            "raise it, or crop in the transform"
        )
    return pad_to
