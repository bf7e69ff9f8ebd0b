"""Upstreams: other stores from which a feature set is copied instead of computed.

Each set is decoded during the copy. The digest of the decoded samples is compared with the digest in the manifest and, if there
is a lock, with the digest in the lock. If two digests differ, a warning names the upstream, and the next upstream is tried.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import expand_home
from spikestore.store.progress import Progress
from spikestore.store.selection import sets_of_source
from spikestore.store.storage import FolderStorage, is_same_store
from spikestore.store.store import Store
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import ReadOnlyStoreError, StorageFullError, StoreError, UsageError
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)


def locate_upstreams(upstreams: Iterable[str], origin: Path | None) -> tuple[str, ...]:
    """Return the locations of upstreams (stores to copy from). A relative folder is relative to the folder of `origin`.

    Parameters
    ----------
    upstreams : iterable of str
        Folders or URLs.
    origin : Path, optional
        The recipe or configuration that lists the upstreams.
    """
    return tuple(each if "://" in each else str(beside(each, origin)) for each in upstreams)


class Upstreams:
    """Searches upstreams (other stores), in order of preference. An unreachable store is reported once and then skipped.

    Parameters
    ----------
    locations : iterable of str
        Folders or URLs, from `locate_upstreams`.

    Raises
    ------
    UsageError, StoreError
        A location is invalid, or its credentials are.
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
        """Copy a feature set from the first upstream (another store) that has it.

        Parameters
        ----------
        store : Store
            Destination of the copy.
        address : Address
            Transform key and source key of the set.
        label : str
            Name of the set in messages.
        digest : str, optional
            Digest that the set must have; a set with another digest is not copied.
        progress : callable, optional
            Called during copies as ``progress(bytes_done, bytes_total, label)``.

        Returns
        -------
        FeatureSet or None
            The set in `store`; None if no upstream has an intact copy that can be read.

        Raises
        ------
        StoreError
            `store` is not writable, or full.
        """
        for upstream in self._asked(store):
            copied = self._take(upstream, store, address, label, digest, progress)
            if copied is not None:
                return copied
        return None

    def look(
        self, store: Store, address: Address, *, label: str, digest: str | None = None
    ) -> FeatureSet | None:
        """Return the set that `fetch` would copy, opened in the upstream; None if no upstream has it. Only the manifest is read."""
        for upstream in self._asked(store):
            features = self._find(upstream, address, label, digest)
            if features is not None:
                return features
        return None

    def fetch_named(
        self, store: Store, name: str, splits: Iterable[str], *, progress: Progress | None = None
    ) -> bool:
        """Copy these splits of a name from the first upstream that has all of them; return whether an upstream has them.

        Raises
        ------
        UsageError
            The name refers to other sets in `store`.
        StoreError
            `store` is full or read-only, or its copy of one of the sets is damaged.
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
                features = store.find(address)
                if features is None:
                    features = self._take(upstream, store, address, label, pin.digest, progress)
                if features is None or features.digest != pin.digest:
                    break
                sets[split] = features
            if len(sets) == len(wanted):
                try:
                    store.point(name, sets)
                except UsageError as error:
                    advice = f"to move it, run spikestore pull {name} --from {upstream.storage.url} --move"
                    raise UsageError(f"{error.details.get('why', error)}; {advice}", name=name) from error
                return True
        return False

    def sets_of_source(self, store: Store, source_key: str, *, label: str) -> Iterator[FeatureSet]:
        """Yield the committed sets of a source from each upstream except `store` itself; a set in two upstreams is yielded twice."""
        for upstream in self._asked(store):
            try:
                yield from sets_of_source(upstream.storage, source_key)
            except StoreError as error:
                self._give_up(upstream, label, error)

    def _asked(self, store: Store) -> Iterator[Store]:
        for upstream in self._stores:
            url, inner = upstream.storage.url, upstream.storage
            if url in self._away or is_same_store(inner, store.storage):
                continue
            if isinstance(inner, FolderStorage) and not inner.root.exists():
                self._give_up(upstream, None, "no such folder")
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
        from spikestore.store.sharing.copy_set import copy_set  # most runs copy nothing

        url = upstream.storage.url
        features = self._find(upstream, address, label, digest)
        if features is None:
            return None
        try:
            copied = copy_set(features, store.storage, label=label, deep=True, progress=progress).features
        except (ReadOnlyStoreError, StorageFullError):
            raise  # errors of `store`: another upstream would not help
        except StoreError as error:
            logger.warning("%s is not copied from the upstream %s: %s", label, url, error)
            return None
        message = "copied %s from the upstream %s (%s, digest %s)"
        logger.info(message, label, url, plural(len(copied), "sample"), copied.digest[:12])
        return copied

    def _find(self, upstream: Store, address: Address, label: str, digest: str | None) -> FeatureSet | None:
        url = upstream.storage.url
        try:
            features = upstream.find(address)
        except StoreError as error:
            self._give_up(upstream, label, error)
            return None
        if features is None:
            logger.info("%s is not in the upstream %s", label, url)
            return None
        if digest is not None and features.digest != digest:
            message = "%s in the upstream %s is rejected: its digest is %s, expected %s"
            logger.warning(message, label, url, features.digest[:12], digest[:12])
            return None
        return features

    def _give_up(self, upstream: Store, label: str | None, error: object) -> None:
        url = upstream.storage.url
        # The store cannot be reached or read, so further requests would fail too.
        if type(error) in (StoreError, str):
            self._away.add(url)
        purpose = f" for {label}" if label is not None else ""
        logger.warning("cannot use the upstream %s%s, continuing without it: %s", url, purpose, error)


def beside(folder: str, origin: Path | None) -> Path:
    """Return the path of `folder`, which is named in the file `origin`. A relative path starts at the folder of `origin`.

    If `origin` is None, a relative path stays as it is.
    """
    named = expand_home(folder)
    return named if named.is_absolute() or origin is None else origin.parent / named
