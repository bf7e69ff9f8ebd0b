"""Push and pull: feature sets by name, or by key, from one store to another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import NamedSet, warn_of_other_classes
from spikestore.store.partitions import all_partitions, put_partition
from spikestore.store.progress import Progress
from spikestore.store.selection import Selection
from spikestore.store.sharing.copy_set import Copied, copy_set
from spikestore.store.storage import Storage
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    NewerFormatError,
    StoreError,
    UsageError,
)

logger = logging.getLogger(__name__)


class NamedSets(Protocol):
    """What is asked of a store here: `Store` has it."""

    @property
    def storage(self) -> Storage:
        """Where it lies."""

    def select(self, text: str) -> Selection:
        """Return what a name or a key means."""

    def refuse_move(self, name: str, sets: Mapping[str, NamedSet]) -> None:
        """Raise if a name stands for something else than these sets."""

    def point(self, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False) -> object:
        """Let a name stand for these sets."""


def copy_named(
    source: NamedSets,
    destination: NamedSets,
    text: str,
    *,
    deep: bool = False,
    move: bool = False,
    progress: Progress | None = None,
) -> dict[str, Copied]:
    """Copy what a name or a key means, and let the same name stand for it at the destination.

    Parameters
    ----------
    source, destination : NamedSets
        From where, and where to.
    text : str
        ``NAME``: all splits; ``NAME:SPLIT``: one of them, the name's other splits are kept at the destination if
        they have the same transform. Or the beginning of a key, as `Store.select` takes it: then there is no name.
    deep : bool
        Also decode what arrives and compare it with the digest, before it is stored.
    move : bool
        Move the name at the destination whatever it stands for there, as `Store.point`.
    progress : callable, optional
        Called during the copy as ``progress(bytes_done, bytes_total, label)``.

    Returns
    -------
    dict of str to Copied
        By what each set is called: ``NAME:SPLIT``, or the beginning of its keys.

    Raises
    ------
    UnknownNameError
        The source has no such name.
    UsageError
        Both are the same store; or the name stands for something else at the destination, and `move` is not set:
        then nothing is copied.
    StoreError
        As `copy_set`. Of several splits those that are whole are copied before a `DamagedError` is raised, and stay; the
        name is not changed.
    """
    if source.storage.url == destination.storage.url:
        raise UsageError(f"{source.storage.url} is the store itself: name another one")
    selection = source.select(text)
    opened = selection.open_each()
    name, sets = selection.name, {one: each for one, each in opened.items() if isinstance(each, FeatureSet)}
    damaged = [each for each in opened.values() if isinstance(each, DamagedError)]
    if name is not None and sets:
        warn_of_other_classes({one.label: features for one, features in sets.items()})
    if name is not None and sets and not move:
        destination.refuse_move(name, {one.split: NamedSet.of(features) for one, features in sets.items()})
    done: dict[str, Copied] = {}
    for one, features in sets.items():
        try:
            done[one.label] = copy_set(
                features, destination.storage, label=one.label, deep=deep, progress=progress
            )
        except DamagedError as error:  # the other splits are copied all the same
            damaged.append(error)
            continue
        _copy_partitions(features, destination)
    if damaged:
        for other in damaged[1:]:
            logger.warning("%s", other)
        raise damaged[0]
    if name is not None:
        destination.point(name, {one.split: done[one.label].features for one in sets}, move=move)
    return done


def _copy_partitions(features: FeatureSet, destination: NamedSets) -> None:
    """Copy the partitions of a set's source; one that the destination has otherwise stays as it is there."""
    for _, name, found in all_partitions(features.storage, features.address.source_key):
        try:
            if isinstance(found, StoreError):
                raise found
            if found.samples != len(features):
                raise DamagedError(f"it divides {found.samples} rows, the source has {len(features)}")
            put_partition(destination.storage, found)
        except (ConflictError, DamagedError, NewerFormatError) as error:
            logger.warning("the partition %r is not copied: %s", name, error)
