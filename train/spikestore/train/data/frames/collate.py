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
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.train.data.batch import Batch, SparseBatch, StoredSamples, zeros
from spikestore.train.data.device_samples import DeviceSamples
from spikestore.train.data.frames.augmentation_steps import StepInput
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import SamplePointers, host_pointers
from spikestore.train.data.frames.step_augmentation import Augmentations


@dataclass(frozen=True, eq=False)
class PendingBatch:
    """A batch that the host or a GPU may still be making. On a GPU, a CUDA event marks the end of the work."""

    finish: Callable[[], Batch]
    """Waits until the work on the host is done, and returns the batch."""
    event: Any = None

    def taken(self) -> Batch:
        """Return the batch, and make the current CUDA stream wait until the batch is complete.

        Raises
        ------
        DamagedError
            A sample has a non-zero outside of its frames.
        """
        batch = self.finish()
        if self.event is not None:
            stream = torch.cuda.current_stream(batch.frames.device)
            stream.wait_event(self.event)
            # Made on another stream: its memory, which tensors may share, must not be reused too early.
            parts = itertools.chain.from_iterable(map(_dense_parts, batch))
            for part in {part.untyped_storage().data_ptr(): part for part in parts if part.is_cuda}.values():
                part.record_stream(stream)
        return batch


def _complete(batch: Batch) -> PendingBatch:
    return PendingBatch(lambda: batch)


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
        Determines the number of time bins of a batch.
    augment : Augmentations
        Applied to the non-zeros of a batch on the device, before frames are made.
    transform : callable, optional
        Applied to the finished batch.
    reuse : bool
        Whether the memory of a batch is reused when no reference to the batch is left.
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
        self._is_gpu = device.type == "cuda"  # torch makes a text of the type at each access
        self._sparse = frames == "sparse_coo"
        self._padding = padding
        self.augment = augment
        self._transform = transform
        self._buffers = FrameBuffers(reuse=reuse)
        self._stream: Any = None

    def check_augmentations(self, manifest: Manifest) -> None:
        """Raise `UsageError` if an augmentation does not fit the set of a manifest."""
        longest, operation = manifest.n_bins, manifest.transform.float_operation
        self.augment.check(
            manifest.layout.sites,
            min(longest, self._padding.truncate_to or longest),
            None if operation is None else operation.op,
        )

    @property
    def only_starts(self) -> bool:
        """Whether `make` only starts a few operations for samples on a GPU. If so, `make` needs no thread."""
        return self._is_gpu and not self.augment and self._transform is None and not self._sparse

    def make(
        self, samples: SamplePointers | DeviceSamples, epoch: int, pool: Executor | None
    ) -> PendingBatch:
        """Return the batch of these samples; the work may still be in progress until `PendingBatch.taken` returns.

        Parameters
        ----------
        samples : SamplePointers or DeviceSamples
            The samples, in host memory or already on the device.
        epoch : int
            Epoch, on which the augmentation depends.
        pool : Executor, optional
            Threads that help to make the batch; None for the calling thread only.

        Raises
        ------
        UsageError
            The dense frames would exceed `max_frame_bytes`; the message names the longest sample. Or an augmentation cannot be applied,
            or has made a sample longer than `pad_to`.
        DamagedError
            A sample in host memory has a non-zero outside of its frames. If the frames are still being written, `PendingBatch.taken`
            raises this error.
        """
        if not self._sparse and len(samples):
            self._refuse_giant(samples)
        if isinstance(samples, DeviceSamples) and self.only_starts:
            # In the caller's stream: no stream has to wait for another one, or to keep memory for it.
            with torch.cuda.device(self._device):
                return _complete(samples.batch(self._pad_to(samples)))
        if self._is_gpu:
            return self._on_gpu(samples, epoch, ParallelFor(pool, self.threads))
        parallel = ParallelFor(pool, self.threads)
        on_host = self._device.type == "cpu" and not self._sparse and self.augment.are_steps
        if on_host and isinstance(samples, SamplePointers):
            dense = self._dense(samples, epoch, parallel)
            return dense if self._transform is None else _complete(self._transform(dense.taken()))
        return _complete(self._finished(self._on_device(samples, epoch, parallel)))

    def _refuse_giant(self, samples: SamplePointers | DeviceSamples | SparseBatch) -> None:
        bins = samples.bins(self._pad_to(samples))
        needed = len(samples) * bins * math.prod(samples.sites) * 4  # float32
        if needed > self._most_bytes:
            longest = int(samples.lengths.argmax())
            row, n_bins = int(samples.samples[longest]), int(samples.lengths[longest])
            count, of = len(samples), self._padding.of
            refuse_giant_frames(row, n_bins, needed, self._most_bytes, samples=count, padded_to=bins, of=of)

    def _dense(self, samples: SamplePointers, epoch: int, parallel: ParallelFor) -> PendingBatch:
        bins = samples.bins(self._pad_to(samples))
        shape = (len(samples), bins, *samples.sites)
        own = self._input_of_steps(samples, epoch, parallel)
        steps = self.augment.steps(own)
        lease = self._buffers.take(math.prod(shape))
        filled = samples.begin_fill(
            lease.reshape(len(samples), -1) if lease.size else lease.reshape(len(samples), 0), parallel, steps
        )

        # Before the frames are written, while the code of the calls above is still in the processor's cache.
        frames = torch.from_numpy(lease.reshape(shape))

        def finish() -> Batch:
            totals = filled()
            labels = self.augment.labels(own.labels, steps, torch.from_numpy(totals)) if steps else own.labels
            return Batch(frames, labels, own.lengths, own.rows)

        return PendingBatch(finish)

    def _on_device(self, samples: SamplePointers | DeviceSamples, epoch: int, parallel: ParallelFor) -> Batch:
        if isinstance(samples, SamplePointers):
            pinned = samples.packed(parallel, pin=self._is_gpu)
            packed = pinned.to(self._device, non_blocking=True)
        elif not self._sparse and not self.augment:
            return samples.batch(self._pad_to(samples))
        elif (fill := self._fill(samples.table.columns.tensors[1])) is not None:
            return self._augmented(samples, samples.stored(), fill, epoch, parallel)
        else:
            packed = samples.packed()
        if (fill := self._fill(packed.value)) is not None:
            return self._augmented(samples, packed.stored(), fill, epoch, parallel)
        augmented = self.augment(packed, epoch)
        if not self._sparse and len(augmented):  # a callable of the user may have lengthened samples
            self._refuse_giant(augmented)
        return augmented.batch(self._pad_to(augmented), sparse=self._sparse)

    def _fill(self, value: Tensor) -> Callable[..., Tensor] | None:
        """Return the GPU kernel that augments samples while it writes their dense frames; None if it cannot be used.

        `value` has the values of the samples; see `augmenting_kernel`.
        """
        by_kernel = self.augment and self.augment.are_steps and not self._sparse
        return augmenting_kernel(value) if by_kernel else None

    def _augmented(
        self,
        samples: SamplePointers | DeviceSamples,
        stored: StoredSamples,
        fill: Callable[..., Tensor],
        epoch: int,
        parallel: ParallelFor,
    ) -> Batch:
        # The steps are computed on the host: on a GPU, each of their operations would take longer to start than to run.
        own = self._input_of_steps(samples, epoch, parallel)
        steps = self.augment.steps(own)
        bins = samples.bins(self._pad_to(samples))
        frames = zeros(len(samples), bins, samples.sites, self._device)
        totals = fill(stored, steps, samples.lengths * math.prod(samples.sites), frames)
        labels = self.augment.labels(stored.labels, steps, totals)
        return Batch(frames, labels, stored.lengths, stored.samples)

    def _input_of_steps(
        self, samples: SamplePointers | DeviceSamples, epoch: int, parallel: ParallelFor
    ) -> StepInput:
        rows, lengths, labels = map(torch.from_numpy, (samples.samples, samples.lengths, samples.labels))
        centres = None
        if self.augment.needs_centres:
            if isinstance(samples, DeviceSamples):  # the columns are in host memory too
                positions = samples.table.positions[samples.first : samples.last]
                centres = host_pointers(samples.table.columns.host, positions).centres(parallel)
            else:
                centres = samples.centres(parallel)
        given = None if centres is None else torch.from_numpy(centres)
        return StepInput(rows, lengths, labels, samples.sites, epoch, given)

    def _on_gpu(
        self, samples: SamplePointers | DeviceSamples, epoch: int, parallel: ParallelFor
    ) -> PendingBatch:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            batch = self._finished(self._on_device(samples, epoch, parallel))
            event = torch.cuda.Event()
            event.record(self._stream)
        return PendingBatch(lambda: batch, event)

    def _pad_to(self, samples: SamplePointers | DeviceSamples | SparseBatch) -> int | None:
        """Return the number of time bins to which samples are padded; None to pad to the longest sample."""
        if not self._padding.pad_at_least:
            return self._padding.pad_to
        return self._padding.bins(samples.bins())

    def _finished(self, batch: Batch) -> Batch:
        return batch if self._transform is None else self._transform(batch)


def augmenting_kernel(value: Tensor) -> Callable[..., Tensor] | None:
    """Return `gpu_augmented_frames.fill_augmented` if `value` has counts on a GPU and Triton is installed; otherwise None."""
    if value.device.type != "cuda" or value.is_floating_point():
        return None
    try:
        from spikestore.train.data.frames.gpu_augmented_frames import fill_augmented
    except ImportError:
        return None
    return fill_augmented
