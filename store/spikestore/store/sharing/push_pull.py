"""Push and pull: copies of feature sets, by name or by key, from one store to another."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import NamedSet, warn_of_other_classes
from spikestore.store.partitions import all_partitions, put_partition
from spikestore.store.progress import Progress
from spikestore.store.selection import Selection
from spikestore.store.sharing.copy_set import Copied, copy_set
from spikestore.store.storage import Storage, is_same_store
from spikestore.store.trust.documents import partition_path
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    NewerFormatError,
    StoreError,
    UsageError,
)
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)


class NamedSets(Protocol):
    """Protocol with the methods of `Store` that are needed to copy sets."""

    @property
    def storage(self) -> Storage:
        """Storage that contains the store's objects."""

    def select(self, text: str) -> Selection:
        """Return the sets that a name or a key selects."""

    def refuse_move(self, name: str, sets: Mapping[str, NamedSet]) -> None:
        """Raise `UsageError` if `point` would need ``move=True`` for these sets; see `Store.refuse_move`."""

    def point(self, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False) -> object:
        """Point a name at these sets."""


def refuse_copies(
    source: NamedSets, destination: NamedSets, texts: Sequence[str], *, move: bool = False
) -> None:
    """Raise if `copy_named` would refuse one of several names; call this before the first of them is copied.

    Errors of stored objects (`StoreError`) are left to `copy_named`.

    Raises
    ------
    UnknownNameError, UsageError
        `copy_named` would raise the same error.
    """
    for text in texts if len(texts) > 1 else ():  # for a single name, `copy_named` raises it in time
        with contextlib.suppress(StoreError):
            selection = source.select(text)
            if selection.name is None or move:
                continue
            sets = {
                selected.split: NamedSet.of(features)
                for selected, features in selection.open_each().items()
                if isinstance(features, FeatureSet)
            }
            if sets:
                destination.refuse_move(selection.name, sets)


def copy_named(
    source: NamedSets,
    destination: NamedSets,
    text: str,
    *,
    deep: bool = False,
    move: bool = False,
    progress: Progress | None = None,
) -> dict[str, Copied]:
    """Copy the sets that a name or a key selects. After a copy by name, point this name in the destination at the copies.

    The partitions of the sets' sources are copied too. A partition that cannot be copied is reported in a warning.

    Parameters
    ----------
    source, destination : NamedSets
        The two stores.
    text : str
        ``NAME`` for all splits, ``NAME:SPLIT`` for one split, or the beginning of a key, as in `Store.select`. The name in
        the destination keeps its other splits if they have the transform of the copies.
    deep : bool
        Also decode each set before storing it, and compare the samples with the digest of the set.
    move : bool
        Move the name in the destination even if it refers to other sets; see `Store.point`.
    progress : callable, optional
        Called during the copy as ``progress(bytes_done, bytes_total, label)``.

    Returns
    -------
    dict of str to Copied
        Results by label: ``NAME:SPLIT``, or the beginnings of the keys.

    Raises
    ------
    UnknownNameError
        The source has no such name.
    UsageError
        `source` and `destination` are the same store. Or the destination has this name for other sets, and `move` is false. In
        both cases nothing is copied.
    StoreError
        The errors of `copy_set`. If one split raises `DamagedError` or `NewerFormatError`, the other splits are still copied
        before the error is raised; the name in the destination does not change.
    """
    if is_same_store(source.storage, destination.storage):
        raise UsageError(f"{source.storage.url} is both source and destination: use another store")
    selection = source.select(text)
    opened = selection.open_each()
    name = selection.name
    sets = {selected: features for selected, features in opened.items() if isinstance(features, FeatureSet)}
    damaged: list[StoreError] = [each for each in opened.values() if isinstance(each, StoreError)]
    if name is not None and sets:
        warn_of_other_classes({selected.label: features for selected, features in sets.items()})
    if name is not None and sets and not move:
        destination.refuse_move(
            name, {selected.split: NamedSet.of(features) for selected, features in sets.items()}
        )
    done: dict[str, Copied] = {}
    for selected, features in sets.items():
        try:
            done[selected.label] = copy_set(
                features, destination.storage, label=selected.label, deep=deep, progress=progress
            )
        except (DamagedError, NewerFormatError) as error:  # the other splits are still copied
            damaged.append(error)
            continue
        _copy_partitions(features, destination)
    if damaged:
        for other in damaged[1:]:
            logger.warning("%s", other)
        raise damaged[0]
    if name is not None:
        copies = {selected.split: done[selected.label].features for selected in sets}
        destination.point(name, copies, move=move)
    return done


def _copy_partitions(features: FeatureSet, destination: NamedSets) -> None:
    """Copy the partitions of a set's source. Log a warning instead if a partition is damaged, or if the destination has a different partition with the same name."""
    for _, name, partition in all_partitions(features.storage, features.address.source_key):
        try:
            if isinstance(partition, StoreError):
                raise partition
            if partition.samples != len(features):
                raise DamagedError(
                    f"it has {plural(partition.samples, 'row')}, but the set {features.address.short} has {len(features):,}; restore "
                    f"the partition with `spikestore repair {features.address.short} --store {features.storage.url} --from URL` (a store that has a copy), "
                    f"or delete {partition_path(features.address.source_key, name)} and call keep_partition again"
                )
            put_partition(destination.storage, partition)
        except (ConflictError, DamagedError, NewerFormatError) as error:
            logger.warning("partition %r was not copied: %s", name, error)
