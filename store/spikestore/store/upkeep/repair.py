"""Repair: replace damaged or missing objects of a feature set by correct bytes, and remove objects that do not belong to it.

A record or the manifest lists the SHA-256 of each object. An object is replaced in one step, and only if its bytes do not have
the listed SHA-256. The new bytes have the listed SHA-256. A repair can therefore be interrupted, repeated, and run at the same time as readers and other repairs.

Correct bytes come from, in this order:

1. the other documents of the set, for the plan and the zarr.json documents;
2. the same build in another store, byte for byte;
3. the objects of a fragment, for the fragment's record;
4. rows that are encoded again: rows of another build with the same digest, or rows recomputed from the recordings.

Other versions of the codecs may encode equal rows as other bytes, whose SHA-256 no record lists. Without `rewrite`, such bytes
are rejected. With `rewrite`, the damaged fragments and the manifest are written again. The digest stays the same, so all names stay
valid (docs/integrity.md, "repair").
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from spikestore.store.build import Build
from spikestore.store.columns.digest import block_digests, set_digest
from spikestore.store.columns.event_counts import count_events
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.concurrency import in_order
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store.storage import Storage
from spikestore.store.storage.protocol import is_object_path
from spikestore.store.trust.documents import record_of
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store.upkeep.repair_documents import Repaired, put_right, repair_documents
from spikestore.store.upkeep.repair_rewrite import FragmentRows, write_anew
from spikestore.store.upkeep.verify import Damage, verify
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, Record, SkippedRow
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import ConflictError, DamagedError, MissingObjectError, StoreError
from spikestore.store_schemas.specs.canonical import canonical_json, sha256_hex

logger = logging.getLogger(__name__)

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Repair:
    """Result of a repair.

    Attributes
    ----------
    repaired : tuple of Repaired
        The repaired objects.
    left : tuple of Damage
        The remaining damages, with reasons.
    """

    repaired: tuple[Repaired, ...]
    left: tuple[Damage, ...]


RowSource = Callable[[Plan, int], FragmentRows]
"""Recomputes a fragment of a plan: its columns, skipped rows and event counts."""


def repair(
    features: FeatureSet,
    *,
    upstream: Storage | None = None,
    rows: RowSource | None = None,
    rewrite: bool = False,
    threads: int = 1,
    progress: UnlabelledProgress | None = None,
) -> Repair:
    """Repair the damaged and missing objects of a feature set, and remove objects that do not belong to it.

    Parameters
    ----------
    features : FeatureSet
        The set.
    upstream : Storage, optional
        A store with a set of the same keys and digest.
    rows : callable, optional
        Recomputes a fragment for which neither the store nor `upstream` has valid objects.
    rewrite : bool
        If this installation encodes the correct rows as other bytes than the committed bytes, store the new bytes and a new
        manifest.
    threads : int
        Number of fragments that are recomputed in parallel; each fragment needs as much memory as a task of a build.
    progress : callable, optional
        Called as ``progress(done, total)``: with bytes while the set is verified, then with fragments.

    Raises
    ------
    ConflictError
        The upstream has a set of these keys with another digest, or the recomputed rows differ from the committed rows.
    StoreError
        A storage fails, the store is not writable, or the manifest of the upstream is damaged.
    """
    damages = verify(features, progress=progress)
    if not damages:
        return Repair((), ())
    return _Repair(features, upstream, rows, rewrite, threads).run(damages, progress)


@dataclass(slots=True)
class _Fragment:
    """Result of the repair of one fragment."""

    number: int
    repaired: list[Repaired] = field(default_factory=list)
    reason: str = ""
    rewritten: FragmentRows | None = None


class _Repair:
    def __init__(
        self,
        features: FeatureSet,
        upstream: Storage | None,
        rows: RowSource | None,
        rewrite: bool,
        threads: int,
    ) -> None:
        self._features = features
        self._manifest = features.manifest
        self._storage = features.storage
        self._upstream = None if upstream is None else _same_set(features, upstream)
        self._rows = rows
        self._rewrite = rewrite
        self._threads = _THREADS if rows is None else threads  # fetching mostly waits and needs little memory
        self._repaired: list[Repaired] = []

    def run(self, damages: list[Damage], progress: UnlabelledProgress | None) -> Repair:
        documents_found = repair_documents(self._features, self._upstream_storage)
        if documents_found is None:
            return Repair((), tuple(damages))
        root, self._plan, self._repaired = documents_found
        for damage in damages:
            # `put` writes no object with a name that is not an object's.
            if damage.kind == "foreign" and is_object_path(damage.path):
                with contextlib.suppress(
                    DamagedError
                ):  # such as a folder that is not empty: it is reported again
                    self._storage.delete(damage.path)
                    why = "removed, because it does not belong to the set"
                    self._repaired.append(Repaired(damage.path, why))
        self._checker = FragmentChecker(self._features.address, self._manifest, root)
        reasons: dict[int, str] = {}
        rewritten: dict[int, FragmentRows] = {}
        numbers = sorted({damage.fragment for damage in damages if damage.fragment is not None})
        for done, fragment in enumerate(in_order(self._fragment, numbers, threads=self._threads), 1):
            self._repaired += fragment.repaired
            if fragment.reason:
                reasons[fragment.number] = fragment.reason
            if fragment.rewritten is not None:
                rewritten[fragment.number] = fragment.rewritten
            if progress is not None:
                progress(done, len(numbers))
        if rewritten and not self._promise_digest(rewritten):
            why = "not rewritten: with the recomputed rows, the set would have another digest"
            reasons |= dict.fromkeys(rewritten, why)
        elif rewritten:
            self._repaired += write_anew(self._features, self._plan, rewritten)
        damages = verify(FeatureSet.open(self._storage, self._features.address))
        left = [damage._replace(detail=self._with_reason(damage, reasons)) for damage in damages]
        return Repair(tuple(self._repaired), tuple(left))

    def _with_reason(self, damage: Damage, reasons: dict[int, str]) -> str:
        if damage.path == self._features.address.manifest:
            return f"{damage.detail}; delete this object, then run spikestore preprocess or spikestore pull; both reuse the other objects"
        if damage.fragment in reasons:
            return f"{damage.detail}; {reasons[damage.fragment]}"
        return damage.detail

    def _fragment(self, number: int) -> _Fragment:
        done = _Fragment(number)
        try:
            return self._put_fragment_right(number, done)
        except DamagedError as error:  # such as a folder in the place of an object: the others are repaired
            done.reason = str(error)
            return done

    def _put_fragment_right(self, number: int, done: _Fragment) -> _Fragment:
        record = self._record(number, done)
        if record is not None and self._from_same_build(record, done):
            return done
        for how, make in self._sources():
            try:
                rows = make(number)
            except MissingObjectError:
                continue
            except DamagedError as error:
                done.reason = f"not {how}: {error}"
                continue
            self._encode(done, record, rows, how)
            if not done.reason:
                return done
        done.reason = done.reason or self._nowhere()
        return done

    def _nowhere(self) -> str:
        if self._upstream is None and self._rows is None:
            return "pass a store that has a copy (--from URL), or the recordings (--data FOLDER)"
        return "the fragment is neither in the upstream nor computable from the recordings"

    def _record(self, number: int, done: _Fragment) -> Record | None:
        """Return the record of a fragment, or None if the record cannot be repaired.

        If the record is missing or damaged, a record with the SHA-256 in the manifest is copied from the upstream, or made from the fragment's objects, and stored.
        """
        path = self._features.address.record(self._manifest.plan_id, number)
        promised = self._manifest.fragments[number].record
        with contextlib.suppress(DamagedError):
            return self._features.record(number)
        for data in _stored(self._upstream_storage, path):
            if sha256_hex(data) == promised:
                self._put(path, data, promised, "from the upstream", done)
                return record_of(self._features.address, self._features.manifest, number, data)
        with contextlib.suppress(StoreError):
            columns = self._decoded(number)
            for events in (count_events(columns), EventCounts()):
                data = self._build(number, columns, self._skipped(number), events, self._objects(number))[1]
                if sha256_hex(data) == promised:
                    self._put(path, data, promised, "from the fragment's objects", done)
                    return record_of(self._features.address, self._features.manifest, number, data)
        return None

    def _from_same_build(self, record: Record, done: _Fragment) -> bool:
        """Replace each missing or wrong object of a fragment by the upstream's object, if the upstream's object has the hash in `record`.

        Return whether all objects are correct afterwards.
        """
        complete = True
        for entry in record.objects:
            path = f"{self._features.data_path}/{entry.path}"
            if any(sha256_hex(data) == entry.sha256 for data in _stored(self._storage, path)):
                continue
            for data in _stored(self._upstream_storage, path):
                if sha256_hex(data) == entry.sha256:
                    self._put(path, data, entry.sha256, "from the upstream", done)
                    break
            else:
                complete = False
        return complete

    def _sources(self) -> Iterator[tuple[str, Callable[[int], FragmentRows]]]:
        upstream, rows = self._upstream, self._rows
        if upstream is not None:
            yield (
                "encoded again from the rows of the upstream",
                lambda number: self._upstream_rows(upstream, number),
            )
        if rows is not None:
            yield "recomputed from the recordings", lambda number: rows(self._plan, number)

    def _upstream_rows(self, upstream: FeatureSet, number: int) -> FragmentRows:
        place = self._plan.rows(number)
        columns = upstream.read(place.start, place.stop)
        return FragmentRows(columns, self._skipped(number), count_events(columns))

    def _encode(
        self,
        done: _Fragment,
        record: Record | None,
        rows: FragmentRows,
        how: str,
    ) -> None:
        """Encode rows, and store the bytes if they have the hashes in the record.

        If the hashes differ, the bytes are not stored. Instead, the rows are put into ``done.rewritten`` if ``self._rewrite`` is true;
        otherwise the reason is put into ``done.reason``. Raise `ConflictError` if the values of the rows contradict the record.
        """
        manifest, (columns, skipped, events) = self._manifest, rows
        committed = self._skipped(done.number)
        if [row.row for row in skipped] == [row.row for row in committed]:
            skipped = committed  # another version may give the same reasons in other words
        for counted in (events, EventCounts()):  # a builder need not have counted events
            objects, data = self._build(done.number, columns, skipped, counted)
            if record is not None:
                break
            if sha256_hex(data) == manifest.fragments[done.number].record:
                path = self._features.address.record(manifest.plan_id, done.number)
                record = record_of(self._features.address, self._features.manifest, done.number, data)
                self._put(path, data, sha256_hex(data), how, done)
        if record is not None:
            if tuple(block_digests(columns.as_stored(manifest.layout), manifest.layout)) != record.blocks:
                raise ConflictError(
                    f"fragment {done.number} of {self._features.data_path}, {how}, has other values than the committed fragment: the recordings, or the "
                    "code that reads them, changed since the build",
                    path=self._features.data_path,
                )
            wanted = {entry.path: entry.sha256 for entry in record.objects}
            if all(sha256_hex(stored) == wanted.get(path) for path, stored in objects.items()):
                for path, stored in objects.items():
                    self._put(f"{self._features.data_path}/{path}", stored, wanted[path], how, done)
                done.reason = ""
                return
        if self._rewrite:
            done.rewritten = FragmentRows(columns, skipped, record.events if record is not None else events)
            done.reason = ""
            return
        done.reason = (
            f"the rows were {how}, but this installation encodes them as other bytes, because its version of zarr, numcodecs or pcodec "
            "is not the version of the build: pass --from with a store that has the committed bytes, or pass --rewrite to "
            "store the new bytes. The digest and all names stay the same"
        )

    def _promise_digest(self, rewritten: dict[int, FragmentRows]) -> bool:
        """Return whether the set keeps its digest with the rewritten rows. Rows of a fragment with a damaged record are checked nowhere else."""
        manifest, blocks = self._manifest, list[str]()
        for number in range(len(manifest.fragments)):
            if number in rewritten:
                columns = rewritten[number].columns.as_stored(manifest.layout)
                blocks += block_digests(columns, manifest.layout)
                continue
            try:
                blocks += self._features.record(number).blocks
            except DamagedError:
                return False
        skipped = [row.row for row in manifest.skipped]
        return set_digest(manifest.layout, manifest.samples, skipped, blocks) == manifest.digest

    def _build(
        self,
        number: int,
        columns: SampleColumns,
        skipped: Iterable[SkippedRow],
        events: EventCounts,
        objects: dict[str, bytes] | None = None,
    ) -> tuple[dict[str, bytes], bytes]:
        """Return the objects and the record that a builder would write for a fragment.

        `objects` are stored objects of the fragment, by path; they are kept as they are, and only the others are made anew.
        The record lists the hashes of all.
        """
        from obstore.store import MemoryStore

        from spikestore.store.storage.objects import ObjectStorage

        memory = ObjectStorage(MemoryStore(), "memory://repair")
        build = Build(memory, self._plan)
        data = self._features.address.data(self._manifest.plan_id)
        for path, stored in (objects or {}).items():
            memory.put_if_absent(f"{data}/{path}", stored)
        if objects:
            for path, document in documents(self._plan.zarr).items():
                memory.put_if_absent(f"{data}/{path}", canonical_json(document))
        record = build.put_fragment(number, columns, skipped=skipped, events=events)
        made = {entry.path: memory.get(f"{data}/{entry.path}") for entry in record.objects}
        return made, memory.get(self._features.address.record(self._manifest.plan_id, number))

    def _objects(self, number: int) -> dict[str, bytes]:
        objects: dict[str, bytes] = {}
        for name in self._manifest.layout.array_names:
            for data in _stored(self._storage, f"{self._features.data_path}/{name}/c/{number}"):
                objects[f"{name}/c/{number}"] = data
        return objects

    def _decoded(self, number: int) -> SampleColumns:
        return self._checker.read(number, self._objects(number))

    def _skipped(self, number: int) -> tuple[SkippedRow, ...]:
        rows = self._plan.rows(number)
        return tuple(row for row in self._manifest.skipped if row.row in rows)

    def _put(self, path: str, data: bytes, sha256: str, how: str, done: _Fragment) -> None:
        if put_right(self._storage, path, data, sha256):
            done.repaired.append(Repaired(path, how))

    @property
    def _upstream_storage(self) -> Storage | None:
        return None if self._upstream is None else self._upstream.storage


def _same_set(features: FeatureSet, upstream: Storage) -> FeatureSet | None:
    try:
        other = FeatureSet.open(upstream, features.address)
    except MissingObjectError:
        logger.warning("%s has no %s", upstream.url, features.address.folder)
        return None
    if other.digest != features.digest:
        raise ConflictError(
            f"{upstream.url} has {features.address.folder} with digest {other.digest[:12]}, expected "
            f"{features.digest[:12]}: nothing was copied from it",
            path=features.address.manifest,
        )
    return other


def _stored(storage: Storage | None, path: str) -> Iterator[bytes]:
    """Yield an object's bytes, if the object exists."""
    if storage is not None:
        with contextlib.suppress(MissingObjectError, DamagedError):
            yield storage.get(path)
