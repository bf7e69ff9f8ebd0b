"""The loader: batches from a store, in an order that is a pure function of seed, epoch and feature set."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset

from spikestore.store import FeatureSet
from spikestore.store.machine import available_cores
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.arguments import augmentations, callables, true_or_false, whole_number
from spikestore.train.data.batch import Batch
from spikestore.train.data.batch_source import Feed, Place, WholeSet
from spikestore.train.data.frames.collate import Assembly, Augmentation, Ready
from spikestore.train.data.loader_samples import LoaderSamples, absent_attribute
from spikestore.train.data.packed import Progress, pack, refuse_other_than_features
from spikestore.train.data.placement import Residence, choose_residence, pick_device
from spikestore.train.data.prefetch import Ahead
from spikestore.train.data.streaming.streaming import Stream
from spikestore.train.data.subsets import subset_rows, subset_weights
from spikestore.train.data.thread_pool import Threads

DEPTH = 2
"""Batches that are made ahead."""
_MOST_THREADS = 4


class FeatureLoader(IterableDataset[Batch]):
    """Yields batches of a feature set, dense on the device.

    With ``host`` and ``device`` the packed columns are loaded and checked once, at construction; with ``stream``
    they are read, checked and decoded while an epoch goes on, in bounded memory (docs/loading.md). No worker process
    is needed: threads make the next batches while the last one is used.

    A batch is valid as long as anything of it is held; its memory is used again when nothing is.

    Parameters
    ----------
    features : FeatureSet
        The set. Recordings that were skipped are left out.
    batch_size : int
        Samples in a global batch, all ranks together; the last batch may be smaller.
    residence : {"auto", "host", "device", "stream"}
        Where the columns live. ``auto`` takes the device if it is a GPU and they fit there, else the host, and streams
        what fits neither.
    shuffle : bool
        Shuffle anew in each epoch: all samples alike with ``host`` and ``device``, within a window with ``stream``.
        Otherwise they come in the source's order.
    seed : int
        Seed of the order; augmentations have seeds of their own.
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
    rows : integer or bool array or tensor, or str, optional
        Which rows of the set: their numbers, a mask of shape (rows of the set,), or ``PARTITION:PART`` of a partition
        in the store (`keep_partition`). See `subsets`.
    weights : float array, shape (rows of the set,) or (samples,), optional
        Draw as many samples as there are, with replacement, in proportion to these; not with ``stream``. One weight for
        each row of the set, or one for each sample of the loader, in the order of `rows`: as a `FeatureDataset` of the
        same rows numbers its items.
    rank, ranks : int
        Number of this process and how many there are: each takes its share of every global batch.
    augment : callable or sequence of callables
        Applied in turn to the packed batch on the device: (SparseBatch, epoch) to SparseBatch. See `augmentation`.
    transform : callable, optional
        Applied to each batch when it is dense: Batch to Batch. Runs ahead, in a thread of the loader: torch's own random
        numbers come there in no fixed order, and the caller's ``no_grad`` is not seen.
    window : int, optional
        Samples among which ``stream`` shuffles at any time.
    threads : int, optional
        Threads that read and make batches; 4 at most by default, and no more than there are cores.
    reuse : bool
        False gives each batch fresh memory, for whoever keeps bare addresses of it.

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
        *,
        rows: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        rank: int = 0,
        ranks: int = 1,
        augment: Augmentation | Sequence[Augmentation] = (),
        transform: Callable[[Batch], Batch] | None = None,
        window: int | None = None,
        threads: int | None = None,
        reuse: bool = True,
    ) -> None:
        refuse_other_than_features(features)
        batch_size = whole_number("batch_size", batch_size, 1)
        ranks, rank = whole_number("ranks", ranks, 1), whole_number("rank", rank, 0)
        if rank >= ranks:
            raise UsageError(f"rank is {rank}, of {ranks} ranks it should be one of 0 to {ranks - 1}")
        if window is not None:
            window = whole_number("window", window, 64)
        if threads is not None:
            threads = whole_number("threads", threads, 1)
        shuffle, drop_last = true_or_false("shuffle", shuffle), true_or_false("drop_last", drop_last)
        steps = augmentations(augment)
        if transform is not None:
            callables("transform", [transform], "a function from Batch to Batch")
        if frames not in ("dense", "sparse_coo"):
            raise UsageError(f"frames is 'dense' or 'sparse_coo', not {frames!r}")
        if pad_to is not None:
            pad_to = whole_number("pad_to", pad_to, 1)
        if pad_to is not None and pad_to < features.manifest.n_bins:
            raise UsageError(
                f"pad_to is {pad_to}, but the longest sample has {features.manifest.n_bins} time bins: "
                "raise it, or crop in the transform"
            )
        self.device = pick_device(device)
        self.residence = choose_residence(features, residence, self.device)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed = whole_number("seed", seed)
        self.epoch = 0
        chosen = subset_rows(features, rows)
        chances = None if weights is None else subset_weights(features, chosen, weights)
        self._batch = 0  # of this epoch, the next one to hand out
        self._resumed = False
        self._pass: object = None  # the newest, which alone moves the position
        self.drop_last = drop_last
        self._process = os.getpid()
        self._assembly = Assembly(
            self.device,
            frames,
            pad_to,
            steps,
            transform,
            reuse=true_or_false("reuse", reuse),
            threads=threads or min(_MOST_THREADS, available_cores()),
        )
        place = Place(rank, ranks)
        if self.residence == "stream":
            if chances is not None:
                raise UsageError("weights need the whole set in memory: use residence 'host' or 'device'")
            self._feed: Feed = Stream(
                features,
                chosen,
                shuffle=shuffle,
                seed=seed,
                window=window,
                place=place,
                threads=self._assembly.threads,
            )
            labels: npt.NDArray[np.int64] | FeatureSet = features
        else:
            packed = pack(features, progress)
            positions = np.searchsorted(packed.rows, chosen)
            labels = packed.label[positions]
            on_gpu = self.residence == "device" and self.device.type != "cpu"
            self._feed = WholeSet(
                packed,
                positions,
                chances,
                shuffle=shuffle,
                seed=seed,
                place=place,
                device=self.device if on_gpu else None,
            )
        self.samples = self._feed.samples
        self._samples = LoaderSamples(features.classes, chosen, labels)
        self._identity = {
            "digest": features.digest,
            "order": self._feed.order_name,
            "rows": hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest(),
            "seed": seed,
            "batch_size": batch_size,
        }

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
        """Choose the order of the next pass, from its start. A complete pass moves on to the next epoch by itself."""
        epoch = whole_number("epoch", epoch)
        if epoch != self.epoch or self._batch == len(self):
            self._batch, self._resumed, self._pass = 0, False, None
        self.epoch = epoch

    @property
    def nbytes(self) -> int:
        """Bytes of the packed columns that are held, at most."""
        return self._feed.nbytes

    def __iter__(self) -> Iterator[Batch]:
        # Who counts batches, as Lightning does, never asks for the one behind the last.
        if self._batch == len(self):
            self.epoch, self._batch = self.epoch + 1, 0
        first = self._batch if self._resumed else 0
        self._resumed = False
        return self.from_batch(first)

    def from_batch(self, first: int) -> Iterator[Batch]:
        """Yield the batches of this epoch from batch number `first` on, as if those before had been taken.

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
        epoch, self._batch, process = self.epoch, first, os.getpid()
        self._pass = current = object()
        pool = Threads(self._assembly.threads + self._feed.waiting, "spikestore-loader")
        ahead = Ahead(self._make(epoch, first, pool), DEPTH, pool.abandon)
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
            self.epoch, self._batch = epoch + 1, 0

    def _take(self, ahead: Ahead[Ready], number: int, current: object) -> Batch:
        batch = next(ahead).taken()
        if self._pass is current:  # only now: after an error, or Ctrl-C, the batch was not handed out
            self._batch = number + 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is: what `load_state_dict` needs to hand out the very next batch.

        torchdata's ``Stateful`` protocol. The position counts global batches, so that it holds for any number of
        threads and ranks.
        """
        return {"epoch": self.epoch, "batch": self._batch, **self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another loader was; the next pass goes on from there.

        Raises
        ------
        UsageError
            The state is of another set, order, seed or batch size, or no state at all.
        """
        if not isinstance(state, Mapping):
            raise UsageError(f"{type(state).__name__} is no state of a loader")
        for name, mine in self._identity.items():
            same = type(state.get(name)) is type(mine) and state[name] == mine
            if not same and name == "order":
                raise UsageError(
                    f"the state has a position in the order {state.get(name)!r}, and this loader, with residence="
                    f"{self.residence!r}, has {mine!r}: give it the residence, shuffle, weights and window of the one that "
                    "made the state ('auto' may choose otherwise than it did)"
                )
            if not same:
                raise UsageError(f"the state has {name} = {state.get(name)!r}, this loader {mine!r}")
        epoch, batch = state.get("epoch"), state.get("batch")
        if type(epoch) is not int or type(batch) is not int or not 0 <= batch <= len(self) or epoch >= 2**62:
            raise UsageError(f"the state has epoch = {epoch!r}, batch = {batch!r}, of {len(self)} batches")
        if batch == len(self):  # stopped between the last batch and the end of the pass
            epoch, batch = epoch + 1, 0
        self.epoch, self._batch, self._resumed, self._pass = epoch, batch, True, None

    def _make(self, epoch: int, first: int, pool: Threads) -> Iterator[Ready]:
        with pool:
            samples = self._feed.batches(epoch, first, self.batch_size, pool)
            for one in itertools.islice(samples, max(len(self) - first, 0)):
                yield self._assembly.make(one, epoch, pool)
