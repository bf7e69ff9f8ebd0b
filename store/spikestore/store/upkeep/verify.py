"""Verify: compare the stored objects of a feature set with its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from spikestore.store.concurrency import in_order
from spikestore.store.feature_set import FeatureSet
from spikestore.store.machine import available_cores
from spikestore.store.progress import UnlabelledProgress
from spikestore.store.trust.documents import RecordTotals, plan_of
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store_schemas.documents.record import ObjectEntry, Record
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, NewerFormatError, StoreError
from spikestore.store_schemas.specs.canonical import canonical_json, sha256_hex

Depth = Literal["quick", "normal", "deep"]


DamageKind = Literal["missing", "damaged", "foreign", "newer"]


class Damage(NamedTuple):
    """An object that is missing, damaged or foreign, or that this version cannot read; see `kind`."""

    path: str
    """Path of the object, below the store's root."""
    detail: str
    """Description of the damage."""
    kind: DamageKind = "damaged"
    """``missing``: the object does not exist; ``damaged``: its bytes differ from the committed bytes; ``foreign``: it does not
    belong to the set; ``newer``: it is not damaged, but has a format that this version cannot read."""
    fragment: int | None = None
    """Number of the object's fragment, if any."""

    @classmethod
    def missing(cls, path: str, fragment: int | None = None) -> Damage:
        """Return the `Damage` for a missing object."""
        return cls(path, "missing", "missing", fragment)


def verify(
    features: FeatureSet,
    *,
    depth: Depth = "normal",
    workers: int | None = None,
    progress: UnlabelledProgress | None = None,
) -> list[Damage]:
    """Return the differences between a feature set's stored objects and its manifest.

    The manifest itself was checked when `features` was opened.

    Parameters
    ----------
    features : FeatureSet
        The set.
    depth : {"quick", "normal", "deep"}
        ``quick`` checks the documents, and the names and sizes of the other objects. ``normal`` also hashes every stored object,
        which detects every flipped bit. ``deep`` also decodes all objects and recomputes the digest.
    workers : int, optional
        Threads that read and hash, by default one per core but at most 16; hashing and decoding release the GIL.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total)``.

    Returns
    -------
    list of Damage
        One for every object that is damaged, missing or unexpected, or has a newer format; empty for an intact set.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    return list(_Verification(features, depth, workers, progress).run())


MOST_WORKERS = 16
_BATCH_BYTES, _BATCH_FRAGMENTS = 16 * 2**20, 64


@dataclass(slots=True)
class _Checked:
    """Result of checking some fragments."""

    damages: list[Damage] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    size: int = 0


def _batches(fragments: range, size: int, depth: Depth) -> Iterator[range]:
    """Divide fragments, each of about `size` bytes, into groups; a thread verifies one group at a time."""
    most = _BATCH_BYTES // (4 if depth == "deep" else 1)
    count = min(max(1, most // max(size, 1)), _BATCH_FRAGMENTS)
    for start in range(0, len(fragments), count):
        yield fragments[start : start + count]


class _Verification:
    def __init__(
        self, features: FeatureSet, depth: Depth, workers: int | None, progress: UnlabelledProgress | None
    ) -> None:
        self._features = features
        self._depth = depth
        self._workers = workers or min(available_cores(), MOST_WORKERS)
        self._progress = progress or (lambda done, total: None)
        self._storage = features.storage
        self._build = features.address.build(features.manifest.plan_id)
        self._done = 0

    def run(self) -> Iterator[Damage]:
        expected: set[str] = set()
        broken: list[Damage] = []
        try:
            self._sizes = {entry.path: entry.size for entry in self._storage.list(self._build)}
        except DamagedError as error:  # something else is in the place of the build's folder
            self._sizes = {}
            broken.append(damage_of(error, self._build))
        self._total = sum(self._sizes.values())
        broken += [*self._plan(), *self._metadata(expected)]
        metadata_is_whole = not any(damage.path.endswith("zarr.json") for damage in broken)
        totals = RecordTotals()
        fragments = range(len(self._features.manifest.fragments))
        look = self._look_and_decode if self._depth == "deep" and metadata_is_whole else self._look
        for checked in in_order(
            look, _batches(fragments, self._mean_size(), self._depth), threads=self._workers
        ):
            broken += checked.damages
            expected |= checked.expected
            for record in checked.records:
                totals.add(record)
            self._count(checked.size)
        broken += [
            Damage(path, "does not belong to the set", "foreign")
            for path in sorted(self._sizes.keys() - expected)
        ]
        if totals.records == len(fragments):
            contradiction = totals.contradiction(self._features.manifest)
            if contradiction is not None:
                broken.append(Damage(self._features.address.manifest, contradiction))
        yield from broken

    def _mean_size(self) -> int:
        return self._total // len(self._features.manifest.fragments)

    def _look(self, fragments: range) -> _Checked:
        """Compare the stored objects of some fragments with the sizes and hashes in the records of these fragments."""
        checked = _Checked()
        for fragment in fragments:
            self._look_at(fragment, checked)
        return checked

    def _look_and_decode(self, fragments: range) -> _Checked:
        """Compare objects with their records, as `_look` does, and decode the same bytes; each object is read once."""
        checked = _Checked()
        for fragment in fragments:
            objects: dict[str, bytes] = {}
            record = self._look_at(fragment, checked, objects)
            if record is None or len(objects) < len(record.objects):
                continue
            try:
                columns = self._checker.read(fragment, objects)
            except StoreError as error:
                path = f"{self._features.data_path} (fragment {fragment})"
                checked.damages.append(Damage(path, str(error), fragment=fragment))
                continue
            contradiction = self._checker.contradiction(record, columns)
            if contradiction is not None:
                path = self._features.address.record(self._features.manifest.plan_id, fragment)
                checked.damages.append(Damage(path, contradiction, fragment=fragment))
        return checked

    def _look_at(
        self, fragment: int, checked: _Checked, objects: dict[str, bytes] | None = None
    ) -> Record | None:
        path = self._features.address.record(self._features.manifest.plan_id, fragment)
        checked.expected.add(path)
        checked.size += self._sizes.get(path, 0)
        try:
            record = self._features.record(fragment)
        except DamagedError as error:
            checked.damages.append(damage_of(error, path, fragment))
            # Without a record the fragment's objects are unknown, so none of them is unexpected.
            checked.expected |= {each for each in self._candidates(fragment) if each in self._sizes}
            checked.size += sum(self._sizes.get(each, 0) for each in self._candidates(fragment))
            if self._depth != "quick":
                checked.damages += self._without_record(fragment, path)
            return None
        checked.records.append(record)
        for entry in record.objects:
            object_path = f"{self._features.data_path}/{entry.path}"
            checked.expected.add(object_path)
            data = self._object(entry, fragment, checked)
            if objects is not None and data is not None:
                objects[entry.path] = data
            checked.size += self._sizes.get(object_path, 0)
        return record

    def _candidates(self, fragment: int) -> list[str]:
        names = self._features.layout.array_names
        return [f"{self._features.data_path}/{name}/c/{fragment}" for name in names]

    def _without_record(self, fragment: int, record: str) -> Iterator[Damage]:
        """Check a fragment whose record is damaged: `FeatureSet.read` compares its rows with the hashes in the array ``check``."""
        rows = self._features.manifest.fragments[fragment]
        start = fragment * self._features.manifest.fragment_samples
        try:
            self._features.read(start, start + rows.samples)
        except DamagedError as error:
            for path in error.details.get("objects", ()):
                if path != record:
                    yield Damage(path, str(error), fragment=fragment)

    def _plan(self) -> Iterator[Damage]:
        """Check the plan: readers do not need it, but a damaged plan would stop the next build."""
        path = self._features.address.plan
        try:
            plan_of(self._features.address, self._storage.get(path))
        except MissingObjectError:
            yield Damage.missing(path)
        except StoreError as error:
            yield damage_of(error, path)

    def _metadata(self, expected: set[str]) -> Iterator[Damage]:
        data = self._features.data_path
        root_path = f"{data}/zarr.json"
        names = self._features.layout.array_names
        expected |= {root_path, *(f"{data}/{name}/zarr.json" for name in names)}
        try:
            root = self._features.root
        except StoreError as error:
            yield damage_of(error, root_path)
            return
        for path, document in documents(root).items():
            try:
                stored = self._storage.get(f"{data}/{path}")
            except MissingObjectError:
                yield Damage.missing(f"{data}/{path}")
                continue
            except DamagedError as error:
                yield damage_of(error, f"{data}/{path}")
                continue
            self._count(len(stored))
            if stored != canonical_json(document):
                yield Damage(f"{data}/{path}", "differs from the consolidated metadata")

    def _object(self, entry: ObjectEntry, fragment: int, checked: _Checked) -> bytes | None:
        """Compare an object with its record. Return its bytes if they are correct; None if they are not, or if `_depth` is quick, which reads no bytes."""
        path = f"{self._features.data_path}/{entry.path}"
        if path not in self._sizes:
            checked.damages.append(Damage.missing(path, fragment))
        elif self._sizes[path] != entry.size:
            sizes = f"has {self._sizes[path]} bytes, expected {entry.size}"
            checked.damages.append(Damage(path, sizes, fragment=fragment))
        elif self._depth != "quick":
            try:
                data = self._storage.get(path)
            except (MissingObjectError, DamagedError) as error:
                checked.damages.append(damage_of(error, path, fragment))
                return None
            if sha256_hex(data) == entry.sha256:
                return data
            detail = "its SHA-256 differs from its record"
            checked.damages.append(Damage(path, detail, fragment=fragment))
        return None

    @cached_property
    def _checker(self) -> FragmentChecker:
        return FragmentChecker(self._features.address, self._features.manifest, self._features.root)

    def _count(self, size: int) -> None:
        self._done = min(self._done + size, self._total)
        self._progress(self._done, self._total)


def damage_of(error: StoreError, path: str, fragment: int | None = None) -> Damage:
    """Return the `Damage` that an error describes. If the error names no object, the damaged object is `path`."""
    if isinstance(error, NewerFormatError):
        return Damage(error.details.get("path", path), str(error), "newer", fragment)
    objects = error.details.get("objects") or (path,)
    missing = isinstance(error, MissingObjectError) or isinstance(error.__cause__, MissingObjectError)
    detail = error.details.get("why") or str(error)
    return Damage(objects[0], detail, "missing" if missing else "damaged", fragment)
