"""Repair: put right bytes in the place of damaged or missing ones, and change nothing else.

An object is only ever replaced by bytes of the SHA-256 that its record, or the manifest, promises, in one step, and
only where what is stored has another one. So a repair can be stopped, repeated, and run beside readers and others.

Where right bytes come from, in this order:

1. from the set itself: the plan and the zarr.json documents say each other, and a record follows from its objects;
2. from the same build in another store: byte for byte;
3. from rows that are encoded again: those of another build of the same digest, or recomputed from the recordings.

Other versions of the codecs may encode equal rows as other bytes. These have no place in a build whose manifest
promises others: they are refused, or, with `rewrite`, the fragments and the manifest are written anew, with the same
digest, so that all names stay right (docs/integrity.md, "repair").
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from spikestore.store.build import Build
from spikestore.store.columns.digest import block_digests, set_digest
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.concurrency import in_order
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store.storage import Storage
from spikestore.store.storage.protocol import is_object_path
from spikestore.store.trust.documents import record_of
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store.upkeep.repair_documents import Repaired, put_right, repair_documents
from spikestore.store.upkeep.repair_rewrite import Rows, events_of, write_anew
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
    """What a repair did.

    Attributes
    ----------
    repaired : tuple of Repaired
        What was put right.
    left : tuple of Damage
        What is still wrong, and why.
    """

    repaired: tuple[Repaired, ...]
    left: tuple[Damage, ...]


RowSource = Callable[[Plan, int], Rows]
"""Makes the rows of a fragment of a plan again: its columns, the rows that were skipped, and what happened to events."""


def repair(
    features: FeatureSet,
    *,
    upstream: Storage | None = None,
    rows: RowSource | None = None,
    rewrite: bool = False,
    threads: int = 1,
    progress: UnlabelledProgress | None = None,
) -> Repair:
    """Put right what is damaged or missing in a feature set.

    Parameters
    ----------
    features : FeatureSet
        The set.
    upstream : Storage, optional
        A store that has a set of the same keys and digest.
    rows : callable, optional
        Computes a fragment again, for what no other place has.
    rewrite : bool
        Where rows are right and their bytes are not those of the record, store these and write the manifest anew.
    threads : int
        Fragments that are computed again at once; each takes the memory of a task of a build.
    progress : callable, optional
        Called as ``progress(done, total)``: with stored bytes while the set is verified, with fragments after that.

    Raises
    ------
    ConflictError
        The upstream has a set of these keys with another digest, or the recordings give other rows.
    StoreError
        A storage fails, or the store can't be written to.
    """
    found = verify(features, progress=progress)
    if not found:
        return Repair((), ())
    return _Repair(features, upstream, rows, rewrite, threads).run(found, progress)


@dataclass(slots=True)
class _Fragment:
    """What became of one fragment."""

    number: int
    repaired: list[Repaired] = field(default_factory=list)
    reason: str = ""
    rewritten: Rows | None = None


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
        self._threads = _THREADS if rows is None else threads  # who fetches waits, and needs little memory
        self._repaired: list[Repaired] = []

    def run(self, found: list[Damage], progress: UnlabelledProgress | None) -> Repair:
        documents_found = repair_documents(self._features, self._upstream_storage)
        if documents_found is None:
            return Repair((), tuple(found))
        root, self._plan, self._repaired = documents_found
        for damage in found:
            if damage.kind == "foreign" and is_object_path(
                damage.path
            ):  # another name is nothing that `put` wrote
                self._storage.delete(damage.path)
                self._repaired.append(Repaired(damage.path, "removed, it does not belong to the set"))
        self._checker = FragmentChecker(self._features.address, self._manifest, root)
        reasons: dict[int, str] = {}
        rewritten: dict[int, Rows] = {}
        numbers = sorted(self._damaged_fragments(found))
        for done, one in enumerate(in_order(self._fragment, numbers, threads=self._threads), 1):
            self._repaired += one.repaired
            if one.reason:
                reasons[one.number] = one.reason
            if one.rewritten is not None:
                rewritten[one.number] = one.rewritten
            if progress is not None:
                progress(done, len(numbers))
        if rewritten and not self._promise_digest(rewritten):
            why = "not written anew: with the rows that were made again, the set would not have its digest"
            reasons |= dict.fromkeys(rewritten, why)
        elif rewritten:
            self._repaired += write_anew(self._features, self._plan, rewritten)
        damages = verify(FeatureSet.open(self._storage, self._features.address))
        left = [damage._replace(detail=self._with_reason(damage, reasons)) for damage in damages]
        return Repair(tuple(self._repaired), tuple(left))

    def _with_reason(self, damage: Damage, reasons: dict[int, str]) -> str:
        if damage.path == self._features.address.manifest:
            return f"{damage.detail}; delete this object, then run preprocess or pull, which reuses the rest"
        if damage.fragment in reasons:
            return f"{damage.detail}; {reasons[damage.fragment]}"
        return damage.detail

    def _damaged_fragments(self, found: list[Damage]) -> set[int]:
        return {damage.fragment for damage in found if damage.fragment is not None}

    def _fragment(self, number: int) -> _Fragment:
        done = _Fragment(number)
        try:
            return self._put_fragment_right(number, done)
        except (
            DamagedError
        ) as error:  # such as a folder in the place of an object: the other fragments are repaired
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
            return "name a store that has it (--from URL), or the recordings (--data FOLDER)"
        return "neither upstream nor the recordings have it"

    def _record(self, number: int, done: _Fragment) -> Record | None:
        """Return the record as the manifest promises it, from the store, upstream, or made of its objects."""
        path = self._features.address.record(self._manifest.plan_id, number)
        promised = self._manifest.fragments[number].record
        with contextlib.suppress(DamagedError):
            return self._features.record(number)
        for data in _stored(self._upstream_storage, path):
            if sha256_hex(data) == promised:
                self._put(path, data, promised, "from upstream", done)
                return record_of(self._features.address, self._features.manifest, number, data)
        with contextlib.suppress(StoreError):
            columns = self._decoded(number)
            for events in (events_of(columns), EventCounts()):
                data = self._build(number, columns, self._skipped(number), events, self._objects(number))[1]
                if sha256_hex(data) == promised:
                    self._put(path, data, promised, "from the fragment's objects", done)
                    return record_of(self._features.address, self._features.manifest, number, data)
        return None

    def _from_same_build(self, record: Record, done: _Fragment) -> bool:
        """Fetch the objects that are not what the record says; tell whether all are right then."""
        complete = True
        for entry in record.objects:
            path = f"{self._features.data_path}/{entry.path}"
            if any(sha256_hex(data) == entry.sha256 for data in _stored(self._storage, path)):
                continue
            for data in _stored(self._upstream_storage, path):
                if sha256_hex(data) == entry.sha256:
                    self._put(path, data, entry.sha256, "from upstream", done)
                    break
            else:
                complete = False
        return complete

    def _sources(self) -> Iterator[tuple[str, Callable[[int], Rows]]]:
        upstream, rows = self._upstream, self._rows
        if upstream is not None:
            yield "encoded again from the rows upstream", lambda number: self._upstream_rows(upstream, number)
        if rows is not None:
            yield "computed again from the recordings", lambda number: rows(self._plan, number)

    def _upstream_rows(self, upstream: FeatureSet, number: int) -> Rows:
        place = self._plan.rows(number)
        columns = upstream.read(place.start, place.stop)
        return Rows(columns, self._skipped(number), events_of(columns))

    def _encode(
        self,
        done: _Fragment,
        record: Record | None,
        rows: Rows,
        how: str,
    ) -> None:
        """Store rows if they encode as the bytes that were promised; else say why not, or keep them for a rewrite."""
        manifest, (columns, skipped, events) = self._manifest, rows
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
                    f"fragment {done.number} {how} has other values than were committed: the recordings, or the code "
                    "that reads them, are not those of the build",
                    path=self._features.data_path,
                )
            wanted = {entry.path: entry.sha256 for entry in record.objects}
            if all(sha256_hex(stored) == wanted.get(path) for path, stored in objects.items()):
                for path, stored in objects.items():
                    self._put(f"{self._features.data_path}/{path}", stored, wanted[path], how, done)
                done.reason = ""
                return
        if self._rewrite:
            done.rewritten = Rows(columns, skipped, record.events if record is not None else events)
            done.reason = ""
            return
        done.reason = (
            f"{how}, the rows are there, but this installation encodes them as other bytes than the build did (other "
            "versions of zarr, numcodecs or pcodec): repair from a store that has this very build, or store them with "
            "--rewrite, which keeps the digest and all names"
        )

    def _promise_digest(self, rewritten: dict[int, Rows]) -> bool:
        """Tell whether the set has its digest with these rows: the one witness where records are damaged too."""
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
        """Return the objects and the record of a fragment as a builder would leave them; of `objects`, if given."""
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
        found: dict[str, bytes] = {}
        for name in self._manifest.layout.array_names:
            for data in _stored(self._storage, f"{self._features.data_path}/{name}/c/{number}"):
                found[f"{name}/c/{number}"] = data
        return found

    def _decoded(self, number: int) -> SampleColumns:
        return self._checker.read(number, self._objects(number))

    def _skipped(self, number: int) -> tuple[SkippedRow, ...]:
        rows = self._plan.rows(number)
        return tuple(one for one in self._manifest.skipped if one.row in rows)

    def _put(self, path: str, data: bytes, sha256: str, how: str, done: _Fragment) -> None:
        if put_right(self._storage, path, data, sha256):
            done.repaired.append(Repaired(path, how))

    @property
    def _upstream_storage(self) -> Storage | None:
        return None if self._upstream is None else self._upstream.storage


def _same_set(features: FeatureSet, upstream: Storage) -> FeatureSet | None:
    try:
        there = FeatureSet.open(upstream, features.address)
    except MissingObjectError:
        logger.warning("%s has no %s", upstream.url, features.address.folder)
        return None
    if there.digest != features.digest:
        raise ConflictError(
            f"{upstream.url} has {features.address.folder} with digest {there.digest[:12]}, not {features.digest[:12]}: "
            "nothing of it is taken",
            path=features.address.manifest,
        )
    return there


def _stored(storage: Storage | None, path: str) -> Iterator[bytes]:
    """Yield an object's bytes, if there is one."""
    if storage is not None:
        with contextlib.suppress(MissingObjectError, DamagedError):
            yield storage.get(path)
