"""Builds batches from samples: on the CPU in reusable buffers, on a GPU in a separate CUDA stream."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spikestore.store.columns.limits import frame_byte_limit, refuse_giant_frames
from spikestore.train.data.batch import Batch, SparseBatch
from spikestore.train.data.device_samples import DeviceSamples
from spikestore.train.data.frames.augmentation_steps import StepInput
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.frames.sample_pointers import ParallelFor, SamplePointers
from spikestore.train.data.frames.step_augmentation import Augmentations


@dataclass(frozen=True, eq=False)
class PendingBatch:
    """A batch that may still be in progress, and the CUDA event after which it is complete."""

    batch: Batch
    event: Any = None

    def taken(self) -> Batch:
        """Return the batch; the current CUDA stream then waits until it is complete."""
        if self.event is not None:
            stream = torch.cuda.current_stream(self.batch.frames.device)
            stream.wait_event(self.event)
            # Made on another stream: its memory, which tensors may share, must not be reused too early.
            parts = itertools.chain.from_iterable(map(_dense_parts, self.batch))
            for part in {part.untyped_storage().data_ptr(): part for part in parts if part.is_cuda}.values():
                part.record_stream(stream)
        return self.batch


def _dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    return (tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,)


class Assembly:
    """Builds batches from samples.

    Parameters
    ----------
    device : torch.device
        Device of the batches.
    frames : {"dense", "sparse_coo"}
        Layout of ``Batch.frames``.
    padding : Padding
        Time bins of batches.
    augment : Augmentations
        Applied in turn to the packed batch on the device.
    transform : callable, optional
        Applied to the finished batch.
    reuse : bool
        Whether memory is reused after the last reference to a batch is gone.
    threads : int
        Threads that work on a batch.
    max_frame_bytes : int, optional
        Bytes that the dense frames of a batch may take (`frame_byte_limit`).
    """

    def __init__(
        self,
        device: torch.device,
        frames: Literal["dense", "sparse_coo"],
        padding: Padding,
        augment: Augmentations,
        transform: Callable[[Batch], Batch] | None,
        *,
        reuse: bool,
        threads: int,
        max_frame_bytes: int | None = None,
    ) -> None:
        self.threads = threads
        self._most_bytes = frame_byte_limit(max_frame_bytes)
        self._device = device
        self._sparse = frames == "sparse_coo"
        self._padding = padding
        self._augment = augment
        self._transform = transform
        self._buffers = FrameBuffers(reuse=reuse)
        self._stream: Any = None

    def check_augmentations(self, sites: tuple[int, ...], longest: int) -> None:
        """Raise `UsageError` if an augmentation does not fit a set with these `sites` and a longest sample of `longest` bins."""
        self._augment.check(sites, min(longest, self._padding.truncate_to or longest))

    def make(
        self, samples: SamplePointers | DeviceSamples, epoch: int, pool: Executor | None
    ) -> PendingBatch:
        """Return the batch of these samples; on a GPU, the work may still be in progress.

        Parameters
        ----------
        samples : SamplePointers or DeviceSamples
            The samples, in host memory or already on the device.
        epoch : int
            Epoch, on which the augmentation depends.
        pool : Executor, optional
            Threads that do the work.

        Raises
        ------
        UsageError
            The dense frames would exceed `max_frame_bytes`; the message names the longest sample.
        """
        if not self._sparse and len(samples):
            self._refuse_giant(samples)
        if self._device.type == "cuda":
            return self._on_gpu(samples, epoch, ParallelFor(pool, self.threads))
        parallel = ParallelFor(pool, self.threads)
        if isinstance(samples, SamplePointers):
            if self._device.type == "cpu" and not self._sparse and self._augment.are_steps:
                return PendingBatch(self._finished(self._dense(samples, epoch, parallel)))
            packed = samples.packed(parallel)
        else:
            packed = samples.packed()
        return PendingBatch(self._finished(self._from_packed(packed.to(self._device), epoch)))

    def _refuse_giant(self, samples: SamplePointers | DeviceSamples) -> None:
        bins = samples.bins(self._pad_to(samples))
        needed = len(samples) * bins * math.prod(samples.sites) * 4  # float32
        if needed > self._most_bytes:
            longest = int(samples.lengths.argmax())
            row, n_bins = int(samples.samples[longest]), max(bins, int(samples.lengths[longest]))
            refuse_giant_frames(row, n_bins, needed, self._most_bytes, samples=len(samples))

    def _dense(self, samples: SamplePointers, epoch: int, parallel: ParallelFor) -> Batch:
        bins = samples.bins(self._pad_to(samples))
        shape = (len(samples), bins, *samples.sites)
        labels, lengths, rows = map(torch.from_numpy, (samples.labels, samples.lengths, samples.samples))
        steps = self._augment.steps(StepInput(rows, lengths, labels, samples.sites, epoch))
        lease = self._buffers.take(int(torch.Size(shape).numel()))
        totals = samples.fill(
            lease.reshape(len(samples), -1) if lease.size else lease.reshape(len(samples), 0), parallel, steps
        )
        labels = self._augment.labels(labels, steps, torch.from_numpy(totals))
        # From the lease itself: any tensor over this memory keeps the lease alive.
        return Batch(torch.from_numpy(lease).view(shape), labels, lengths, rows)

    def _from_packed(self, batch: SparseBatch, epoch: int) -> Batch:
        kernel = augmenting_kernel(batch) if self._augment.are_steps and not self._sparse else None
        if kernel is None or not len(self._augment):
            return self._augment(batch, epoch).batch(self._pad_to(batch), sparse=self._sparse)
        own = StepInput(batch.samples, batch.lengths, batch.labels, batch.sites, epoch)
        steps = self._augment.steps(own)
        frames, totals = kernel(batch, steps, self._pad_to(batch))
        return Batch(frames, self._augment.labels(batch.labels, steps, totals), batch.lengths, batch.samples)

    def _on_gpu(
        self, samples: SamplePointers | DeviceSamples, epoch: int, parallel: ParallelFor
    ) -> PendingBatch:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            if isinstance(samples, SamplePointers):
                packed = samples.packed(parallel, pin=True).to(self._device, non_blocking=True)
                batch = self._from_packed(packed, epoch)
            elif self._sparse or self._augment:
                batch = self._from_packed(samples.packed(), epoch)
            else:
                batch = samples.batch(self._pad_to(samples))
            batch = self._finished(batch)
            event = torch.cuda.Event()
            event.record(self._stream)
        return PendingBatch(batch, event)

    def _pad_to(self, samples: SamplePointers | DeviceSamples | SparseBatch) -> int | None:
        """Return the time bins of the batch of these samples; None for those of its longest sample."""
        if not self._padding.pad_at_least:
            return self._padding.pad_to
        return self._padding.bins(samples.bins())

    def _finished(self, batch: Batch) -> Batch:
        return batch if self._transform is None else self._transform(batch)


def augmenting_kernel(batch: SparseBatch) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """Return `gpu_augmented_frames.augmented_frames` for whole numbers on a GPU; None elsewhere, and without Triton."""
    if batch.index.device.type != "cuda" or batch.value.is_floating_point():
        return None
    try:
        from spikestore.train.data.frames.gpu_augmented_frames import augmented_frames
    except ImportError:
        return None
    return augmented_frames
