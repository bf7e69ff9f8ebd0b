"""Upstreams: other stores that are asked for a feature set before it is computed.

A set from an upstream stands in for a computation, so it is decoded on arrival and compared with its digest, and with
the digest that a lock pins; what differs is refused by the upstream's name, and the next one is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import expand_home
from spikestore.store.progress import Progress
from spikestore.store.sharing.copy_set import copy_set
from spikestore.store.storage import FolderStorage
from spikestore.store.store import Store
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import ReadOnlyStoreError, StorageFullError, StoreError, UsageError

logger = logging.getLogger(__name__)


def locate_upstreams(upstreams: Iterable[str], origin: Path | None) -> tuple[str, ...]:
    """Return where upstreams are: a folder that a file names is relative to the folder of that file.

    Parameters
    ----------
    upstreams : iterable of str
        Folders or URLs.
    origin : Path, optional
        The recipe or configuration that names them.
    """
    return tuple(one if "://" in one else str(beside(one, origin)) for one in upstreams)


class Upstreams:
    """Stores to ask, in order. An unreachable store is reported once and then skipped.

    Parameters
    ----------
    locations : iterable of str
        Folders or URLs, from `locate_upstreams`.

    Raises
    ------
    UsageError
        One of them is no store's name.
    """

    def __init__(self, locations: Iterable[str]) -> None:
        self._stores = [Store(location) for location in locations]
        self._away: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._stores)

    def __str__(self) -> str:
        return ", ".join(store.storage.url for store in self._stores)

    def fetch(
        self,
        store: Store,
        address: Address,
        *,
        label: str,
        digest: str | None = None,
        progress: Progress | None = None,
    ) -> FeatureSet | None:
        """Copy a feature set from the first upstream that has it.

        Parameters
        ----------
        store : Store
            Where it goes.
        address : Address
            Its keys.
        label : str
            What to call it in messages.
        digest : str, optional
            What its digest must be, where a lock or a name pins it.
        progress : callable, optional
            Called during copies as ``progress(bytes_done, bytes_total, label)``.

        Returns
        -------
        FeatureSet or None
            The set in `store`; None if no upstream has it, or none that could be used.

        Raises
        ------
        StoreError
            `store` can't be written to, or is full.
        """
        for upstream in self._asked(store):
            found = self._take(upstream, store, address, label, digest, progress)
            if found is not None:
                return found
        return None

    def look(
        self, store: Store, address: Address, *, label: str, digest: str | None = None
    ) -> FeatureSet | None:
        """Return the set that `fetch` would copy, where it is now; nothing is copied, and only its manifest is read."""
        for upstream in self._asked(store):
            found = self._find(upstream, address, label, digest)
            if found is not None:
                return found
        return None

    def fetch_named(
        self, store: Store, name: str, splits: Iterable[str], *, progress: Progress | None = None
    ) -> bool:
        """Copy splits of a name, and the name, from the first upstream that has them all; tell whether one had.

        Raises
        ------
        UsageError
            The name stands for something else in `store`.
        StoreError
            `store` can't be written to, or is full.
        """
        wanted = list(splits)
        for upstream in self._asked(store):
            try:
                ref = upstream.ref(name)
            except StoreError as error:
                self._give_up(upstream, name, error)
                continue
            if ref is None or not set(wanted) <= ref.splits.keys():
                logger.info(
                    "%s (%s) is not in the upstream %s", name, ", ".join(wanted), upstream.storage.url
                )
                continue
            sets: dict[str, FeatureSet] = {}
            for split in wanted:
                pin = ref.splits[split]
                address, label = Address(pin.transform_key, pin.source_key), f"{name}:{split}"
                found = store.find(address)
                if found is None:
                    found = self._take(upstream, store, address, label, pin.digest, progress)
                if found is None or found.digest != pin.digest:
                    break
                sets[split] = found
            if len(sets) == len(wanted):
                try:
                    store.point(name, sets)
                except UsageError as error:
                    advice = f"spikestore pull {name} --from {upstream.storage.url} --move moves it"
                    raise UsageError(f"{error.details.get('why', error)}; {advice}", name=name) from error
                return True
        return False

    def _asked(self, store: Store) -> Iterator[Store]:
        for upstream in self._stores:
            url, inner = upstream.storage.url, upstream.storage
            if url in self._away or url == store.storage.url:
                continue
            if isinstance(inner, FolderStorage) and not inner.root.exists():
                self._give_up(upstream, None, "there is no such folder")
                continue
            yield upstream

    def _take(
        self,
        upstream: Store,
        store: Store,
        address: Address,
        label: str,
        digest: str | None,
        progress: Progress | None,
    ) -> FeatureSet | None:
        url = upstream.storage.url
        found = self._find(upstream, address, label, digest)
        if found is None:
            return None
        try:
            copied = copy_set(found, store.storage, label=label, deep=True, progress=progress).features
        except (ReadOnlyStoreError, StorageFullError):
            raise  # it is our own store: the next upstream would not help
        except StoreError as error:
            logger.warning("%s in the upstream %s is refused: %s", label, url, error)
            return None
        message = "%s comes from the upstream %s (%d samples, digest %s): nothing to compute"
        logger.info(message, label, url, len(copied), copied.digest[:12])
        return copied

    def _find(self, upstream: Store, address: Address, label: str, digest: str | None) -> FeatureSet | None:
        url = upstream.storage.url
        try:
            found = upstream.find(address)
        except StoreError as error:
            self._give_up(upstream, label, error)
            return None
        if found is None:
            logger.info("%s is not in the upstream %s", label, url)
            return None
        if digest is not None and found.digest != digest:
            message = "%s in the upstream %s is refused: it has digest %s, %s is pinned"
            logger.warning(message, label, url, found.digest[:12], digest[:12])
            return None
        return found

    def _give_up(self, upstream: Store, label: str | None, error: object) -> None:
        url = upstream.storage.url
        if type(error) in (
            StoreError,
            str,
        ):  # it can't be reached, or not be read: nor can anything else in it
            self._away.add(url)
        what = f" for {label}" if label is not None else ""
        logger.warning("the upstream %s can't be used%s, going on without it: %s", url, what, error)


def beside(folder: str, origin: Path | None) -> Path:
    """Return the folder that a file names: relative to the folder of that file, if there is one."""
    named = expand_home(folder)
    return named if named.is_absolute() or origin is None else origin.parent / named
