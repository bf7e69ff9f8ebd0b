"""Hashes of the samples of a feature set: the digest, and the column ``check``.

Digest and check are computed from the *canonical bytes* of each block of 64 rows of the whole set: column after column in canonical order,
rows in order, little-endian, without padding or separators. The columns ``start`` and ``check`` are not hashed.

- the **digest** is the SHA-256 of several hashes: the SHA-256 of a head (layout, number of samples, skipped rows), then the SHA-256 of
  each block. It identifies the content: it does not depend on plan, codec, executor, number of workers or provenance;
- **check** contains XXH3-64 of each block, seeded with the set's keys and the block's number. Every read computes the hashes of
  its blocks again and compares them with ``check``. So a read detects values that were changed, lost or exchanged, and fragments
  that were replaced by fragments of another set.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.layout import BLOCK, Layout
from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json


class _Hash(Protocol):
    def update(self, data: Any, /) -> Any: ...


def block_digests(columns: SampleColumns, layout: Layout) -> list[str]:
    """Return SHA-256 (hex) of the canonical bytes of each block of `columns`; the first row of `columns` must be the first row of a block of the set."""
    digests = []
    for parts in _blocks(columns, layout):
        digest = hashlib.sha256()
        _feed(digest, parts)
        digests.append(digest.hexdigest())
    return digests


def block_checks(
    columns: SampleColumns, layout: Layout, seed: int, first_block: int
) -> npt.NDArray[np.uint64]:
    """Return XXH3-64 of each block of `columns`.

    Parameters
    ----------
    columns : SampleColumns
        Rows from the start of block `first_block` on.
    layout : Layout
        Order of the columns.
    seed : int
        Result of `check_seed`.
    first_block : int
        Number of the first block of `columns`, counted in the whole set.

    Returns
    -------
    uint64 array, shape (blocks,)
    """
    checks = []
    for block, parts in enumerate(_blocks(columns, layout), first_block):
        check = xxhash.xxh3_64(seed=seed ^ block)
        _feed(check, parts)
        checks.append(check.intdigest())
    return np.array(checks, np.uint64)


class BlockHashes:
    """Hashes of the blocks of rows whose ``index`` and ``value`` arrive in pieces; see `BlockChecks` and `BlockDigests`.

    Parameters
    ----------
    samples : mapping of str to array
        Columns with one value per sample, shape (samples,), in the dtypes of `layout`.
    offsets : int64 array, shape (samples + 1,)
        Position in ``index`` and ``value`` at which the non-zeros of each sample start; the last element is the position
        after the last non-zero.
    layout : Layout
        Order of the columns.
    new_hash : callable
        Called with the number of a block (0 for the block of the first row); returns a new hash object for the block.
    """

    def __init__(
        self,
        samples: Mapping[str, npt.NDArray[Any]],
        offsets: npt.NDArray[np.int64],
        layout: Layout,
        new_hash: Callable[[int], Any],
    ) -> None:
        names = [name for name, _ in layout.columns]
        self._samples = samples
        self._after = names[names.index("value") + 1 :]
        rows = [*range(0, len(offsets) - 1, BLOCK), len(offsets) - 1]
        self._rows = [*itertools.pairwise(rows)]
        self._spans = [*itertools.pairwise(offsets[rows].tolist())]
        self._hashes = [new_hash(number) for number in range(len(self._rows))]
        self._feed_samples(names[: names.index("index")])

    def update(self, begins: int, piece: npt.NDArray[Any]) -> None:
        """Add a piece of a column; call this method first for all pieces of ``index``, then for all pieces of ``value``.

        Parameters
        ----------
        begins : int
            Position of the first element of `piece` in the column.
        piece : array, shape (n,)
            Consecutive elements of the column, in its stored dtype.
        """
        for each, (first, last) in zip(self._hashes, self._spans, strict=True):
            part = piece[max(first - begins, 0) : max(last - begins, 0)]
            if part.size:
                each.update(part.data)

    def _finished(self) -> list[Any]:
        """Return the hash object of each block. All values must have been added before."""
        self._feed_samples(self._after)
        return self._hashes

    def _feed_samples(self, names: Iterable[str]) -> None:
        for name in names:
            column = np.ascontiguousarray(self._samples[name])
            for each, (start, stop) in zip(self._hashes, self._rows, strict=True):
                each.update(column[start:stop].data)


class BlockChecks(BlockHashes):
    """`block_checks` of rows that arrive in pieces.

    Parameters
    ----------
    samples, offsets, layout
        See `BlockHashes`.
    seed : int
        From `check_seed`.
    first_block : int
        Number of the first block of the rows, counted in the whole set.
    """

    def __init__(
        self,
        samples: Mapping[str, npt.NDArray[Any]],
        offsets: npt.NDArray[np.int64],
        layout: Layout,
        seed: int,
        first_block: int,
    ) -> None:
        super().__init__(
            samples, offsets, layout, lambda number: xxhash.xxh3_64(seed=seed ^ (first_block + number))
        )

    def finish(self) -> npt.NDArray[np.uint64]:
        """Return the hashes, shape (blocks,). All values must have been added before."""
        return np.array([check.intdigest() for check in self._finished()], np.uint64)


class BlockDigests(BlockHashes):
    """`block_digests` of rows that arrive in pieces; for the parameters see `BlockHashes`."""

    def __init__(
        self, samples: Mapping[str, npt.NDArray[Any]], offsets: npt.NDArray[np.int64], layout: Layout
    ) -> None:
        super().__init__(samples, offsets, layout, lambda _: hashlib.sha256())

    def finish(self) -> list[str]:
        """Return SHA-256 (hex) of each block. All values must have been added before."""
        return [digest.hexdigest() for digest in self._finished()]


def check_seed(transform_key: str, source_key: str) -> int:
    """Return the seed of the block hashes of a set: the first 8 bytes (big-endian) of the SHA-256 of its two keys."""
    return int.from_bytes(hashlib.sha256((transform_key + source_key).encode("ascii")).digest()[:8], "big")


def set_digest(layout: Layout, samples: int, skipped: Sequence[int], blocks: Iterable[str]) -> str:
    """Return the digest of a feature set.

    Parameters
    ----------
    layout : Layout
        Axes, sites, classes and columns.
    samples : int
        Number of rows, including skipped rows.
    skipped : sequence of int
        Rows whose recording was skipped, ascending.
    blocks : iterable of str
        SHA-256 (hex) of every block, in order.
    """
    head = {**layout.to_mapping(), "format": FORMAT, "samples": samples, "skipped": list(skipped)}
    digest = hashlib.sha256(hashlib.sha256(canonical_json(head)).digest())
    for block in blocks:
        digest.update(bytes.fromhex(block))
    return digest.hexdigest()


def _blocks(columns: SampleColumns, layout: Layout) -> Iterator[list[npt.NDArray[Any]]]:
    named = [
        (name in {"index", "value"}, np.ascontiguousarray(column, layout.dtype(name)))
        for name, column in columns.in_order(layout)
    ]
    offsets = columns.offsets()
    for start in range(0, len(columns), BLOCK):
        stop = min(start + BLOCK, len(columns))
        first, last = offsets[start], offsets[stop]
        yield [column[first:last] if per_value else column[start:stop] for per_value, column in named]


def _feed(digest: _Hash, parts: list[npt.NDArray[Any]]) -> None:
    for part in parts:
        digest.update(part.data if part.size else b"")
