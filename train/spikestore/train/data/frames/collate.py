"""From the samples of a batch to what the network gets: on the CPU into leased buffers, on a GPU through its own stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

import torch

from spikestore.store.columns.limits import frame_byte_limit, refuse_giant_frames
from spikestore.train.data.batch import Batch, SparseBatch
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.sample_pointers import ParallelFor, SamplePointers

Augmentation = Callable[[SparseBatch, int], SparseBatch]
"""Called as (batch on the device, epoch)."""


@dataclass(frozen=True, eq=False)
class PendingBatch:
    """A batch, and the event on a GPU after which it is there."""

    batch: Batch
    event: Any = None

    def taken(self) -> Batch:
        """Return the batch, once the current stream is made to wait for it."""
        if self.event is not None:
            stream = torch.cuda.current_stream(self.batch.frames.device)
            stream.wait_event(self.event)
            for tensor in self.batch:
                if tensor.is_cuda:  # made on another stream: its memory must not be given away too early
                    tensor.record_stream(stream)
        return self.batch


class Assembly:
    """Makes batches.

    Parameters
    ----------
    device : torch.device
        Where batches go.
    frames : {"dense", "sparse_coo"}
        What ``Batch.frames`` is.
    pad_to : int, optional
        Time bins of every batch; by default those of its longest sample.
    augment : sequence of callables
        Applied in turn to the packed batch on the device.
    transform : callable, optional
        Applied to the batch when it is dense.
    reuse : bool
        Whether memory is used again when nobody holds the batch.
    threads : int
        Threads that share a batch.
    max_frame_bytes : int, optional
        Bytes that the dense frames of a batch may take (`frame_byte_limit`).
    """

    def __init__(
        self,
        device: torch.device,
        frames: Literal["dense", "sparse_coo"],
        pad_to: int | None,
        augment: Sequence[Augmentation],
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
        self._pad_to = pad_to
        self._augment = tuple(augment)
        self._transform = transform
        self._buffers = FrameBuffers(reuse=reuse)
        self._stream: Any = None

    def make(self, samples: SamplePointers | SparseBatch, epoch: int, pool: Executor | None) -> PendingBatch:
        """Make the batch of these samples.

        Parameters
        ----------
        samples : SamplePointers or SparseBatch
            In host memory, or on the device already.
        epoch : int
            For the augmentation.
        pool : Executor, optional
            Threads that share the work.

        Raises
        ------
        UsageError
            The dense frames would take more memory than they may; the message names the longest sample.
        """
        if not self._sparse and len(samples):
            self._refuse_giant(samples)
        if self._device.type == "cuda":
            return self._on_gpu(samples, epoch, ParallelFor(pool, self.threads))
        parallel = ParallelFor(pool, self.threads)
        if isinstance(samples, SamplePointers):
            if self._device.type == "cpu" and not self._sparse and not self._augment:
                return PendingBatch(self._finished(self._dense(samples, parallel)))
            samples = samples.packed(parallel)
        return PendingBatch(self._finished(self._from_packed(samples.to(self._device), epoch)))

    def _refuse_giant(self, samples: SamplePointers | SparseBatch) -> None:
        bins = samples.bins(self._pad_to)
        needed = len(samples) * bins * math.prod(samples.sites) * 4  # float32
        if needed > self._most_bytes:
            longest = int(samples.lengths.argmax())
            row, n_bins = int(samples.samples[longest]), max(bins, int(samples.lengths[longest]))
            refuse_giant_frames(row, n_bins, needed, self._most_bytes, samples=len(samples))

    def _dense(self, samples: SamplePointers, parallel: ParallelFor) -> Batch:
        bins = samples.bins(self._pad_to)
        shape = (len(samples), bins, *samples.sites)
        lease = self._buffers.take(int(torch.Size(shape).numel()))
        samples.fill(
            lease.reshape(len(samples), -1) if lease.size else lease.reshape(len(samples), 0), parallel
        )
        # Over the lease itself: whoever holds any tensor of this memory holds the lease.
        small = (torch.from_numpy(array) for array in (samples.labels, samples.lengths, samples.samples))
        return Batch(torch.from_numpy(lease).view(shape), *small)

    def _from_packed(self, batch: SparseBatch, epoch: int) -> Batch:
        for augmentation in self._augment:
            batch = augmentation(batch, epoch)
        return batch.batch(self._pad_to, sparse=self._sparse)

    def _on_gpu(
        self, samples: SamplePointers | SparseBatch, epoch: int, parallel: ParallelFor
    ) -> PendingBatch:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            if isinstance(samples, SamplePointers):
                samples = samples.packed(parallel, pin=True).to(self._device, non_blocking=True)
            batch = self._finished(self._from_packed(samples, epoch))
            event = torch.cuda.Event()
            event.record(self._stream)
        return PendingBatch(batch, event)

    def _finished(self, batch: Batch) -> Batch:
        return batch if self._transform is None else self._transform(batch)
