"""Refs as logs of immutable entries; the newest entry is the value of a name.

The entries are ``refs/<name>/00000001.json``, ``00000002.json`` …; an entry that exists is never overwritten, unless it is damaged
(`replace_older`). An update reads the highest number and puts an entry with the next number. If another writer was faster, the update
begins again. So no update is lost, and no lock is needed.

If an entry were deleted, an older entry would become valid again. So entries are never deleted. To remove a name, a further
entry is added (`Ref.forgotten`).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from spikestore.store.concurrency import in_order
from spikestore.store.storage import Storage
from spikestore.store.trust.documents import ref_of, ref_path
from spikestore.store_schemas.documents.ref import Pin, Ref
from spikestore.store_schemas.errors import DamagedError, NewerFormatError, StoreError, UsageError
from spikestore.store_schemas.specs.model import NAME

logger = logging.getLogger(__name__)

_ENTRY = re.compile(r"^refs/([^/]+)/([0-9]{8})\.json$")
_ATTEMPTS = 1000

Pins = Mapping[str, Pin]


class LogEntry(NamedTuple):
    """Name and number of an entry in the log of a name; the content of the entry is not read."""

    name: str
    number: int
    newest: bool
    """Whether this entry is the value of the name; older entries have no effect."""

    @property
    def path(self) -> str:
        """Path of the entry, below the store's root."""
        return ref_path(self.name, self.number)


Check = Callable[[Pins, Pins], None]
"""Called before an update is written, with the pins of the name before and after the update; may raise an error."""


def read(storage: Storage, name: str) -> Ref | None:
    """Return the newest entry of a name, or None if the name does not exist or was removed.

    Raises
    ------
    DamagedError, NewerFormatError
        The newest entry is damaged, or has a newer format.
    """
    ref = _entry(storage, name, _last(storage, name))
    return None if ref is None or ref.forgotten else ref


def read_all(storage: Storage) -> Iterator[tuple[str, Ref | StoreError]]:
    """Yield every name that was not removed, sorted, with its newest entry or the error of reading it."""
    last: dict[str, int] = {}
    for listed in storage.list("refs"):
        if (match := _ENTRY.match(listed.path)) and NAME.match(match[1]):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
        elif (folder := listed.path.removeprefix("refs/")) and NAME.match(folder):
            # A file in the place of the name's folder: the error of reading it says so.
            last.setdefault(folder, 0)

    def newest(name: str) -> Ref | StoreError | None:
        try:
            return _entry(storage, name, last[name] or _last(storage, name))
        except StoreError as error:
            return error

    names = sorted(last)  # a listing has the folder "a-b" before the folder "a"
    for name, entry in zip(names, in_order(newest, names), strict=True):
        if entry is not None and not (isinstance(entry, Ref) and entry.forgotten):
            yield name, entry


def read_logs(
    storage: Storage, names: Iterable[str] | None = None
) -> Iterator[tuple[LogEntry, Ref | StoreError]]:
    """Yield all entries of these names, sorted by name and number; by default of all names, including removed names.

    Each entry comes with its document, or with the error of reading the document.
    """
    folders = ["refs"] if names is None else [f"refs/{name}" for name in sorted(set(names))]
    listed = [
        match for folder in folders for entry in storage.list(folder) if (match := _ENTRY.match(entry.path))
    ]
    entries = sorted((match[1], int(match[2])) for match in listed if NAME.match(match[1]))
    newest = dict(entries)

    def document(entry: tuple[str, int]) -> Ref | StoreError:
        try:
            return ref_of(*entry, storage.get(ref_path(*entry)))
        except StoreError as error:
            return error

    for (name, number), ref in zip(entries, in_order(document, entries), strict=True):
        yield LogEntry(name, number, number == newest[name]), ref


def update(storage: Storage, name: str, pins: Pins, *, check: Check | None = None) -> Ref:
    """Add an entry that changes some splits of a name; if nothing changes, no entry is added.

    Other splits are kept if they have the transform of the new sets; otherwise they are removed. `check` is called with the sets
    of the name before and after the change, and may raise an error. If another writer adds an entry first, `check` is called again.

    Raises
    ------
    UsageError
        The name or a split is invalid; `pins` is empty; the sets have different transforms; or other writers were always faster.
    DamagedError, NewerFormatError
        The newest entry is damaged, or has a newer format.
    """
    transform = _transform(name, pins)
    dropped: set[str] = set()

    def change(before: Pins) -> Pins:
        kept = {split: pin for split, pin in before.items() if pin.transform_key == transform}
        dropped.clear()
        dropped.update(before.keys() - kept.keys() - pins.keys())
        after = {**kept, **pins}
        if check is not None:
            check(before, after)
        return after

    ref = _change(storage, name, change)
    if dropped:
        logger.warning(
            "removed splits from the name %s, because their sets have another transform than the new sets: %s",
            name,
            ", ".join(sorted(dropped)),
        )
    return ref


def assign(storage: Storage, name: str, pins: Pins, *, move: bool = False) -> Ref:
    """Point a name at these sets and at no other sets.

    Raises
    ------
    UsageError
        The name refers to other sets, and `move` is false; or as in `update`.
    DamagedError, NewerFormatError
        The newest entry of the name is damaged, or has a newer format.
    """
    _transform(name, pins)

    def change(before: Pins) -> Pins:
        if before and before != pins and not move:
            raise UsageError(
                f"the name {name!r} already refers to other feature sets ({', '.join(before)}): choose another name, or move this name "
                "(--move; move=True in Python)",
                name=name,
            )
        return pins

    return _change(storage, name, change)


def forget(storage: Storage, name: str, split: str | None = None) -> tuple[str, ...]:
    """Remove a name, or one split of it, and return the removed splits; an empty tuple if the name or the split does not exist.

    A name whose newest entry is damaged can only be removed as a whole; the result is then ``("a damaged entry",)``.
    """
    lost: list[str] = []

    def change(before: Pins) -> Pins:
        lost[:] = [each for each in before if split in {None, each}]
        return {each: pin for each, pin in before.items() if each not in lost}

    try:
        _change(storage, name, change)
    except NewerFormatError:
        raise
    except DamagedError:
        if split is not None:
            raise
        damaged = _last(storage, name)
        while not _put(storage, Ref.tombstone(name, _last(storage, name) + 1)):
            pass
        with contextlib.suppress(DamagedError):  # such as a folder in its place, which verify reports
            replace_older(storage, name, damaged)
        return ("a damaged entry",)
    return tuple(lost)


def replace_older(storage: Storage, name: str, number: int) -> None:
    """Replace a damaged older entry with an entry that says that the name was removed.

    The newest entry stays the value of the name. The sets of the damaged entry are unknown, so the entry itself cannot be restored.

    Raises
    ------
    DamagedError
        The file or folder at the path of the entry cannot be replaced.
    """
    storage.replace(ref_path(name, number), Ref.tombstone(name, number).to_bytes())


def refuse_wrong_names(*names: str) -> None:
    """Raise `UsageError` unless all `names` are valid names of refs and splits."""
    for text in names:
        if not NAME.match(text):
            raise UsageError(
                f"a name must have 1 to 63 characters of a-z, 0-9, '.', '_', '-', and must start with a letter or digit, got {text!r}"
            )


def _transform(name: str, pins: Pins) -> str:
    refuse_wrong_names(name, *pins)
    transforms = {pin.transform_key for pin in pins.values()}
    if len(transforms) != 1:
        raise UsageError(
            f"the sets of {name!r} must all have the same transform, but have {len(transforms)} transforms"
        )
    return transforms.pop()


def _change(storage: Storage, name: str, change: Callable[[Pins], Pins]) -> Ref:
    """Put an entry with the splits that `change` returns; if they are unchanged, put no entry. If no split is left, remove the name."""
    for _ in range(_ATTEMPTS):
        number = _last(storage, name)
        old = _entry(storage, name, number)
        before = {} if old is None or old.forgotten else dict(old.splits)
        after = dict(change(before))
        if after == before:
            return old if old is not None else Ref.tombstone(name, 1)
        new = Ref(name=name, number=number + 1, splits=after) if after else Ref.tombstone(name, number + 1)
        if _put(storage, new):
            return new
    raise UsageError(f"other processes changed {name!r} {_ATTEMPTS} times in a row: try again")


def _put(storage: Storage, ref: Ref) -> bool:
    return storage.put_if_absent(ref_path(ref.name, ref.number), ref.to_bytes())


def _last(storage: Storage, name: str) -> int:
    """Return the number of the newest entry of a name; 0 if the name has no entry. Entries are numbered from 1."""
    entries = (match for entry in storage.list(f"refs/{name}") if (match := _ENTRY.match(entry.path)))
    return max((int(match[2]) for match in entries), default=0)


def _entry(storage: Storage, name: str, number: int) -> Ref | None:
    if number == 0:
        return None
    return ref_of(name, number, storage.get(ref_path(name, number)))
