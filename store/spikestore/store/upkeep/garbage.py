"""Garbage collection: unfinished builds and, on request, feature sets without a name.

There are no locks, so the order of steps protects other processes (docs/integrity.md, "gc"):

- An unfinished build is garbage when its newest object is a week old, because a running builder writes a record every few
  minutes. The root zarr.json of the build is deleted first: without it, no builder considers the build complete. Then the
  manifest is read again, and the rest of the build is deleted only if no manifest names this build.
- The manifest of a feature set is deleted before its other objects. Then names are read again. If a name refers to the set now,
  the manifest is restored. A process that writes a name checks the manifest afterwards. So at least one
  of the two processes notices the other: gc sees the name, or the writer of the name sees that the manifest is missing.
- At the end, the manifest is read once more. A builder or a push that listed the objects before gc removed them may have stored the
  manifest again. If there is a manifest but objects are missing, gc deletes the manifest again, so that a set is complete or absent.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from spikestore.store import refs
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store.selection import all_addresses
from spikestore.store.storage import Storage, StoredObject
from spikestore.store.storage.protocol import is_object_path
from spikestore.store.trust.documents import manifest_of, plan_of
from spikestore.store.upkeep.odd_entries import odd_entries
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    ReadOnlyStoreError,
    StoreError,
)
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

AGE = timedelta(days=7)
"""Minimum age of the newest object of garbage."""

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects that `collect` may remove.

    Attributes
    ----------
    kind : {"build", "plan", "feature set", "half-written"}
        An unfinished build, an unused plan, a committed set without a name, or temporary files of crashed writers.
    path : str
        Folder of the objects; for a plan, path of the plan.
    objects : int
        Number of objects.
    size : int
        Size of all objects, in bytes.
    newest : datetime
        Time of the last write, UTC.
    address : Address, optional
        Keys of the feature set; None for temporary files.
    """

    kind: Literal["build", "plan", "feature set", "half-written"]
    path: str
    objects: int
    size: int
    newest: datetime
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """Result of `find_garbage`.

    Attributes
    ----------
    garbage : tuple of Garbage
        Objects that `collect` would remove.
    kept : tuple of str
        Objects that look like garbage but are kept, folders that cannot be read, and entries that do not belong to a store, each with the
        reason.
    """

    garbage: tuple[Garbage, ...]
    kept: tuple[str, ...]


def find_garbage(
    storage: Storage, *, unreferenced: bool = False, age: timedelta = AGE, now: datetime | None = None
) -> Survey:
    """Return the garbage in a store, without changing the store.

    Parameters
    ----------
    storage : Storage
        The store.
    unreferenced : bool
        Include feature sets without a name.
    age : timedelta
        An unfinished build, an unused plan or an unnamed set is garbage only if its newest object is at least this old. A
        temporary file is garbage only if it is at least this old.
    now : datetime, optional
        Current time, UTC; for tests.

    Raises
    ------
    DamagedError, NewerFormatError
        `unreferenced` is true, and a name cannot be read, so its sets are unknown.
    """
    oldest = (now or datetime.now(UTC)) - age
    named = _named(storage) if unreferenced else set()
    garbage: list[Garbage] = []
    kept: list[str] = []
    for address in all_addresses(storage):
        try:
            objects = [*storage.list(address.folder)]
            manifest = _manifest(storage, address)
        except StoreError as error:
            kept.append(f"{address.folder}: {error}")
            continue
        builds: dict[str, list[StoredObject]] = {}
        for entry in objects:
            rest = entry.path.removeprefix(f"{address.folder}/builds/")
            plan_id, in_folder, _ = rest.partition("/")
            # `odd_entries` reports the others: files beside the builds, and names that no object can have.
            if rest != entry.path and in_folder and is_object_path(address.build(plan_id)):
                builds.setdefault(plan_id, []).append(entry)
        committed = None if manifest is None else manifest.plan_id
        for plan_id, entries in builds.items():
            if plan_id != committed and _newest(entries) < oldest:
                garbage.append(_garbage("build", address.build(plan_id), entries, address))
        plan = next((entry for entry in objects if entry.path == address.plan), None)
        if (
            committed is None
            and plan is not None
            and plan.modified < oldest
            and not _has_build(storage, address, builds)
        ):
            garbage.append(_garbage("plan", plan.path, [plan], address))
        if unreferenced and committed is not None and address not in named:
            own = [entry for entry in objects if not _of_other_build(entry.path, address, committed)]
            if _newest(own) < oldest:
                garbage.append(_garbage("feature set", address.folder, own, address))
            else:
                kept.append(
                    f"{address.folder}: no name refers to this set, but the set is younger than {_days(age)}"
                )
    try:
        half = [entry for entry in storage.list(".tmp") if entry.modified < oldest]
    except DamagedError as error:
        half = []
        kept.append(str(error))
    if half:
        garbage.append(_garbage("half-written", ".tmp", half, None))
    kept += [f"{entry.path}: {entry.detail}" for entry in odd_entries(storage)]
    return Survey(tuple(garbage), tuple(kept))


def collect(
    storage: Storage,
    garbage: Iterable[Garbage],
    *,
    age: timedelta = AGE,
    now: datetime | None = None,
    progress: UnlabelledProgress | None = None,
) -> tuple[Garbage, ...]:
    """Remove garbage and return the removed items; an item is kept if another process uses the item now.

    Parameters
    ----------
    storage : Storage
        The store.
    garbage : iterable of Garbage
        Result of `find_garbage`.
    age, now : timedelta; datetime, optional
        See `find_garbage`; every age is checked again.
    progress : callable, optional
        Called as ``progress(objects_done, objects_total)``.

    Raises
    ------
    ReadOnlyStoreError
        The store is not writable.
    DamagedError, NewerFormatError
        A name cannot be read, so a feature set in `garbage` may have this name. Items before this set have been removed.
    """
    chosen = list(garbage)
    oldest = (now or datetime.now(UTC)) - age
    tally = _Tally(sum(item.objects for item in chosen), progress)
    removed = []
    for item in chosen:
        before = tally.done
        if item.kind == "half-written":
            paths = [entry.path for entry in storage.list(item.path) if entry.modified < oldest]
            gone = _remove(storage, paths, tally)
        elif item.address is None:
            continue
        elif item.kind == "plan":
            # A builder that joined the plan meanwhile puts the plan again when it commits.
            paths = [
                entry.path
                for entry in storage.list(item.address.folder)
                if entry.path == item.path and entry.modified < oldest
            ]
            gone = not _has_manifest(storage, item.address) and _remove(storage, paths, tally)
        elif item.kind == "build":
            gone = _collect_build(storage, item.address, item.path, oldest, tally)
        else:
            gone = _collect_set(storage, item.address, oldest, tally)
        if gone:
            removed.append(item)
        tally.catch_up(before + item.objects)
    return tuple(removed)


class _Tally:
    def __init__(self, total: int, progress: UnlabelledProgress | None) -> None:
        self.done, self._total, self._progress = 0, total, progress or (lambda done, total: None)

    def catch_up(self, done: int) -> None:
        self.done = max(self.done, done)
        self._progress(min(self.done, self._total), self._total)


def _collect_build(storage: Storage, address: Address, folder: str, oldest: datetime, tally: _Tally) -> bool:
    plan_id = folder.rpartition("/")[2]
    objects = [*storage.list(folder)]
    if not objects or _newest(objects) >= oldest or _commits(storage, address, plan_id):
        return False
    mark = f"{folder}/data.zarr/zarr.json"
    kept: bytes | None = None
    with contextlib.suppress(MissingObjectError, DamagedError):  # such as a folder in its place
        kept = storage.get(mark)
    if kept is not None:
        storage.delete(mark)
        if _commits(storage, address, plan_id):  # by a process that had listed all objects before
            storage.put_if_absent(mark, kept)
            return False
    if not _has_manifest(storage, address):
        _remove_plan(storage, address, plan_id)
    _remove_objects(storage, [entry.path for entry in objects if entry.path != mark or kept is None], tally)
    _uncommit_half_a_set(storage, address, plan_id)
    return True


def _collect_set(storage: Storage, address: Address, oldest: datetime, tally: _Tally) -> bool:
    try:
        data = storage.get(address.manifest)
        plan_id = manifest_of(address, data).plan_id
    except StoreError:
        return False
    objects = [
        entry for entry in storage.list(address.folder) if not _of_other_build(entry.path, address, plan_id)
    ]
    if address in _named(storage) or _newest(objects) >= oldest:
        return False
    storage.delete(address.manifest)
    if address in _named(storage):
        storage.put_if_absent(address.manifest, data)
        return False
    _remove_plan(storage, address, plan_id)
    _remove_objects(
        storage, [entry.path for entry in objects if entry.path.startswith(address.build(plan_id))], tally
    )
    _uncommit_half_a_set(storage, address, plan_id)
    return True


def _remove_plan(storage: Storage, address: Address, plan_id: str) -> None:
    with contextlib.suppress(StoreError):
        plan = plan_of(address, storage.get(address.plan))
        if plan.hash[:12] == plan_id:  # otherwise it belongs to a younger build
            storage.delete(address.plan)


def _remove_objects(storage: Storage, paths: list[str], tally: _Tally) -> None:
    # Records before their objects, so that a crash here leaves no record with missing objects.
    _remove(storage, [path for path in paths if "/records/" in path], tally)
    _remove(storage, [path for path in paths if "/records/" not in path], tally)


def _uncommit_half_a_set(storage: Storage, address: Address, plan_id: str) -> None:
    """Delete the manifest of a set if an object of the set is missing: another process may have committed the set while gc removed objects."""
    try:
        features = FeatureSet.open(storage, address)
    except StoreError:
        return
    if features.manifest.plan_id != plan_id or not verify(features, depth="quick"):
        return
    logger.warning(
        "another process committed the set %s while gc removed objects of this set, so gc deleted the manifest of the set: build or copy the set again",
        address.folder,
    )
    storage.delete(address.manifest)


def _remove(storage: Storage, paths: list[str], tally: _Tally) -> bool:
    """Delete objects in parallel, and return whether any object was deleted. Log a warning if a deletion fails because the object is damaged, or because its path is not valid."""

    def delete(path: str) -> bool:
        try:
            storage.delete(path)
        except ReadOnlyStoreError:
            raise
        except StoreError as error:
            if is_object_path(path) and not isinstance(error, DamagedError):
                raise
            logger.warning("not removed: %s", error)
            return False
        return True

    removed = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for is_gone in pool.map(delete, paths):
            removed += is_gone
            tally.catch_up(tally.done + 1)
    return removed > 0


def _named(storage: Storage) -> set[Address]:
    """Return the addresses of the sets that have a name."""
    named: set[Address] = set()
    for name, ref in refs.read_all(storage):
        if isinstance(ref, NewerFormatError):
            raise ref
        if isinstance(ref, StoreError):
            raise DamagedError(
                f"cannot read the name {name!r} ({ref}), so gc removes nothing; to delete the name, run spikestore rm {name}",
                **ref.details,
            )
        named |= {Address(pin.transform_key, pin.source_key) for pin in ref.splits.values()}
    return named


def _manifest(storage: Storage, address: Address) -> Manifest | None:
    try:
        data = storage.get(address.manifest)
    except MissingObjectError:
        return None
    return manifest_of(address, data)


def _has_manifest(storage: Storage, address: Address) -> bool:
    try:
        storage.get(address.manifest)
    except MissingObjectError:
        return False
    return True


def _has_build(storage: Storage, address: Address, builds: Container[str]) -> bool:
    """Return whether `builds` contains the first 12 digits of the hash of the set's plan. Also True if the plan cannot be read, so that gc keeps this plan."""
    try:
        return plan_of(address, storage.get(address.plan)).hash[:12] in builds
    except StoreError:
        return True


def _commits(storage: Storage, address: Address, plan_id: str) -> bool:
    """Return whether the manifest names this build. True for a manifest that cannot be read, so that the build is not removed."""
    try:
        manifest = _manifest(storage, address)
    except (DamagedError, NewerFormatError):
        return True
    return manifest is not None and manifest.plan_id == plan_id


def _of_other_build(path: str, address: Address, plan_id: str) -> bool:
    builds = f"{address.folder}/builds/"
    return path.startswith(builds) and not path.startswith(f"{builds}{plan_id}/")


def _days(age: timedelta) -> str:
    return plural(age.days, "day") if not age % timedelta(days=1) else f"{age / timedelta(days=1):g} days"


def _newest(objects: list[StoredObject]) -> datetime:
    return max(entry.modified for entry in objects)


def _garbage(
    kind: Literal["build", "plan", "feature set", "half-written"],
    path: str,
    objects: list[StoredObject],
    address: Address | None,
) -> Garbage:
    size = sum(entry.size for entry in objects)
    return Garbage(kind, path, len(objects), size, _newest(objects), address)
