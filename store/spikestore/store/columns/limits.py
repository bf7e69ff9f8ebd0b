"""What a reader believes of a feature set that anybody may have written, before it asks for memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.machine import physical_memory_bytes
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import DamagedError, UsageError

LARGEST_SHARD = 2**40
"""Values that a shard can have room for: the index of its chunks then takes 64 MiB."""

MAX_FRAME_BYTES = 4 * 2**30
"""Bytes that the dense frames of a row, or of a batch, may take where nobody allows more."""

_ASSUMED_MEMORY = 2**40
"""Bytes, where the system does not say how much memory it has."""


def refuse_giant_fragment(manifest: Manifest, fragment: int) -> None:
    """Raise `DamagedError` if a fragment would decode to more than this machine's memory.

    A chunk of zeros is a few bytes, whatever its size, so that nothing but a bound of this kind can tell a large set
    from a trap; fragments are made for 256 MB.
    """
    row, layout = manifest.fragments[fragment], manifest.layout
    sizes = {name: layout.dtype(name).itemsize for name, _ in layout.columns}
    a_value = sizes.pop("index") + sizes.pop("value")
    needed = manifest.fragment_samples * (sum(sizes.values()) + 8) + row.nnz * a_value
    memory = physical_memory_bytes() or _ASSUMED_MEMORY
    if needed > memory or manifest.shard_values > LARGEST_SHARD:
        raise DamagedError(
            f"fragment {fragment} of {manifest.source.dataset} {manifest.source.split} claims {needed:,} bytes of memory, "
            f"this machine has {memory:,}: it was made for another machine, or to do harm"
        )


def refuse_giant_set(manifest: Manifest) -> None:
    """Raise `DamagedError` if a fragment of a set would decode to more than this machine's memory.

    For whoever asks for memory by the number of rows: all fragments have the same, and each takes room in the manifest.
    """
    counts = [row.nnz for row in manifest.fragments]
    refuse_giant_fragment(manifest, counts.index(max(counts)))


def checked_offsets(
    build: Manifest | Plan, fragment: int, nnz: npt.NDArray[Any], start: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return where each sample's non-zeros start, counted from the fragment's first: int64, shape (samples + 1,).

    Raises
    ------
    DamagedError
        ``nnz`` and ``start`` contradict each other, or the manifest.
    """
    offsets = np.zeros(len(nnz) + 1, np.int64)
    np.cumsum(nnz, out=offsets[1:])
    expected = (fragment * build.shard_values + offsets[:-1]).astype(np.uint64)
    if offsets[-1] > build.shard_values or not np.array_equal(start, expected):
        raise DamagedError(f"the columns start and nnz of fragment {fragment} contradict each other")
    if isinstance(build, Manifest) and offsets[-1] != build.fragments[fragment].nnz:
        raise DamagedError(
            f"fragment {fragment} has {offsets[-1]} non-zeros, the manifest says {build.fragments[fragment].nnz}"
        )
    return offsets


def frame_byte_limit(max_frame_bytes: int | None) -> int:
    """Return how many bytes dense frames may take.

    Parameters
    ----------
    max_frame_bytes : int, optional
        What a user allows; by default `MAX_FRAME_BYTES`, or half of this machine's memory where that is less.
    """
    if max_frame_bytes is not None:
        return max_frame_bytes
    return min(MAX_FRAME_BYTES, (physical_memory_bytes() or _ASSUMED_MEMORY) // 2)


def refuse_giant_frames(row: int, n_bins: int, needed: int, limit: int, *, samples: int = 1) -> None:
    """Raise `UsageError` if dense frames would take more memory than they may: a few bytes of a store can ask for any.

    Parameters
    ----------
    row, n_bins : int
        The row that asks for most, and its time bins.
    needed, limit : int
        Bytes that the frames take, and that they may take (`frame_byte_limit`).
    samples : int
        Samples of the batch, each of which takes as much as the longest.
    """
    if needed <= limit:
        return
    batch = f"a batch of {samples} with it takes" if samples > 1 else "its frames take"
    smaller = "lower batch_size, or " if samples > 1 else ""
    raise UsageError(
        f"row {row} has {n_bins:,} time bins: {batch} {needed:,} bytes, more than max_frame_bytes = {limit:,}: crop in "
        f"the transform, {smaller}raise max_frame_bytes",
        row=row,
        needed=needed,
    )
