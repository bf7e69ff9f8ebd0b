"""A fragment of a new set, made from rows of former sets and from new rows; its values are checked, hashed and encoded chunk by chunk.

Whole columns of a fragment are larger than the processor's cache, and new memory of their size costs page faults. So only
one chunk is in memory at a time, and it is hashed and encoded while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from spikestore.store.columns.digest import BlockChecks, BlockDigests, check_seed
from spikestore.store.columns.fragment_encoder import EncodedFragment
from spikestore.store.columns.fragment_facts import (
    FragmentFacts,
    SiteRange,
    refuse_many_values,
    without_values,
)
from spikestore.store.columns.samples import SampleColumns, concatenate, largest_value
from spikestore.store.columns.shard_codec import ShardEncoder, packed_objects
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.layout import BLOCK, Layout


class RowPart(Protocol):
    """Protocol for consecutive rows of a new set; the ``index`` and ``value`` of the rows can be read in pieces."""

    @property
    def samples(self) -> SampleColumns:
        """The rows without ``index`` and ``value``, with the labels and columns of the new set."""

    def pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield ``index`` or ``value`` of the rows in pieces; a piece is valid until the next one is requested."""

    def finish(self) -> None:
        """Raise `StoreError` if the values that were read are not those that were stored."""


class FormerPart:
    """Rows that a new set takes from a committed set.

    Parameters
    ----------
    rows : ScannedRows
        The whole blocks that contain the taken rows.
    samples : SampleColumns
        The taken rows without ``index`` and ``value``, with the labels and columns of the new set.
    first : int
        Number of the first taken row, counted from the first row of `rows`.
    """

    def __init__(self, rows: ScannedRows, samples: SampleColumns, first: int = 0) -> None:
        self.samples = samples
        self._rows = rows
        self._first, self._last = (int(rows.offsets[row]) for row in (first, first + len(samples)))

    def pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the column ``index`` or ``value`` of this part in pieces; see `RowPart`. Other rows of the same blocks of 64 rows are checked, but not yielded."""
        for begins, piece in self._rows.pieces(name):
            own = piece[max(self._first - begins, 0) : max(self._last - begins, 0)]
            if len(own):
                yield own

    def finish(self) -> None:
        """Raise `StoreError` if the values that were read do not match their hashes."""
        self._rows.finish()


class NewPart:
    """Rows that were made from recordings.

    Parameters
    ----------
    columns : SampleColumns
        The rows, checked and with the stored dtypes (`SampleColumns.as_stored`).
    layout : Layout
        Columns of the set.
    """

    def __init__(self, columns: SampleColumns, layout: Layout) -> None:
        self.samples = without_values(dict(columns.in_order(layout)), layout)
        self._values = {"index": columns.index, "value": columns.value}

    def pieces(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the whole column `name`, ``index`` or ``value``, as one piece; see `RowPart`."""
        yield self._values[name]

    def finish(self) -> None:
        """Do nothing, because the values are in memory."""


def stream_fragment(
    parts: Sequence[RowPart], plan: Plan, fragment: int, *, encode: bool = True
) -> EncodedFragment | None:
    """Return the fragment that consists of these parts, in order.

    Parameters
    ----------
    parts : sequence of RowPart
        All rows of the fragment.
    plan : Plan
        Plan of the new set.
    fragment : int
        Number of the fragment in the new set.
    encode : bool
        Whether ``index`` and ``value`` are encoded. If False, `EncodedFragment.encoded` is empty, and the caller must
        fill it.

    Returns
    -------
    EncodedFragment or None
        None if `encode` is True, but `ShardEncoder` does not support the codecs of the plan. Only Zarr can then encode the fragment.

    Raises
    ------
    DamagedError, StoreError
        A stored row that a part takes from a committed set cannot be read, or is damaged.
    UsageError
        The fragment has more non-zeros than the plan allows.
    """
    packed = packed_objects(plan, plan.zarr) if encode else {}
    if packed is None:
        return None
    layout = plan.layout
    samples = concatenate(part.samples for part in parts)
    columns, offsets = dict(samples.in_order(layout)), samples.offsets()
    refuse_many_values(plan, fragment, int(offsets[-1]))
    seed, block = check_seed(plan.transform_key, plan.source_key), plan.rows(fragment).start // BLOCK
    check = BlockChecks(columns, offsets, layout, seed, block)
    digests = BlockDigests(columns, offsets, layout)
    sites = SiteRange(layout.site_count)
    largest: dict[str, float] = {}
    encoded: dict[str, bytes] = {}
    for name in ("index", "value"):
        encoder = ShardEncoder(packed[name]) if encode else None
        begins, largest[name] = 0, 0
        for piece in (piece for part in parts for piece in part.pieces(name)):
            check.update(begins, piece)
            digests.update(begins, piece)
            largest[name] = max(largest[name], largest_value(piece))
            if name == "index":
                sites.add(piece)
            if encoder is not None:
                encoder.add(piece, largest[name])
            begins += len(piece)
        if encoder is not None and begins:
            encoded[name] = encoder.finish()
    for part in parts:
        part.finish()
    facts = FragmentFacts(
        check.finish(), tuple(digests.finish()), int(offsets[-1]), int(largest["index"]), largest["value"]
    )
    return EncodedFragment(samples, facts, encoded, sites.range)
