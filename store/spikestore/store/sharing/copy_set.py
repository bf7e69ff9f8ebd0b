"""Copies of feature sets between stores, for ``push``, ``pull`` and upstreams.

1. All records are read and compared with the manifest; their block digests must give its digest. Nothing is written
   before that.
2. Plan and Zarr metadata are put.
3. For each fragment, its objects are put, then its record: all objects in a record exist.
4. All objects are listed with their sizes, and the manifest is put.

This is the order of a build: an interrupted copy is an unfinished build, which no reader sees, and which the next copy
or build resumes. Every object is compared with its record (size and SHA-256) before it is put.

The source is not trusted: strict models check its documents, and objects above their size limit are not read. Records in
the destination are trusted, because they were put after their objects, whose sizes come from one listing; in a folder,
where it costs no transfer, the objects are hashed again (docs/decisions/0010-copies-are-builds.md).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from spikestore.store.concurrency import ByteBudget, in_order, wait_for
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store.sharing.acceptance import (
    other_digest,
    refuse_giants,
    refuse_other_content,
    refuse_other_totals,
)
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.staging import Staging
from spikestore.store.trust.documents import RecordTotals, manifest_of, plan_of, record_of
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store_schemas.documents.record import ObjectEntry, Record
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    MissingObjectError,
    StorageFullError,
    StoreError,
)
from spikestore.store_schemas.specs.canonical import canonical_json, sha256_hex

logger = logging.getLogger(__name__)

THREADS = 8
"""Objects copied in parallel, within the budget."""

BUDGET = 512 * 2**20
"""Limit of the objects in memory, in bytes; a larger object is copied alone."""

_FRAGMENTS = 8
"""Fragments copied in parallel; each record waits only for its own objects."""

_KEPT = 64 * 2**20
"""Limit of the records that are kept in memory from the survey to the copy, in bytes; further ones are read twice."""


@dataclass(frozen=True)
class Copied:
    """Result of a copy.

    Attributes
    ----------
    features : FeatureSet
        The set in the destination.
    total : int
        Size of the set in bytes; 0 if the destination had it already.
    there : int
        Bytes of it that the destination had before the copy.
    """

    features: FeatureSet
    total: int
    there: int


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
        The set in its source. Of its builds only the committed one is copied.
    destination : Storage
        Storage of the other store.
    label : str
        Name of the set in messages and progress.
    deep : bool
        Also decode the set before storing it, so that the samples have its digest even if the source is malicious.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    DamagedError
        The source is damaged; nothing is committed in the destination.
    ConflictError
        The destination has another set, or other objects, at the same paths.
    StorageFullError
        The destination has not enough space.
    StoreError
        The source cannot be read, or the destination not written to.
    """
    try:
        existing = FeatureSet.open(destination, features.address)
    except MissingObjectError:
        return _Copy(features, destination, label, deep, progress).run()
    if existing.digest != features.digest:
        raise other_digest(existing, features)
    logger.info("%s is in %s already (digest %s)", label, destination.url, existing.digest[:12])
    return Copied(existing, 0, 0)


class _Copy:
    """A copy in progress; `run` is called once."""

    def __init__(
        self, features: FeatureSet, destination: Storage, label: str, deep: bool, progress: Progress | None
    ) -> None:
        self._source = features.storage
        self._features = features
        self._destination = destination
        self._build = features.address.build(features.manifest.plan_id)
        self._label = label
        self._deep = deep
        self._progress = progress or (lambda done, total, label: None)
        self._budget = ByteBudget(BUDGET)
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._checker = FragmentChecker(features.address, features.manifest, features.root)
        self._stopped = threading.Event()
        self._have: dict[str, int] = {}
        self._expected: dict[str, int] = {}
        self._records: dict[int, bytes] = {}
        self._done = self._total = 0

    def run(self) -> Copied:
        """Copy all objects that the destination lacks."""
        self._have = {entry.path: entry.size for entry in self._destination.list(self._build)}
        self._count_documents()
        self._survey()
        present = sum(size for path, size in self._expected.items() if self._have.get(path) == size)
        self._total = sum(self._expected.values())
        self._refuse_full(self._total - present)
        if present:
            message = "%s: %s of %s bytes are in %s already"
            logger.info(message, self._label, f"{present:,}", f"{self._total:,}", self._destination.url)
        self._done = present
        self._progress(self._done, self._total, self._label)
        self._plan()
        self._copy()
        self._all_there()
        return Copied(self._commit(), self._total, present)

    def _count_documents(self) -> None:
        for name, document in documents(self._features.root).items():
            self._expected[f"{self._features.data_path}/{name}"] = len(canonical_json(document))

    def _survey(self) -> None:
        """Check all records before anything is written."""
        kept, totals = 0, RecordTotals()
        numbers = range(len(self._features.manifest.fragments))
        for number, data in enumerate(in_order(self._record_bytes, numbers, threads=THREADS)):
            record = record_of(self._features.address, self._features.manifest, number, data)
            refuse_giants(self._features, record)
            self._expected[self._record_path(number)] = len(data)
            self._expected |= {self._path(entry): entry.size for entry in record.objects}
            totals.add(record)
            if kept + len(data) <= _KEPT:
                self._records[number] = data
                kept += len(data)
        refuse_other_totals(self._features, totals)

    def _record_bytes(self, number: int) -> bytes:
        path = self._record_path(number)
        if path not in self._have:
            return self._features.record_bytes(number)
        data = self._destination.get(path)
        if sha256_hex(data) != self._features.manifest.fragments[number].record:
            raise self._other(path)
        return data

    def _refuse_full(self, needed: int) -> None:
        free = self._destination.free_bytes()
        if free is not None and needed > free:
            url = self._destination.url
            raise StorageFullError(
                f"{self._label} needs {needed:,} more bytes, but {url} has {free:,} free: free some space and run the "
                "command again",
                path=url,
                needed=needed,
                free=free,
            )

    def _plan(self) -> None:
        """Copy the plan, so that a build in the destination joins the copy."""
        path = self._features.address.plan
        try:
            data = self._source.get(path)
        except MissingObjectError:
            logger.warning("%s is not in %s, so the copy lacks it too", path, self._source.url)
            return
        plan_of(self._features.address, data)
        self._destination.put_if_absent(path, data)  # another plan that exists already is kept

    def _document(self, name: str, document: dict[str, Any]) -> None:
        path, data = f"{self._features.data_path}/{name}", canonical_json(document)
        if path in self._have and self._destination.get(path) != data:
            raise self._other(path)
        self._put(path, data)

    def _copy(self) -> None:
        numbers = range(len(self._features.manifest.fragments))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="spikestore-object") as pool:

            def stop() -> None:  # after an error or Ctrl-C: objects that have not begun are not copied
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)

            small = [pool.submit(self._document, *named) for named in documents(self._features.root).items()]
            work = functools.partial(self._fragment, pool=pool)
            for _ in in_order(work, numbers, threads=_FRAGMENTS, stop=stop):
                pass
            wait_for(small)

    def _fragment(self, number: int, pool: ThreadPoolExecutor) -> None:
        data = self._records.pop(number, None) or self._record_bytes(number)
        record = record_of(self._features.address, self._features.manifest, number, data)
        put = self._fragment_decoded if self._deep else self._fragment_as_it_is
        put(record, pool)
        self._put(self._record_path(number), data)

    def _fragment_as_it_is(self, record: Record, pool: ThreadPoolExecutor) -> None:
        folder = self._destination if isinstance(self._destination, FolderStorage) else None
        with contextlib.nullcontext() if folder is None else Staging(folder) as staging:
            wait_for(pool.submit(self._object, entry, record.fragment, staging) for entry in record.objects)
            if staging is not None:
                self._publish(staging, record)

    def _object(self, entry: ObjectEntry, fragment: int, staging: Staging | None) -> None:
        if self._stopped.is_set():
            raise CancelledError  # after a return, the record would be put without the object
        with self._budget.held(entry.size):
            path = self._path(entry)
            if path not in self._have and staging is not None:
                staging.write(path, self._pieces(entry))
                self._tell(entry.size)
            elif path not in self._have:
                self._put(path, self._from_source(entry))
            # A record implies its objects; in a folder, hashing them again is cheap.
            elif self._record_path(fragment) not in self._have or isinstance(
                self._destination, FolderStorage
            ):
                self._from_destination(entry)
            elif self._have[path] != entry.size:
                raise self._other(path)

    def _fragment_decoded(self, record: Record, pool: ThreadPoolExecutor) -> None:
        """Copy the objects of a fragment after decoding and checking them."""
        with self._budget.held(sum(entry.size for entry in record.objects)):
            tasks = {entry: pool.submit(self._bytes, entry) for entry in record.objects}
            objects = {entry.path: task.result() for entry, task in tasks.items()}
            with self._decoding:  # one at a time, because decoded values are many times larger
                refuse_other_content(self._features, self._checker, record, objects)
            wait_for(pool.submit(self._put, self._path(entry), objects[entry.path]) for entry in tasks)

    def _publish(self, staging: Staging, record: Record) -> None:
        wanted = {self._path(entry): entry.sha256 for entry in record.objects}
        for path in staging.publish():
            self._refuse_other(path, wanted[path])

    def _bytes(self, entry: ObjectEntry) -> bytes:
        exists = self._path(entry) in self._have
        return self._from_destination(entry) if exists else self._from_source(entry)

    def _from_source(self, entry: ObjectEntry) -> bytes:
        path = self._path(entry)
        try:
            # Hashing and storing accept any buffer; avoiding a copy is 10 % faster.
            data = cast("bytes", self._source.buffer(path, limit=entry.size))
        except MissingObjectError as error:
            raise self._damaged(path, "it is missing") from error
        if len(data) != entry.size or sha256_hex(data) != entry.sha256:
            raise self._damaged(path, "it differs from its record")
        return data

    def _pieces(self, entry: ObjectEntry) -> Iterator[memoryview]:
        path, sha256 = self._path(entry), hashlib.sha256()
        try:
            for piece in self._source.pieces(path, limit=entry.size):
                sha256.update(piece)
                yield piece
        except MissingObjectError as error:
            raise self._damaged(path, "it is missing") from error
        if sha256.hexdigest() != entry.sha256:
            raise self._damaged(path, "it differs from its record")

    def _from_destination(self, entry: ObjectEntry) -> bytes:
        path = self._path(entry)
        data = self._destination.get(path) if self._have[path] == entry.size else b""
        if sha256_hex(data) != entry.sha256:
            raise self._other(path)
        return data

    def _put(self, path: str, data: bytes) -> None:
        """Put an object unless it exists; raise `ConflictError` if another one exists."""
        if path in self._have:
            if self._have[path] != len(data):
                raise self._other(path)
            return
        if not self._destination.put_if_absent(path, data):
            self._refuse_other(path, sha256_hex(data))
        self._tell(len(data))

    def _refuse_other(self, path: str, sha256: str) -> None:
        if sha256_hex(self._destination.get(path)) != sha256:
            raise self._other(path)  # equal bytes from another copy or build are accepted

    def _tell(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._progress(self._done, self._total, self._label)

    def _all_there(self) -> None:
        sizes = {entry.path: entry.size for entry in self._destination.list(self._build)}
        wrong = [path for path, size in self._expected.items() if sizes.get(path) != size]
        if wrong:
            raise StoreError(
                f"{wrong[0]} disappeared from {self._destination.url} after it was written ({len(wrong)} such objects). Is "
                "another process deleting objects there? Run the command again",
                path=wrong[0],
            )

    def _commit(self) -> FeatureSet:
        address = self._features.address
        data = self._get(address.manifest)
        if manifest_of(address, data) != self._features.manifest:
            raise StoreError(
                f"{address.manifest} changed in {self._source.url} during the copy: run the command again",
                path=address.manifest,
            )
        self._destination.put_if_absent(address.manifest, data)
        committed = FeatureSet.open(self._destination, address)
        if committed.digest != self._features.digest:
            raise other_digest(committed, self._features)
        return committed

    def _get(self, path: str) -> bytes:
        try:
            return self._source.get(path)
        except MissingObjectError as error:
            raise self._damaged(path, "it is missing") from error

    def _path(self, entry: ObjectEntry) -> str:
        return f"{self._features.data_path}/{entry.path}"

    def _record_path(self, number: int) -> str:
        return self._features.address.record(self._features.manifest.plan_id, number)

    def _damaged(self, path: str, why: str) -> DamagedError:
        return DamagedError(f"{path} in {self._source.url} is damaged: {why}", path=path, objects=(path,))

    def _other(self, path: str) -> ConflictError:
        return ConflictError(
            f"{path} in {self._destination.url} differs from {self._source.url}: another process builds this set, or the "
            f"object is damaged. Wait for the build, or delete {self._build} in the destination (no manifest uses it)",
            path=path,
        )
