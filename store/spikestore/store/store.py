"""A store: feature sets under their keys, and names for them."""

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
from spikestore.store.selection import Selection, all_addresses, no_such_name, no_such_split, select
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
"""Environment variable that names the default store."""


def default_location() -> str:
    """Return the store that is used when none is named: ``$SPIKESTORE_STORE``, else the user's data directory.

    Raises
    ------
    UsageError
        The variable is not set, and no home folder is known.
    """
    chosen = os.environ.get(STORE_VARIABLE)
    if chosen:
        return chosen
    return str(user_data_folder() / "store")


class Store:
    """A root that holds feature sets and refs: a folder, or a prefix in a bucket.

    Opening one touches nothing; a folder that does not exist is an empty store.

    Parameters
    ----------
    location : str, Path or Storage
        A folder, ``file://…``, or ``s3://bucket/prefix``.

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

    def __getitem__(self, text: str) -> FeatureSet:
        """Return the one feature set that `select` finds; `UnknownNameError` if it finds several."""
        return self.select(text).only()

    def select(self, text: str) -> Selection:
        """Return what ``NAME``, ``NAME:SPLIT``, a key or the beginning of one means; nothing of it is opened yet.

        The beginning of a key has at least 4 digits: ``TRANSFORM/SOURCE``, or one of the two if it is unambiguous.

        Raises
        ------
        UnknownNameError
            There is no such name, split or key, or several keys begin so; the message says what there is.
        DamagedError
            The newest entry of the name is damaged.
        """
        return select(self.storage, text)

    def find(self, address: Address) -> FeatureSet | None:
        """Return the feature set at an address, or None if none is committed there."""
        try:
            return FeatureSet.open(self.storage, address)
        except MissingObjectError:
            return None

    def addresses(self) -> Iterator[Address]:
        """Yield the addresses of all folders below ``features/``, committed or not, sorted."""
        return all_addresses(self.storage)

    def feature_sets(self) -> Iterator[FeatureSet]:
        """Yield all committed feature sets; one that can't be opened is left out, with a warning that names it."""
        for address in self.addresses():
            try:
                found = self.find(address)
            except (DamagedError, NewerFormatError) as error:
                logger.warning("left out: %s", error)
                continue
            if found is not None:
                yield found

    def names(self) -> list[str]:
        """Return all names, sorted, also those whose entries are damaged."""
        return [name for name, _ in refs.read_all(self.storage)]

    def ref(self, name: str) -> Ref | None:
        """Return what a name stands for now, or None."""
        return refs.read(self.storage, name)

    def refs(self) -> dict[str, Ref | StoreError]:
        """Return what every name stands for, or what is wrong with it; one listing, and a request for each name."""
        return dict(refs.read_all(self.storage))

    def catalogue(self) -> Iterator[tuple[Address, FeatureSet | StoreError]]:
        """Yield all committed feature sets, sorted by address, or what is wrong with one; several are read at once."""

        def read(address: Address) -> FeatureSet | StoreError | None:
            try:
                return self.find(address)
            except StoreError as error:
                return error

        addresses = [*self.addresses()]
        for address, found in zip(addresses, in_order(read, addresses), strict=True):
            if found is not None:
                yield address, found

    def point(self, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False) -> Ref:
        """Let `name` stand for these feature sets, one per split.

        A split that stands for another set moves by itself only if the new set has all files of the former one
        (compared by content) and the same transform. Other splits that the name has are kept if they were made by the
        same transform, else let go: a name never mixes transforms.

        Parameters
        ----------
        name : str
            The name.
        splits : mapping of str to FeatureSet
            What its splits shall stand for.
        move : bool
            Move the name whatever it stands for.

        Raises
        ------
        UsageError
            The name breaks the rules for names, the sets have several transforms, or list their classes in different
            orders; or the name stands for something else, and `move` is not set.
        MissingObjectError
            A set was removed meanwhile (``gc --unreferenced``): build or copy it again.
        """
        ref = point(self.storage, self.find, name, splits, move=move)
        # After the entry, as gc looks at the names after it removed a manifest: one of the two sees the other.
        for split, features in splits.items():
            self._refuse_removed(f"{name}:{split}", features.address)
        return ref

    def refuse_move(self, name: str, sets: Mapping[str, NamedSet]) -> None:
        """Raise what `point` would raise for sets that need not be built yet: worth knowing before they are.

        Raises
        ------
        UsageError
            The name stands for something else than these sets, and would not move to them by itself.
        """
        refuse_move(self.storage, self.find, name, sets)

    def tag(self, name: str, new: str, *, move: bool = False) -> Ref:
        """Give a second name to what a name (all its splits), ``NAME:SPLIT`` or a key stands for.

        Raises
        ------
        UsageError
            The new name breaks the rules, or stands for something else and `move` is not set; or the sets list their
            classes in different orders.
        UnknownNameError, DamagedError
            There is nothing under the old name, or it is damaged.
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
        """Forget ``NAME``, or ``NAME:SPLIT``; the sets stay, for other names and ``gc --unreferenced``.

        Returns
        -------
        tuple of str
            The splits that the name stood for.

        Raises
        ------
        UnknownNameError
            There is no such name or split.
        """
        text, _, split = name.partition(":")
        lost = refs.forget(self.storage, text, split or None) if NAME.match(text) else ()
        if not lost:
            ref = self.ref(text) if NAME.match(text) else None
            raise (
                no_such_name(self.storage, name)
                if ref is None
                else no_such_split(self.storage, text, split, ref.splits)
            )
        return lost

    def push(
        self, name: str, to: Store | str | Path, *, move: bool = False, progress: Progress | None = None
    ) -> dict[str, Copied]:
        """Copy what a name or a key means into another store, and let the same name stand for it there.

        Only what is not there is copied, checked object by object; an interrupted push goes on where it stopped.
        Nobody sees half a set: manifests come last, and the name after them.

        Parameters
        ----------
        name : str
            ``NAME``, ``NAME:SPLIT``, or the beginning of a key.
        to : Store, str or Path
            The other store.
        move : bool
            Move the name there whatever it stands for, as `point`.
        progress : callable, optional
            Called during the copy as ``progress(bytes_done, bytes_total, label)``.

        Returns
        -------
        dict of str to Copied
            By ``NAME:SPLIT``, or the beginning of the keys.

        Raises
        ------
        UnknownNameError
            There is no such name here.
        UsageError
            The name stands for something else there, and `move` is not set.
        StoreError
            What is here is damaged (`DamagedError`), the other store has something else under the same keys
            (`ConflictError`), can't be written to (`ReadOnlyStoreError`), or has no room (`StorageFullError`).
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
        """Copy what a name or a key means in another store into this one, and let the same name stand for it here.

        As `push`, the other way round. The other store may be anybody's.

        Parameters
        ----------
        name : str
            ``NAME``, ``NAME:SPLIT``, or the beginning of a key.
        source : Store, str or Path
            The other store.
        deep : bool
            Also decode what arrives, and compare it with the digest before it is stored.
        move : bool
            Move the name here whatever it stands for, as `point`.
        progress : callable, optional
            Called during the copy as ``progress(bytes_done, bytes_total, label)``.
        """
        from spikestore.store.sharing.push_pull import copy_named

        other = source if isinstance(source, Store) else Store(source)
        return copy_named(other, self, name, deep=deep, move=move, progress=progress)

    def splits(self, name: str) -> dict[str, FeatureSet]:
        """Open what `select` finds, by split: all splits of a name.

        Raises
        ------
        UnknownNameError
            There is no such name.
        DamagedError
            A set that the name pins is gone, or has another digest.
        """
        opened = self.select(name).open()
        return {one.split or features.manifest.source.split: features for one, features in opened.items()}

    def _refuse_removed(self, label: str, address: Address) -> None:
        try:
            self.storage.get(address.manifest)
        except MissingObjectError as error:
            raise MissingObjectError(
                f"{label} was removed from {self.storage.url} while it got its name: build or copy it again",
                path=address.manifest,
            ) from error
