"""Limits of the memory that reading a feature set may take, because a malicious set may need any amount of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikestore.store.machine import physical_memory_bytes
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from spikestore.store_schemas.documents.plan import Plan

LARGEST_SHARD = 2**40
"""Largest number of values of a shard. The index of the chunks in such a shard takes 256 MiB; in plans of earlier
versions, which have larger chunks, it takes 64 MiB."""

MAX_FRAME_BYTES = 4 * 2**30
"""Default limit of the dense frames of a row or a batch, in bytes."""

_ASSUMED_MEMORY = 2**40
"""Memory in bytes, if the system does not report it."""


def refuse_giant_fragment(manifest: Manifest, fragment: int) -> None:
    """Raise `DamagedError` if a fragment would decode to more than this machine's memory, or if shards exceed `LARGEST_SHARD`.

    A few stored bytes can decode to a chunk of any size, so a malicious set could fill the memory. The fragments in
    spikestore's own plans usually have at most about 256 MiB, far less than these limits.
    """
    row, layout = manifest.fragments[fragment], manifest.layout
    sizes = {name: layout.dtype(name).itemsize for name, _ in layout.columns}
    a_value = sizes.pop("index") + sizes.pop("value")
    needed = manifest.fragment_samples * (sum(sizes.values()) + 8) + row.nnz * a_value
    memory = physical_memory_bytes() or _ASSUMED_MEMORY
    if manifest.shard_values > LARGEST_SHARD:
        raise DamagedError(
            f"the shards of {manifest.source.dataset} {manifest.source.split} have room for {manifest.shard_values:,} values, more than "
            f"the limit of {LARGEST_SHARD:,}: do not trust this set"
        )
    if needed > memory:
        raise DamagedError(
            f"fragment {fragment} of {manifest.source.dataset} {manifest.source.split} needs {needed:,} bytes of memory, "
            f"but this machine has {memory:,}: if you trust the origin of this set, read it on a larger machine"
        )


def refuse_giant_set(manifest: Manifest) -> None:
    """Raise the error of `refuse_giant_fragment` if the set has such a fragment.

    Call this function before you allocate memory in proportion to the number of rows.
    """
    counts = [row.nnz for row in manifest.fragments]
    refuse_giant_fragment(manifest, counts.index(max(counts)))


def checked_offsets(
    build: Manifest | Plan, fragment: int, nnz: npt.NDArray[Any], start: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return the position in the fragment at which each sample's non-zeros start, then the position after the last non-zero: int64, shape (samples + 1,).

    Raises
    ------
    DamagedError
        ``nnz`` contradicts ``start`` or the manifest.
    """
    import numpy as np  # this module's other functions need no arrays

    offsets = np.zeros(len(nnz) + 1, np.int64)
    np.cumsum(nnz, out=offsets[1:])
    expected = (fragment * build.shard_values + offsets[:-1]).astype(np.uint64)
    if offsets[-1] > build.shard_values or not np.array_equal(start, expected):
        raise DamagedError(f"the columns 'start' and 'nnz' of fragment {fragment} contradict each other")
    if isinstance(build, Manifest) and offsets[-1] != build.fragments[fragment].nnz:
        raise DamagedError(
            f"fragment {fragment} has {plural(offsets[-1], 'non-zero')}, but the manifest lists {build.fragments[fragment].nnz:,}"
        )
    return offsets


def frame_byte_limit(max_frame_bytes: int | None) -> int:
    """Return the limit of dense frames, in bytes.

    Parameters
    ----------
    max_frame_bytes : int, optional
        The user's limit; by default `MAX_FRAME_BYTES` or half of this machine's memory, whichever is less.
    """
    if max_frame_bytes is not None:
        return max_frame_bytes
    return min(MAX_FRAME_BYTES, (physical_memory_bytes() or _ASSUMED_MEMORY) // 2)


def refuse_giant_frames(
    row: int, n_bins: int, needed: int, limit: int, *, samples: int = 1, padded_to: int = 0, of: str = ""
) -> None:
    """Raise `UsageError` if dense frames need more than `limit` bytes, because a few stored bytes can decode to frames of any size.

    Parameters
    ----------
    row, n_bins : int
        Number of the longest row, and the number of its time bins.
    needed, limit : int
        Bytes that the frames take, and their limit (`frame_byte_limit`).
    samples : int
        Number of samples in the batch; each is padded to the length of the longest sample.
    padded_to : int
        Time bins to which the user pads. If the frames exceed the limit only because of the padding, the message is about the padding.
    of : str
        Name of the set, for messages of commands that use several sets.
    """
    if needed <= limit:
        return
    suffix = f" of {of}" if of else ""
    own = f"row {row}{suffix}"
    batch = f"a batch of {samples} rows that contains this row takes" if samples > 1 else "its frames take"
    smaller = "lower batch_size, or " if samples > 1 else "or "
    if padded_to > n_bins and needed // padded_to * n_bins <= limit:
        padded = f"a batch of {samples} rows{suffix}" if samples > 1 else own
        cause, advice = f"{padded} padded to {padded_to:,} time bins takes", "lower pad_to or pad_at_least"
    else:
        cause, advice = f"{own} has {n_bins:,} time bins: {batch}", "crop in the transform"
    why = f"{cause} {needed:,} bytes, more than max_frame_bytes = {limit:,}"
    raise UsageError(
        f"{why}; {advice}, {smaller}raise max_frame_bytes",
        field="max_frame_bytes",
        why=why,
        row=row,
        needed=needed,
    )
