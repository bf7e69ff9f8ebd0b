"""The loader: yields batches from a store, in an order that is a pure function of seed, epoch and feature set."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import augmentations, callables, true_or_false, whole_number
from spikestore.train.data.batch import Batch
from spikestore.train.data.batch_source import BatchSource, WholeSet
from spikestore.train.data.epoch_order import BatchOrder, EpochSamples, rank_share
from spikestore.train.data.frames.collate import Assembly, PendingBatch
from spikestore.train.data.frames.padding import checked_padding, truncated
from spikestore.train.data.frames.step_augmentation import Augmentation, Augmentations
from spikestore.train.data.loader_samples import LoaderSamples, absent_attribute, refuse_loader_arguments
from spikestore.train.data.order_choice import OrderChoice
from spikestore.train.data.packed import pack, refuse_other_than_features
from spikestore.train.data.placement import Chosen, Residence, choose_residence, pick_device, set_label
from spikestore.train.data.rebinning.rebinned_set import rebinned
from spikestore.train.data.streaming.streaming import Stream
from spikestore.train.data.subsets import subset_rows, subset_weights

logger = logging.getLogger(__name__)

DEPTH = 2
"""Number of batches that threads build before they are needed."""
_MOST_THREADS = 4


class FeatureLoader(IterableDataset[Batch]):
    """Yields batches of a feature set, as tensors on the device.

    With the residences ``host`` and ``device``, the whole set is loaded and checked once, at construction. With
    ``stream``, samples are read, checked and decoded during the epoch, in bounded memory (docs/loading.md). No worker
    process is needed: threads build the next batches while the current batch is used.

    A batch stays valid while you hold a reference to it or to a view of it. After that, its buffer is reused for another batch.

    Each pass over the loader is an epoch with its own order, even if the previous pass stopped early (``break``,
    `itertools.islice`, Lightning's ``limit_train_batches``); `set_epoch` selects another epoch.

    The parameters from `rows` on are keywords.

    Parameters
    ----------
    features : FeatureSet
        The set. Skipped recordings are left out.
    batch_size : int
        Samples in a global batch, all ranks together; the last batch may be smaller.
    residence : {"auto", "host", "device", "stream"}
        Memory that holds the columns of the set. ``auto`` is ``stream`` if the columns do not fit into host memory; else ``device`` if
        the device is a GPU with enough memory; else ``host``. With ``device`` too, columns are first loaded into host memory.
    rows : integer or bool array or tensor, or str, optional
        Rows of the set: numbers in any order, a mask of shape (rows of the set,), or ``PARTITION:PART`` (`partition_rows`).
    rebin : tuple of int and int, optional
        Numbers of neighbouring time bins and of neighbouring channels to sum, such as ``(4, 7)``: the batches are those of a
        set with longer bins and fewer channels (docs/loading.md). With y, the second number is for x and y.
    shuffle : bool
        True: reshuffle in each epoch. The residences ``host`` and ``device`` shuffle all samples; ``stream`` shuffles within
        a window. False: samples are in the order of the set.
    seed : int
        Seed of the order; augmentations have seeds of their own.
    weights : float array, shape (rows of the set,) or (samples,), optional
        Samples are drawn with replacement, with probabilities proportional to the weights; the number of samples of an
        epoch does not change. Not with ``stream``. Pass one weight for each row of the set, or one for each sample of
        the loader, in the order of the set. The items of a `FeatureDataset` with the same `rows` are in this order too.
    window : int, optional
        Number of samples among which ``stream`` shuffles, at least 64. By default, the number of samples that
        fit into 256 MiB, at most 8192.
    drop_last : bool
        Leave out a smaller last batch.
    rank, ranks : int
        Number of this process, and the number of processes: each process takes its share of every global batch.
    device : torch.device or str
        Device of the batches; ``auto`` is a GPU if there is one.
    frames : {"dense", "sparse_coo"}
        Layout of ``Batch.frames``.
    pad_to : int, optional
        Time bins of every batch; by default those of its longest sample. A longer sample is an error.
    pad_at_least : int, optional
        Minimum number of time bins of a batch: shorter batches are padded, longer batches keep their length. Not with `pad_to`.
    truncate_to : int, optional
        Keep only the first `truncate_to` time bins of each sample. ``Batch.lengths`` are the lengths after the cut.
    augment : callable or sequence of callables
        Callables from (SparseBatch, epoch) to SparseBatch, applied to the packed batch on the device. They are applied in the order of
        the list, except that `EventThinning` (also in a `OneOf`) comes first and `Blend` second. No augmentation is moved across a callable of your own.
        See `augmentation`.
    transform : callable, optional
        Applied to each finished batch: Batch to Batch. It runs in a thread of the loader, where the order of torch's
        random numbers is not fixed and the caller's ``no_grad`` has no effect.
    threads : int, optional
        Threads that read and build batches; by default the number of cores, at most 4.
    reuse : bool
        False allocates fresh memory for each batch, for code that keeps raw addresses of a batch.
    max_frame_bytes : int, optional
        Largest size of the dense frames of a batch, in bytes; a larger batch is an error. By default 4 GiB, or half of this
        machine's memory if that is less.
    progress : callable, optional
        Called during loading as ``progress(samples_done, samples_total, label)``.

    Raises
    ------
    UsageError
        A parameter is invalid, or belongs to torch's DataLoader and has no meaning here; or the set does not fit into
        memory, and the message has an estimate.
    TypeError
        A parameter is unknown.
    DamagedError, StoreError
        Stored data differ from the committed data (the message names the object), are missing, or can't be reached.

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
        rebin: tuple[int, int] | None = None,
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
        pad_at_least: int | None = None,
        truncate_to: int | None = None,
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
        features = rebinned(features, rebin)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffle = true_or_false("shuffle", shuffle)
        self.drop_last = true_or_false("drop_last", drop_last)
        self.seed = whole_number("seed", seed)
        share = rank_share(rank, ranks)
        window = None if window is None else whole_number("window", window, 64)
        threads = None if threads is None else whole_number("threads", threads, 1)
        most_bytes = None if max_frame_bytes is None else whole_number("max_frame_bytes", max_frame_bytes, 1)
        if transform is not None:
            callables("transform", [transform], "a function from Batch to Batch")
        if frames not in ("dense", "sparse_coo"):
            raise UsageError(f"frames must be 'dense' or 'sparse_coo', got {frames!r}")
        self.device = pick_device(device)
        longest, of = features.manifest.n_bins, set_label(features)
        padding = checked_padding(pad_to, pad_at_least, truncate_to, longest=longest, of=of)
        self._assembly = Assembly(
            self.device,
            frames,
            padding,
            Augmentations(augmentations(augment), len(features.classes)),
            transform,
            reuse=true_or_false("reuse", reuse),
            threads=threads or min(_MOST_THREADS, available_cores()),
            max_frame_bytes=most_bytes,
        )
        self._assembly.check_augmentations(features.manifest)
        self.residence = choose_residence(features, residence, self.device)
        chosen = subset_rows(features, rows)
        chances = None if weights is None else subset_weights(features, chosen, weights)
        if self.residence == "stream" and chances is not None:
            raise UsageError("weights= needs the whole set in memory: use residence 'host' or 'device'")
        self.epoch = 0
        """Epoch of the current pass; after its end, epoch of the next pass."""
        self._batch = 0  # next batch of this epoch to yield
        self._ended: int | None = None  # the epoch of a loaded state from after its last batch
        # A pass has yielded batches of this epoch: the next pass begins the next epoch.
        self._under_way = False
        self._pass: object = None  # the latest pass; only this one moves the position
        self._process = os.getpid()
        samples = EpochSamples(chosen, self.seed, features.digest)
        self._orders = OrderChoice(features, samples, shuffle=self.shuffle, weights=chances, window=window)
        self._own_order = self._orders.of(self.residence)
        self._order = self._own_order  # of this epoch, which may have begun with another residence
        if self.residence == "stream":
            self._source: BatchSource = Stream(
                features,
                chosen,
                self._own_order,
                share=share,
                threads=self._assembly.threads,
                truncate_to=padding.truncate_to,
            )
            labels: npt.NDArray[np.int64] | FeatureSet = features
        else:
            on_gpu = self.residence == "device" and self.device.type != "cpu"
            packed = truncated(pack(features, progress), padding.truncate_to, features.layout.site_count)
            labels = packed.label[np.searchsorted(packed.rows, chosen)]
            self._assembly.augment.check_labels(labels)
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
            f"<FeatureLoader of {self._set}: {plural(self.samples, 'sample')} in {plural(len(self), 'batch')} of {self.batch_size}, "
            f"shuffle={self.shuffle}, seed={self.seed}, residence={self.residence!r}, device={str(self.device)!r}, "
            f"next epoch {self.epoch + self._under_way}>"
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def dataset(self) -> LoaderSamples:
        """Rows and labels of the loader's samples, for scripts that use ``len(loader.dataset)`` or ``loader.dataset.targets``."""
        return self._samples

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(absent_attribute(name), name=name, obj=self)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass. The pass starts at batch 0, or at the position in this epoch that `load_state_dict` has set."""
        epoch = whole_number("epoch", epoch, most=2**62 - 2)  # `load_state_dict` refuses 2^62 and more
        if epoch == self._ended:
            self._go_to(epoch, len(self), self._own_order)
        elif epoch != self.epoch or self._under_way:
            self._go_to(epoch, 0, self._own_order)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Object whose attribute ``sampler`` is this loader: Lightning calls ``loader.batch_sampler.sampler.set_epoch``."""
        return SimpleNamespace(sampler=self)

    @property
    def mixes_labels(self) -> bool:
        """Whether ``Batch.labels`` has weights of all classes, because of `CutMix` or `EventMix`, instead of class numbers."""
        return self._assembly.augment.mixes_labels

    @property
    def nbytes(self) -> int:
        """Maximum size in bytes of the packed columns that are in memory at the same time."""
        return self._source.nbytes

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch; after `load_state_dict`, the remaining batches of the restored epoch.

        The pass begins when its first batch is requested; the number of its epoch is also determined at that time.

        Raises
        ------
        DamagedError, StoreError
            The loader streams, and the data are damaged, missing, or can't be reached.
        UsageError
            This process is a DataLoader worker, or was forked during the pass (if the loader streams: after the loader was
            made); a batch has more than `max_frame_bytes`; or an augmentation can't be applied.
        """
        if torch.utils.data.get_worker_info() is not None:
            raise UsageError(
                "a loader can't be used in a DataLoader worker, because samples or epochs would be repeated: iterate over the loader "
                "itself, whose threads replace workers, or use FeatureDataset with workers"
            )
        if self.residence == "stream" and os.getpid() != self._process:
            raise UsageError(
                "a loader with residence='stream' can't be used in a forked process, where reads would hang: create the "
                "loader in the process that uses it, without DataLoader workers (the loader's threads replace them)"
            )
        if self._under_way:
            self._go_to(self.epoch + 1, 0, self._own_order)
        epoch, first, process = self.epoch, self._batch, os.getpid()
        self._pass = current = object()
        pool = DaemonThreads(self._assembly.threads + self._source.waiting, "spikestore-loader")
        batches = self._make(self._order, epoch, first, pool)
        ahead: Prefetcher[PendingBatch] | Generator[PendingBatch] = batches
        if self.residence != "device" or not self._assembly.only_starts:
            ahead = Prefetcher(batches, DEPTH, pool.abandon, errors="first")
        # The pool ends last: its threads work on batches until they are taken.
        with pool, contextlib.closing(ahead):
            # No variable holds a batch while the next one is built, so that its memory can be reused.
            for number in range(first, len(self)):
                if os.getpid() != process:
                    raise UsageError(
                        "a pass over the loader can't continue in a forked process: begin a new pass in that process"
                    )
                yield self._take(ahead, number, current)
        if self._pass is current:
            self._go_to(epoch + 1, 0, self._own_order)

    def _take(self, ahead: Iterator[PendingBatch], number: int, current: object) -> Batch:
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else contextlib.nullcontext():
            batch = next(ahead).taken()  # autograd can save it, whatever the caller's mode is
        if self._pass is current:  # only now: after an error or Ctrl-C the batch was not yielded
            self._batch, self._under_way = number + 1, True
        return batch

    def _go_to(self, epoch: int, batch: int, order: BatchOrder) -> None:
        """Set the epoch and the batch at which the next pass begins."""
        self.epoch, self._batch, self._order = epoch, batch, order
        self._under_way, self._pass, self._ended = False, None, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loader, from which `load_state_dict` continues with the next batch.

        Implements torchdata's ``Stateful`` protocol. The position counts global batches, so it is valid for any number
        of threads and ranks. The state also names the order of the batches.
        """
        return {"epoch": self.epoch, "batch": self._batch, "order": self._order.name, **self._identity}

    def state_at(self, epoch: int, batch: int, residence: Chosen) -> dict[str, Any]:
        """Return the state that a loader with this `residence` has before a given batch of an epoch."""
        order = self._orders.of(residence).name
        return {**self.state_dict(), "epoch": epoch, "batch": batch, "order": order}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the position of a loader from its `state_dict`; the next pass resumes there.

        If the epoch began with another `residence` or `window`, it is finished in the order of that loader, so that each sample is
        yielded once; later epochs have this loader's order. A loader with the residence ``stream`` finishes an epoch of ``host``
        or ``device`` slowly, because it reads a block of 64 samples for each sample that it yields.

        Raises
        ------
        UsageError
            The state belongs to another set, subset, seed, batch size, kind of shuffling or weights; its batch is beyond the end of
            an epoch, as with another `drop_last`; or it is not a loader's state.
        """
        if not isinstance(state, Mapping):
            raise UsageError(f"the state must be what state_dict() returned, got {type(state).__name__}")
        for name, mine in self._identity.items():
            if type(state.get(name)) is not type(mine) or state[name] != mine:
                raise UsageError(
                    f"the state has {name} = {state.get(name)!r}, but this loader has {mine!r}: a state fits only a loader of the same set, rows, seed and batch size"
                )
        epoch, batch = state.get("epoch"), state.get("batch")
        if type(epoch) is not int or type(batch) is not int or not 0 <= batch <= len(self) or epoch >= 2**62:
            raise UsageError(
                f"the state has epoch = {epoch!r} and batch = {batch!r}, but an epoch has {plural(len(self), 'batch')}: pass the unchanged result of state_dict() to a loader with the same drop_last"
            )
        order = self._orders.named(state.get("order"))
        if order is None:
            raise UsageError(
                f"the state has a position in the order {state.get('order')!r}, but this loader has "
                f"the order {self._own_order.name!r}: use the shuffle= and weights= of the loader that made the state"
            )
        # Stopped between the last batch and the end of the pass.
        ended = epoch if batch == len(self) else None
        epoch, batch = (epoch, batch) if ended is None else (epoch + 1, 0)
        if batch == 0 or order.name == self._own_order.name:
            order = self._own_order
        else:
            logger.info("the resumed epoch %d keeps the order with which it began, %r", epoch + 1, order.name)
            if self.residence == "stream" and order.scattered:
                logger.info(
                    "reading is slow until the end of the resumed epoch: in the order of this epoch, the loader reads 64 samples to yield one"
                )
        self._go_to(epoch, batch, order)
        self._ended = ended

    def _make(
        self, order: BatchOrder, epoch: int, first: int, pool: DaemonThreads
    ) -> Generator[PendingBatch]:
        samples = self._source.batches(order, epoch, first, min(self.batch_size, self.samples), pool)
        for batch in itertools.islice(samples, max(len(self) - first, 0)):
            yield self._assembly.make(batch, epoch, pool)
