"""Hash and encode the rows of a fragment piece by piece, in the order of rows.

The encoder keeps in memory the columns with one value per sample, the encoded chunks, and the non-zeros of the last block (64 rows)
and of the last chunk. If `shard_codec` does not support the codecs of the plan, the encoder keeps all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import BlockChecks, BlockDigests, check_seed
from spikestore.store.columns.fragment_facts import (
    FragmentFacts,
    SiteRange,
    refuse_many_values,
    without_values,
)
from spikestore.store.columns.samples import SampleColumns, concatenate, largest_index, largest_value
from spikestore.store.columns.shard_codec import ShardEncoder, packed_objects
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.layout import BLOCK

VALUES = ("index", "value")


class EncodedFragment(NamedTuple):
    """A fragment to store; ``index`` and ``value`` are encoded already, unless only Zarr supports the codecs of the plan."""

    samples: SampleColumns
    """The rows, with the stored dtypes. If `encoded` is not None, ``index`` and ``value`` are empty."""
    facts: FragmentFacts
    """Numbers and hashes of the rows."""
    encoded: Mapping[str, bytes] | None
    """Objects of ``index`` and ``value``, by name; empty if the rows have no non-zeros. None if only Zarr supports the codecs of the plan."""
    sites: tuple[int, int] | None
    """See `SiteRange.range`."""


def encode_rows(plan: Plan, fragment: int, columns: SampleColumns) -> EncodedFragment:
    """Hash and encode all rows of a fragment; for the arguments and errors see `FragmentEncoder`."""
    encoder = FragmentEncoder(plan, fragment)
    encoder.add(columns)
    return encoder.finish()


class FragmentEncoder:
    """Hashes and encodes the rows of a fragment.

    Parameters
    ----------
    plan : Plan
        Plan of the build.
    fragment : int
        Number of the fragment.
    """

    def __init__(self, plan: Plan, fragment: int) -> None:
        self._plan, self._fragment = plan, fragment
        self._next_block = plan.rows(fragment).start // BLOCK
        self._seed = check_seed(plan.transform_key, plan.source_key)
        packed = packed_objects(plan, plan.zarr)
        self._encoders = None if packed is None else {name: ShardEncoder(packed[name]) for name in VALUES}
        self._samples: list[SampleColumns] = []
        self._begun: list[SampleColumns] = []
        """Rows of the last block, which is not whole yet. They are kept because the ``nnz`` of all rows of a block is hashed first."""
        self._checks: list[npt.NDArray[np.uint64]] = []
        self._digests: list[str] = []
        self._sites = SiteRange(plan.layout.site_count)
        self._nnz, self._max_index, self._max_value = 0, 0, 0.0

    def add(self, columns: SampleColumns) -> None:
        """Add rows. The encoder keeps the arrays of `columns`, so the caller must not change these arrays afterwards.

        Raises
        ------
        UsageError
            The columns violate the format, or the fragment gets more non-zeros than the plan allows.
        """
        layout = self._plan.layout
        # Searched once: a block of rows does not fit the fastest cache.
        largest = int(largest_value(columns.value)) if columns.value.dtype.kind == "u" else None
        columns = columns.as_stored(layout, largest=largest)
        self._nnz += len(columns.index)
        refuse_many_values(self._plan, self._fragment, self._nnz)
        self._sites.add(columns.index)
        self._max_index = max(self._max_index, largest_index(columns))
        self._max_value = max(self._max_value, largest_value(columns.value) if largest is None else largest)
        if self._encoders is None:
            self._samples.append(columns)
        else:
            self._samples.append(without_values(dict(columns.in_order(layout)), layout))
            self._encoders["index"].add(columns.index)
            self._encoders["value"].add(columns.value, self._max_value)
        begun = sum(map(len, self._begun))
        done = (begun + len(columns)) // BLOCK * BLOCK - begun  # rows of `columns` in whole blocks
        if done <= 0:
            self._begun.append(columns)
            return
        self._hash([*self._begun, columns.rows(0, done)])
        self._begun = [columns.rows(done, len(columns))] if done < len(columns) else []

    def finish(self) -> EncodedFragment:
        """Return the fragment; at least one row must have been added."""
        if self._begun:
            self._hash(self._begun)
            self._begun = []  # their memory is free before the objects are joined
        check = np.concatenate(self._checks)
        facts = FragmentFacts(check, tuple(self._digests), self._nnz, self._max_index, self._max_value)
        encoded = None
        if self._encoders is not None:
            encoded = {name: each.finish() for name, each in self._encoders.items() if self._nnz}
        return EncodedFragment(concatenate(self._samples), facts, encoded, self._sites.range)

    def _hash(self, parts: list[SampleColumns]) -> None:
        """Hash rows that begin at the start of a block. The rows must form whole blocks, but the last block of the fragment may be shorter."""
        layout = self._plan.layout
        small = concatenate(without_values(dict(part.in_order(layout)), layout) for part in parts)
        columns: dict[str, npt.NDArray[Any]] = dict(small.in_order(layout))
        check = BlockChecks(columns, small.offsets(), layout, self._seed, self._next_block)
        digests = BlockDigests(columns, small.offsets(), layout)
        for name in VALUES:
            begins = 0
            for part in parts:
                piece = getattr(part, name)
                check.update(begins, piece)
                digests.update(begins, piece)
                begins += len(piece)
        self._checks.append(check.finish())
        self._digests += digests.finish()
        self._next_block += -(-len(small) // BLOCK)
