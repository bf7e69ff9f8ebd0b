"""Copies of feature sets between stores, for ``push``, ``pull`` and upstreams.

1. All records are read and compared with the manifest; their block digests must give the manifest's digest.
   Nothing is written before this comparison.
2. The plan is written.
3. Zarr metadata and fragments are written. A fragment's record is written after its objects, so all objects that a stored record lists exist.
4. The destination is listed: it must have all objects with the right sizes. Then the manifest is written.

This is the order of a build: an interrupted copy is an unfinished build, which no reader sees, and which the next copy
or build resumes. Every object is compared with its record (size and SHA-256) before it is written.

The source is not trusted: strict Pydantic models check its documents, and objects above their size limit are not read. Objects
that the destination has already are not copied again, but compared with their hashes. To avoid a transfer, only their sizes
are compared if the destination is a bucket, the bucket has the record of their fragment, and `deep` is not set. The objects were
compared with their hashes before this record was written (docs/decisions/0010-copies-are-builds.md).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass

from spikestore.store.concurrency import ByteBudget, in_order, wait_for
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store.sharing.acceptance import (
    other_digest,
    refuse_damaged_copy,
    refuse_giants,
    refuse_other_content,
    refuse_other_totals,
)
from spikestore.store.sharing.copy_destination import CopyDestination
from spikestore.store.sharing.copy_source import CopySource
from spikestore.store.storage import Storage
from spikestore.store.storage.staging import Staging
from spikestore.store.trust.documents import RecordTotals
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store_schemas.documents.record import ObjectEntry, Record
from spikestore.store_schemas.errors import MissingObjectError
from spikestore.store_schemas.specs.canonical import sha256_hex

logger = logging.getLogger(__name__)

THREADS = 8
"""Objects copied in parallel, within the budget."""

BUDGET = 512 * 2**20
"""Limit of the objects in memory, in bytes; a larger object is copied alone."""

_FRAGMENTS = 8
"""Fragments copied in parallel; each record waits only for its own objects."""

_KEPT = 64 * 2**20
"""Limit of the records that are kept in memory from the survey to the copy, in bytes; further records are read twice."""


@dataclass(frozen=True)
class Copied:
    """Result of a copy.

    Attributes
    ----------
    features : FeatureSet
        The set in the destination.
    total : int
        Size of the set in bytes, without plan and manifest; 0 if the destination had it already.
    present : int
        Bytes of the set that the destination had before the copy, in an unfinished build; 0 if it had the whole set.
    """

    features: FeatureSet
    total: int
    present: int


def copy_set(
    features: FeatureSet,
    destination: Storage,
    *,
    label: str,
    deep: bool = False,
    progress: Progress | None = None,
) -> Copied:
    """Copy a feature set into another store, or resume an interrupted copy.

    Parameters
    ----------
    features : FeatureSet
        The set in its source. Only its committed build is copied.
    destination : Storage
        Storage of the other store.
    label : str
        Name of the set in messages and progress.
    deep : bool
        Also decode the set before storing it, and compare the samples with the set's digest, because the source may be
        malicious. If the destination has the set already, decode and compare the set in the destination instead.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    DamagedError
        The set in the source is damaged; nothing is committed then. Or the destination has the set already, and the manifest
        there is damaged. With `deep`, damage of other objects there is found too.
    ConflictError
        The destination has another set, or other objects, at the same paths.
    StorageFullError
        The destination does not have enough space.
    StoreError
        The source cannot be read, or the destination cannot be written.
    """
    try:
        existing = FeatureSet.open(destination, features.address)
    except MissingObjectError:
        return _Copy(features, destination, label, deep, progress).run()
    if existing.digest != features.digest:
        raise other_digest(existing, features)
    if deep:
        refuse_damaged_copy(existing, features, label, progress)
    logger.info("%s is in %s already (digest %s)", label, destination.url, existing.digest[:12])
    return Copied(existing, 0, 0)


class _Copy:
    """A copy in progress; `run` is called once."""

    def __init__(
        self, features: FeatureSet, destination: Storage, label: str, deep: bool, progress: Progress | None
    ) -> None:
        build = features.address.build(features.manifest.plan_id)
        self._features = features
        self._source = CopySource(features)
        self._checker = FragmentChecker(features.address, features.manifest, features.root)
        self._storage = destination
        self._destination = CopyDestination(destination, build, features.storage.url)
        self._label = label
        self._deep = deep
        self._progress = progress or (lambda done, total, label: None)
        self._budget = ByteBudget(BUDGET)
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._stopped = threading.Event()
        self._records: dict[int, bytes] = {}
        self._done = self._total = 0

    def run(self) -> Copied:
        """Copy all objects that the destination lacks."""
        expected = self._survey()
        present = self._destination.bytes_present(expected)
        self._total = sum(expected.values())
        self._destination.refuse_full(self._label, self._total - present)
        if present:
            message = "%s: %s of %s bytes are in %s already"
            logger.info(message, self._label, f"{present:,}", f"{self._total:,}", self._storage.url)
        self._done = present
        self._progress(self._done, self._total, self._label)
        self._plan()
        self._copy()
        self._destination.refuse_missing(expected)
        return Copied(self._commit(), self._total, present)

    def _survey(self) -> dict[str, int]:
        """Check all records before anything is written, and return the size of each object by its path."""
        expected = {path: len(data) for path, data in self._source.documents.items()}
        kept, totals = 0, RecordTotals()
        for number, data in enumerate(in_order(self._record_bytes, self._source.fragments, threads=THREADS)):
            record = self._source.record(number, data)
            refuse_giants(self._features, record)
            expected[self._source.record_path(number)] = len(data)
            expected |= {self._source.path(entry): entry.size for entry in record.objects}
            totals.add(record)
            if kept + len(data) <= _KEPT:
                self._records[number] = data
                kept += len(data)
        refuse_other_totals(self._features, totals)
        return expected

    def _record_bytes(self, number: int) -> bytes:
        path = self._source.record_path(number)
        if path in self._destination:
            return self._destination.read(path, self._source.record_sha256(number))
        return self._source.record_bytes(number)

    def _plan(self) -> None:
        """Copy the set's plan if the destination has none. With the plan, a build in the destination can continue an interrupted copy."""
        self._storage.put_if_absent(self._features.address.plan, self._source.plan())

    def _copy(self) -> None:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="spikestore-object") as pool:

            def stop() -> None:  # after an error or Ctrl-C: objects that have not begun are not copied
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)

            small = [pool.submit(self._document, *named) for named in self._source.documents.items()]
            work = functools.partial(self._fragment, pool=pool)
            for _ in in_order(work, self._source.fragments, threads=_FRAGMENTS, stop=stop):
                pass
            wait_for(small)

    def _document(self, path: str, data: bytes) -> None:
        if path in self._destination:
            self._destination.read(path, sha256_hex(data))
        else:
            self._put(path, data)

    def _fragment(self, number: int, pool: ThreadPoolExecutor) -> None:
        data = self._records.pop(number, None) or self._record_bytes(number)
        put = self._fragment_decoded if self._deep else self._fragment_as_it_is
        put(self._source.record(number, data), pool)
        self._put(self._source.record_path(number), data)

    def _fragment_as_it_is(self, record: Record, pool: ThreadPoolExecutor) -> None:
        folder = self._destination.folder
        with contextlib.nullcontext() if folder is None else Staging(folder) as staging:
            wait_for(pool.submit(self._object, entry, record.fragment, staging) for entry in record.objects)
            if staging is not None:
                sha256 = {self._source.path(entry): entry.sha256 for entry in record.objects}
                self._destination.publish(staging, sha256)

    def _object(self, entry: ObjectEntry, fragment: int, staging: Staging | None) -> None:
        if self._stopped.is_set():
            raise CancelledError  # after a return, the record would be put without the object
        with self._budget.held(entry.size):
            path = self._source.path(entry)
            if path not in self._destination and staging is not None:
                staging.write(path, self._source.pieces(entry))
                self._tell(entry.size)
            elif path not in self._destination:
                self._put(path, self._source.object(entry))
            # A record implies its objects; in a folder, hashing them again is cheap.
            elif self._source.record_path(fragment) not in self._destination or staging is not None:
                self._destination.read(path, entry.sha256, entry.size)
            else:
                self._destination.refuse_other_size(path, entry.size)

    def _fragment_decoded(self, record: Record, pool: ThreadPoolExecutor) -> None:
        """Copy the objects of a fragment after decoding and checking them."""
        with self._budget.held(sum(entry.size for entry in record.objects)):
            tasks = {entry: pool.submit(self._bytes, entry) for entry in record.objects}
            objects = {entry.path: task.result() for entry, task in tasks.items()}
            with self._decoding:  # one at a time, because decoded values are many times larger
                refuse_other_content(self._features, self._checker, record, objects)
            wait_for(pool.submit(self._put, self._source.path(entry), objects[entry.path]) for entry in tasks)

    def _bytes(self, entry: ObjectEntry) -> bytes:
        path = self._source.path(entry)
        if path in self._destination:
            return self._destination.read(path, entry.sha256, entry.size)
        return self._source.object(entry)

    def _put(self, path: str, data: bytes) -> None:
        if self._destination.put(path, data):
            self._tell(len(data))

    def _tell(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._progress(self._done, self._total, self._label)

    def _commit(self) -> FeatureSet:
        address = self._features.address
        self._storage.put_if_absent(address.manifest, self._source.manifest())
        committed = FeatureSet.open(self._storage, address)
        if committed.digest != self._features.digest:
            raise other_digest(committed, self._features)
        return committed
