"""Checks whether a committed set still has the samples of the recordings, if the user stated a version of the recordings.

A committed set with the stated version is not built again. If the user has changed the recordings but not the version, this set
is wrong. Therefore some recordings are read again, and their samples are compared with the set.
"""

from __future__ import annotations

import contextlib
import itertools

import numpy as np

from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.store.feature_set import FeatureSet
from spikestore.store.selection import all_addresses
from spikestore.store.store import Store
from spikestore.store_schemas.errors import RecordingError, StoreError, UsageError
from spikestore.store_schemas.layout import SKIPPED_LABEL
from spikestore.store_schemas.specs.items import VersionPart
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.wording import plural

CHECKED_ROWS = 8
"""Maximum number of rows that are read again, spread evenly over the rows that a version identifies."""

OTHER_SETS = 20
"""Maximum number of other sets that are opened to look for the same version with another length."""


def refuse_other_recordings(wanted: RequestedSet, features: FeatureSet) -> None:
    """Compute a few rows of a committed set again, and raise `UsageError` if a row differs: then the data set has changed, but not its version.

    Raise `RecordingError` if a recording can no longer be read or transformed.
    """
    from spikestore.pipeline.transforms.choose import block_chain

    rows = _stated_rows(wanted.located.source)
    if not len(rows):
        return
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, CHECKED_ROWS).astype(int))]
    with wanted.located.open() as reader:
        chain = block_chain(wanted.transform, "numpy", has_y=reader.has_y)
        for row in chosen.tolist():
            block = reader.read_block(row, row + 1)
            sample = chain(block, name_of=reader.name_of, sort=wanted.located.source.sort)
            stored = features.read(row, row + 1)
            skipped = bool(stored.label[0] == SKIPPED_LABEL)
            if sample.errors and not skipped:
                error = sample.errors[row]
                raise RecordingError(
                    f"{error.message} (this recording could be read when the set {features.address.short} was built)",
                    **error.details,
                )
            same = skipped == bool(sample.errors) and (
                skipped
                or (
                    int(stored.label[0]) == int(block.labels[0])
                    and int(stored.n_bins[0]) == int(sample.n_bins[0])
                    and np.array_equal(stored.index, sample.index)
                    and np.array_equal(stored.value, sample.value)
                )
            )
            if not same:
                raise UsageError(
                    f"{reader.name_of(row)} has changed since the set {features.address.short} was built, but version= of preprocess is the same: "
                    "pass another version="
                )


def refuse_other_length(wanted: RequestedSet, store: Store) -> None:
    """Raise `UsageError` if a data set of `wanted` and a data set of a committed set have the same Python class and version, but different numbers of items.

    Only sets of the same transform and split are compared, and at most `OTHER_SETS` sets of the transform are opened.
    """
    stated = _stated(wanted.located.source)
    if not stated:
        return
    addresses = all_addresses(store.storage, wanted.transform.key)
    for address in itertools.islice(addresses, OTHER_SETS):
        with contextlib.suppress(StoreError):  # nobody asked for these sets
            features = store.find(address)
            if features is None or features.manifest.source.split != wanted.split:
                continue
            others = _stated(features.manifest.source)
            for key, length in stated.items():
                if others.get(key, length) != length:
                    name, version = key
                    raise UsageError(
                        f"the set {address.short} was built from version {version!r} of {name} with {plural(others[key], 'item')}, but now this "
                        f"version has {plural(length, 'item')}: pass another version= or split="
                    )


def _stated(source: Source) -> dict[tuple[str, str], int]:
    """Return the number of items of each data set that the user identified by a version; keys are (Python class, version).

    Data sets with the same class and version, but different numbers of items, are left out.
    """
    parts = () if source.items is None else source.items.parts
    lengths: dict[tuple[str, str], set[int]] = {}
    for part in parts:
        if isinstance(part, VersionPart):
            lengths.setdefault((part.name, part.version), set()).add(part.length)
    return {key: found.pop() for key, found in lengths.items() if len(found) == 1}


def _stated_rows(source: Source) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the rows of items that are identified by the version that the user passed (``version=``)."""
    if source.items is None:
        return np.empty(0, np.int64)
    starts = np.cumsum([0, *(part.length for part in source.items.parts)])
    parts = np.searchsorted(starts, np.asarray(source.items.row_numbers), side="right") - 1
    stated = [isinstance(part, VersionPart) for part in source.items.parts]
    return np.flatnonzero(np.asarray(stated)[parts])
