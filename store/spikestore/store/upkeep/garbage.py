"""Garbage collection: builds that nobody finished, and, on request, feature sets that no name stands for.

Nobody holds a lock, so the order of steps is what keeps others safe (docs/integrity.md, "gc"):

- An unfinished build is garbage when its newest object is a week old: a builder leaves a record every few minutes.
  First its root zarr.json goes, without which no builder finds its build complete; then the manifest is looked for
  once more, and only where there is still none the rest goes.
- Of a feature set the manifest goes first, and with it the set. Then names are read once more: if one stands for it by
  now, the manifest is put back. Who gives a name looks for the manifest after that: one of the two sees the other.
- At the end the manifest must not have come back (from a builder or a push that had looked before). If it has, and
  objects are missing, it goes again: a set is there whole, or it is not there.
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

logger = logging.getLogger(__name__)

AGE = timedelta(days=7)
"""How old the newest object of garbage is."""

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that nobody needs.

    Attributes
    ----------
    kind : {"build", "plan", "feature set", "half-written"}
        An unfinished build, a plan that nobody followed, a committed set without a name, or temporary files of writers
        that crashed.
    path : str
        Its folder.
    objects : int
        How many objects it has.
    size : int
        Their bytes.
    newest : datetime
        When the newest of them was written, UTC.
    address : Address, optional
        The feature set.
    """

    kind: Literal["build", "plan", "feature set", "half-written"]
    path: str
    objects: int
    size: int
    newest: datetime
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at a store found.

    Attributes
    ----------
    garbage : tuple of Garbage
        What `collect` would remove.
    kept : tuple of str
        What looks like garbage and is kept, with the reason.
    """

    garbage: tuple[Garbage, ...]
    kept: tuple[str, ...]


def find_garbage(
    storage: Storage, *, unreferenced: bool = False, age: timedelta = AGE, now: datetime | None = None
) -> Survey:
    """Look for what nobody needs; change nothing.

    Parameters
    ----------
    storage : Storage
        The store.
    unreferenced : bool
        Also feature sets that no name stands for.
    age : timedelta
        How old the newest object must be.
    now : datetime, optional
        The present, UTC; for tests.

    Raises
    ------
    DamagedError, NewerFormatError
        `unreferenced`, and a name can't be read: nobody knows what it stands for.
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
        for one in objects:
            rest = one.path.removeprefix(f"{address.folder}/builds/")
            if rest != one.path:
                builds.setdefault(rest.partition("/")[0], []).append(one)
        committed = None if manifest is None else manifest.plan_id
        for plan_id, found in builds.items():
            if plan_id != committed and max(one.modified for one in found) < oldest:
                garbage.append(_garbage("build", address.build(plan_id), found, address))
        plan = next((one for one in objects if one.path == address.plan), None)
        if (
            committed is None
            and plan is not None
            and plan.modified < oldest
            and not _has_build(storage, address, builds)
        ):
            garbage.append(_garbage("plan", plan.path, [plan], address))
        if unreferenced and committed is not None and address not in named:
            own = [one for one in objects if not _of_other_build(one.path, address, committed)]
            if max(one.modified for one in own) < oldest:
                garbage.append(_garbage("feature set", address.folder, own, address))
            else:
                kept.append(
                    f"{address.folder}: no name stands for it, and it is younger than {age.days} days"
                )
    try:
        half = [one for one in storage.list(".tmp") if one.modified < oldest]
    except DamagedError as error:
        half = []
        kept.append(str(error))
    if half:
        garbage.append(_garbage("half-written", ".tmp", half, None))
    kept += [f"{one.path}: {one.detail}" for one in odd_entries(storage)]
    return Survey(tuple(garbage), tuple(kept))


def collect(
    storage: Storage,
    garbage: Iterable[Garbage],
    *,
    age: timedelta = AGE,
    now: datetime | None = None,
    progress: UnlabelledProgress | None = None,
) -> tuple[Garbage, ...]:
    """Remove garbage, and return what was removed: less than was found where somebody came to need it.

    Parameters
    ----------
    storage : Storage
        The store.
    garbage : iterable of Garbage
        From `find_garbage`.
    age, now : timedelta, datetime
        As in `find_garbage`: every age is looked at again.
    progress : callable, optional
        Called as ``progress(objects_done, objects_total)``.

    Raises
    ------
    ReadOnlyStoreError
        The store can't be written to.
    """
    chosen = list(garbage)
    oldest = (now or datetime.now(UTC)) - age
    tally = _Tally(sum(one.objects for one in chosen), progress)
    removed = []
    for one in chosen:
        before = tally.done
        if one.kind == "half-written":
            gone = _remove(storage, [o.path for o in storage.list(one.path) if o.modified < oldest], tally)
        elif one.address is None:
            continue
        elif one.kind == "plan":
            # A builder that follows it by now puts it again when it commits.
            paths = [
                o.path for o in storage.list(one.address.folder) if o.path == one.path and o.modified < oldest
            ]
            gone = not _has_manifest(storage, one.address) and _remove(storage, paths, tally)
        elif one.kind == "build":
            gone = _collect_build(storage, one.address, one.path, oldest, tally)
        else:
            gone = _collect_set(storage, one.address, oldest, tally)
        if gone:
            removed.append(one)
        tally.catch_up(before + one.objects)
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
    if not objects or max(one.modified for one in objects) >= oldest or _commits(storage, address, plan_id):
        return False
    mark = f"{folder}/data.zarr/zarr.json"
    with contextlib.suppress(MissingObjectError):
        kept = storage.get(mark)
        storage.delete(mark)
        if _commits(storage, address, plan_id):  # by somebody who had found everything there before
            storage.put_if_absent(mark, kept)
            return False
    if not _has_manifest(storage, address):
        _remove_plan(storage, address, plan_id)
    _remove_objects(storage, [one.path for one in objects if one.path != mark], tally)
    _refuse_half_a_set(storage, address, plan_id)
    return True


def _collect_set(storage: Storage, address: Address, oldest: datetime, tally: _Tally) -> bool:
    try:
        data = storage.get(address.manifest)
        plan_id = manifest_of(address, data).plan_id
    except StoreError:
        return False
    objects = [one for one in storage.list(address.folder) if not _of_other_build(one.path, address, plan_id)]
    if address in _named(storage) or max(one.modified for one in objects) >= oldest:
        return False
    storage.delete(address.manifest)
    if address in _named(storage):
        storage.put_if_absent(address.manifest, data)
        return False
    _remove_plan(storage, address, plan_id)
    _remove_objects(
        storage, [one.path for one in objects if one.path.startswith(address.build(plan_id))], tally
    )
    _refuse_half_a_set(storage, address, plan_id)
    return True


def _remove_plan(storage: Storage, address: Address, plan_id: str) -> None:
    with contextlib.suppress(StoreError):
        plan = plan_of(address, storage.get(address.plan))
        if plan.hash[:12] == plan_id:  # else it is the plan of a younger build
            storage.delete(address.plan)


def _remove_objects(storage: Storage, paths: list[str], tally: _Tally) -> None:
    # Records before what they vouch for, so that a crash here leaves none that promises too much.
    _remove(storage, [path for path in paths if "/records/" in path], tally)
    _remove(storage, [path for path in paths if "/records/" not in path], tally)


def _refuse_half_a_set(storage: Storage, address: Address, plan_id: str) -> None:
    """Take back a manifest that somebody put while the objects of its build were removed."""
    try:
        features = FeatureSet.open(storage, address)
    except StoreError:
        return
    if features.manifest.plan_id != plan_id or not verify(features, depth="quick"):
        return
    logger.warning(
        "%s was committed while its objects were removed; the manifest is removed again: build or copy it once more",
        address.folder,
    )
    storage.delete(address.manifest)


def _remove(storage: Storage, paths: list[str], tally: _Tally) -> bool:
    """Delete objects, several at a time; what has a name that no object can have is left, and a warning names it."""

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
    """Return the sets that some name stands for."""
    named: set[Address] = set()
    for name, ref in refs.read_all(storage):
        if isinstance(ref, NewerFormatError):
            raise ref
        if isinstance(ref, StoreError):
            raise DamagedError(
                f"nobody knows which sets {name!r} stands for, so none is removed: {ref}; rm {name} gives it up",
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
    """Tell whether the plan's build has any objects; one that can't be read might be anybody's."""
    try:
        return plan_of(address, storage.get(address.plan)).hash[:12] in builds
    except StoreError:
        return True


def _commits(storage: Storage, address: Address, plan_id: str) -> bool:
    """Tell whether the manifest names this build, or might: one that can't be read might name any."""
    try:
        manifest = _manifest(storage, address)
    except (DamagedError, NewerFormatError):
        return True
    return manifest is not None and manifest.plan_id == plan_id


def _of_other_build(path: str, address: Address, plan_id: str) -> bool:
    builds = f"{address.folder}/builds/"
    return path.startswith(builds) and not path.startswith(f"{builds}{plan_id}/")


def _garbage(
    kind: Literal["build", "plan", "feature set", "half-written"],
    path: str,
    objects: list[StoredObject],
    address: Address | None,
) -> Garbage:
    newest = max(one.modified for one in objects)
    return Garbage(kind, path, len(objects), sum(one.size for one in objects), newest, address)
