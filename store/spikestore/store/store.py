"""The class `Store`: feature sets by key and by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spikestore.store import refs
from spikestore.store.concurrency import in_order
from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import user_data_folder
from spikestore.store.names import NamedSet, point, refuse_move, refuse_other_classes
from spikestore.store.notebook.tables import table_of_store
from spikestore.store.selection import (
    Selection,
    all_addresses,
    name_and_split,
    refuse_unknown_name,
    select,
)
from spikestore.store.storage import Storage, open_storage
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.ref import Ref
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, NewerFormatError, StoreError
from spikestore.store_schemas.specs.model import NAME

if TYPE_CHECKING:
    from spikestore.store.progress import Progress
    from spikestore.store.sharing.copy_set import Copied

logger = logging.getLogger(__name__)

STORE_VARIABLE = "SPIKESTORE_STORE"
"""Environment variable with the location of the default store."""


def default_location() -> str:
    """Return the location of the default store: ``$SPIKESTORE_STORE``, else the user's data folder.

    Raises
    ------
    UsageError
        The variable is not set, and the user has no home folder.
    """
    location = os.environ.get(STORE_VARIABLE)
    if location:
        return location
    return str(user_data_folder() / "store")


class Store:
    """Feature sets and names for them, in a folder or below a prefix in a bucket.

    Creating a `Store` does not access the location; a folder that does not exist is an empty store.

    Parameters
    ----------
    location : str, Path or Storage
        A folder, ``file://…``, or ``s3://bucket/prefix``.

    Raises
    ------
    UsageError, StoreError
        The errors of `spikestore.store.storage.open_storage`.

    Examples
    --------
    >>> store = Store("feature_store")
    >>> store["demo:train"]                             # a name and a split # doctest: +SKIP
    >>> store["952b94b4a748/2f1c0d6e55aa"]              # beginnings of both keys # doctest: +SKIP
    """

    def __init__(self, location: str | Path | Storage) -> None:
        self.storage: Storage = open_storage(location) if isinstance(location, (str, Path)) else location

    def __repr__(self) -> str:
        return f"Store({self.storage.url!r})"

    _repr_html_ = table_of_store

    def __getitem__(self, text: str) -> FeatureSet:
        """Return the only feature set that `text` selects; raise `UnknownNameError` if it selects several."""
        return self.select(text).only()

    def select(self, text: str) -> Selection:
        """Return the sets that `text` selects, without opening them. `text` is ``NAME``, ``NAME:SPLIT``, a key, or the beginning of a key.

        A key is written as ``TRANSFORM/SOURCE``. Each of the two parts may be shortened to its first digits, at least 4.
        If one of the two parts already identifies a set, the other part may be left out.

        Raises
        ------
        UnknownNameError
            The name, split or key does not exist, or several keys begin with `text`; the message lists alternatives.
        UsageError
            Nothing follows the colon.
        DamagedError, NewerFormatError
            The newest entry of the name is damaged, or has a newer format.
        """
        return select(self.storage, text)

    def find(self, address: Address) -> FeatureSet | None:
        """Return the feature set at an address, or None if it is not committed.

        Raises
        ------
        DamagedError, NewerFormatError
            The manifest is damaged, or has a newer format.
        """
        try:
            return FeatureSet.open(self.storage, address)
        except MissingObjectError:
            return None

    def addresses(self) -> Iterator[Address]:
        """Yield the addresses of all sets, committed or not, sorted."""
        return all_addresses(self.storage)

    def feature_sets(self) -> Iterator[FeatureSet]:
        """Yield all committed feature sets; if a set is damaged or has a newer format, log a warning and skip the set."""
        for address in self.addresses():
            try:
                features = self.find(address)
            except (DamagedError, NewerFormatError) as error:
                logger.warning("skipped a feature set: %s", error)
                continue
            if features is not None:
                yield features

    def names(self) -> list[str]:
        """Return all names, sorted, including damaged names."""
        return [name for name, _ in refs.read_all(self.storage)]

    def ref(self, name: str) -> Ref | None:
        """Return the current entry of a name, or None if the name does not exist or was removed.

        Raises
        ------
        DamagedError, NewerFormatError
            The entry is damaged, or has a newer format.
        """
        return refs.read(self.storage, name)

    def refs(self) -> dict[str, Ref | StoreError]:
        """Return the current entry of every name, or the error of reading it. Names are sorted. This method needs one request per name."""
        return dict(refs.read_all(self.storage))

    def catalogue(self) -> Iterator[tuple[Address, FeatureSet | StoreError]]:
        """Yield all committed feature sets, sorted by address; for a set that cannot be opened, yield the error."""

        def read(address: Address) -> FeatureSet | StoreError | None:
            try:
                return self.find(address)
            except StoreError as error:
                return error

        addresses = [*self.addresses()]
        for address, features in zip(addresses, in_order(read, addresses), strict=True):
            if features is not None:
                yield address, features

    def point(self, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False) -> Ref:
        """Point `name` at these feature sets, one per split, and return the new entry.

        A split of the name that is not in `splits` keeps its set if this set has the transform of the new sets; otherwise the split
        is removed from the name, because a name never mixes transforms. If a set that stays has recordings of the new sets, a
        warning says so; only sets with one recording per file are compared.

        Without `move`, no split is removed, and a split changes its set only if the new set has the same transform and all
        recordings of the old set (compared by content), or if the old set is missing.

        Parameters
        ----------
        name : str
            The name.
        splits : mapping of str to FeatureSet
            The set of each split.
        move : bool
            Allow all changes of splits.

        Raises
        ------
        UsageError
            The name is invalid; the sets have several transforms, or number their classes differently; or a change of the name
            needs ``move=True``.
        DamagedError, NewerFormatError
            The newest entry of the name is damaged, or has a newer format.
        MissingObjectError
            A set was removed meanwhile (``gc --unreferenced``): build or copy it again.
        """
        ref = point(self.storage, self.find, name, splits, move=move)
        # After the entry: gc reads the names after it removed a manifest, so one of the two notices the other.
        for split, features in splits.items():
            self._refuse_removed(f"{name}:{split}", features.address)
        return ref

    def refuse_move(self, name: str, sets: Mapping[str, NamedSet]) -> None:
        """Raise `UsageError` if `point` would need ``move=True`` to point the name at these sets. The sets need not be built yet.

        `point` also compares the digests of sets with equal keys, and the classes of the sets.
        """
        refuse_move(self.storage, self.find, name, sets)

    def tag(self, name: str, new: str, *, move: bool = False) -> Ref:
        """Add the name `new` to the sets of ``NAME`` (all splits), ``NAME:SPLIT`` or a key, and return the entry of `new`.

        Raises
        ------
        UsageError
            The new name is invalid; the new name refers to other sets, and `move` is false; or the sets of the old name
            number their classes differently.
        UnknownNameError, DamagedError, NewerFormatError
            The old name does not exist; or one of its sets, or the newest entry of one of the names, is damaged or has a newer format.
        MissingObjectError
            A set was removed meanwhile (``gc --unreferenced``): build or copy it again.
        """
        sets = self.splits(name)
        refuse_other_classes({f"{new}:{split}": features.classes for split, features in sets.items()})
        ref = refs.assign(
            self.storage, new, {split: features.pin for split, features in sets.items()}, move=move
        )
        for split, features in sets.items():
            self._refuse_removed(f"{new}:{split}", features.address)
        return ref

    def forget(self, name: str) -> tuple[str, ...]:
        """Remove ``NAME`` or ``NAME:SPLIT``; the sets are kept until ``gc --unreferenced``.

        Returns
        -------
        tuple of str
            The removed splits. ``("a damaged entry",)`` if ``NAME`` was removed although its newest entry was damaged.

        Raises
        ------
        UnknownNameError
            The name or split does not exist.
        DamagedError
            ``NAME:SPLIT`` was passed, and the newest entry of the name is damaged, so only ``NAME`` can be removed.
        NewerFormatError
            The newest entry of the name has a newer format.
        UsageError
            Nothing follows the colon.
        """
        text, split = name_and_split(name)
        lost = refs.forget(self.storage, text, split or None) if NAME.match(text) else ()
        if not lost:
            refuse_unknown_name(self.storage, name)
        return lost

    def push(
        self, name: str, to: Store | str | Path, *, move: bool = False, progress: Progress | None = None
    ) -> dict[str, Copied]:
        """Copy the sets of a name or a key into another store. After a copy by name, point this name in that store at the copies.

        Only missing objects are copied, and each copied object is verified. An interrupted push resumes. A set becomes visible once
        it is complete: its manifest is written after all its other objects, and the name after the manifest.

        Parameters
        ----------
        name : str
            ``NAME``, ``NAME:SPLIT``, or the beginning of a key.
        to : Store, str or Path
            The other store.
        move : bool
            Move the name in the other store even if it refers to other sets; see `move` of `point`.
        progress : callable, optional
            Called during the copy as ``progress(bytes_done, bytes_total, label)``.

        Returns
        -------
        dict of str to Copied
            Results by ``NAME:SPLIT``, or by the beginnings of the keys.

        Raises
        ------
        UnknownNameError
            The name does not exist in this store.
        UsageError
            The name refers to other sets in the other store, and `move` is false; or both stores are the same.
        StoreError
            This store is damaged (`DamagedError`); the other store has another set under the same keys
            (`ConflictError`), is not writable (`ReadOnlyStoreError`), or has not enough space (`StorageFullError`).
        """
        from spikestore.store.sharing.push_pull import copy_named

        return copy_named(
            self, to if isinstance(to, Store) else Store(to), name, move=move, progress=progress
        )

    def pull(
        self,
        name: str,
        source: Store | str | Path,
        *,
        deep: bool = False,
        move: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Copied]:
        """Copy the sets of a name or a key from another store into this store. After a copy by name, point this name in this store at the copies.

        Returns and raises the same as `push`. The other store need not be trusted.

        Parameters
        ----------
        name : str
            ``NAME``, ``NAME:SPLIT``, or the beginning of a key.
        source : Store, str or Path
            The other store.
        deep : bool
            Also decode each set before storing it, and compare the samples with the digest of the set.
        move : bool
            Move the name in this store even if it refers to other sets; see `move` of `point`.
        progress : callable, optional
            Called during the copy as ``progress(bytes_done, bytes_total, label)``.
        """
        from spikestore.store.sharing.push_pull import copy_named

        other = source if isinstance(source, Store) else Store(source)
        return copy_named(other, self, name, deep=deep, move=move, progress=progress)

    def splits(self, name: str) -> dict[str, FeatureSet]:
        """Open the sets that `name` selects, and return them by split.

        Raises
        ------
        UnknownNameError
            The name does not exist.
        DamagedError, NewerFormatError
            The name or a manifest is damaged, or has a newer format; or a set that the name pins is missing, or has another digest.
        """
        opened = self.select(name).open()
        return {
            selected.split or features.manifest.source.split: features
            for selected, features in opened.items()
        }

    def _refuse_removed(self, label: str, address: Address) -> None:
        try:
            self.storage.get(address.manifest)
        except MissingObjectError as error:
            raise MissingObjectError(
                f"{label} was removed from {self.storage.url} while its name was written: build or copy the set again",
                path=address.manifest,
            ) from error
