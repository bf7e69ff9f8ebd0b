"""Refs as logs: the only thing in a store that moves.

``refs/<name>/00000001.json``, ``00000002.json`` …, each put-if-absent; the highest number is the value. An update
reads the highest, and puts the next: who is too late reads again, so no update is lost, and no lock is needed.

Nothing is ever deleted, or an older entry would come back: a name is forgotten by one more entry (`Ref.forgotten`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping

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

Check = Callable[[Pins, Pins], None]
"""Called with what a name stands for and what it shall stand for, before that is written; may raise."""


def read(storage: Storage, name: str) -> Ref | None:
    """Return the newest entry of a name, or None if the name does not exist, or no longer."""
    ref = _entry(storage, name, _last(storage, name))
    return None if ref is None or ref.forgotten else ref


def read_all(storage: Storage) -> Iterator[tuple[str, Ref | StoreError]]:
    """Yield every name that exists, sorted, with its newest entry, or with what is wrong with that."""
    last: dict[str, int] = {}
    for one in storage.list("refs"):
        if (match := _ENTRY.match(one.path)) and NAME.match(match[1]):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))

    def newest(name: str) -> Ref | StoreError | None:
        try:
            return _entry(storage, name, last[name])
        except StoreError as error:
            return error

    for name, found in zip(last, in_order(newest, last), strict=True):
        if found is not None and not (isinstance(found, Ref) and found.forgotten):
            yield name, found


def update(storage: Storage, name: str, pins: Pins, *, check: Check | None = None) -> Ref:
    """Add an entry that changes some splits of a name; without a change nothing is written.

    Splits that `pins` does not mention are kept if they have the same transform, else let go. `check` sees each entry
    that another writer puts first, so that what it allows is what happens.

    Raises
    ------
    UsageError
        A name breaks the rules for names, or the sets were not made by one transform.
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
        logger.warning("%s: let go of %s, made by another transform", name, ", ".join(sorted(dropped)))
    return ref


def assign(storage: Storage, name: str, pins: Pins, *, move: bool = False) -> Ref:
    """Let a name stand for these sets and no others.

    Raises
    ------
    UsageError
        As `update`; or the name stands for something else, and `move` was not asked for.
    """
    _transform(name, pins)

    def change(before: Pins) -> Pins:
        if before and before != pins and not move:
            raise UsageError(
                f"the name {name!r} already stands for other feature sets ({', '.join(before)}): choose another name, or move this one "
                "(--move; move=True in Python)",
                name=name,
            )
        return pins

    return _change(storage, name, change)


def forget(storage: Storage, name: str, split: str | None = None) -> tuple[str, ...]:
    """Forget a name, or one split of it, and return the splits that it loses; an empty tuple if there is none.

    A name whose newest entry is damaged can be forgotten as a whole: nothing needs to be known about it.
    """
    lost: list[str] = []

    def change(before: Pins) -> Pins:
        lost[:] = [one for one in before if split in {None, one}]
        return {one: pin for one, pin in before.items() if one not in lost}

    try:
        _change(storage, name, change)
    except NewerFormatError:
        raise
    except DamagedError:
        if split is not None:
            raise
        while not _put(storage, Ref.tombstone(name, _last(storage, name) + 1)):
            pass
        return ("a damaged entry",)
    return tuple(lost)


def _transform(name: str, pins: Pins) -> str:
    for text in (name, *pins):
        if not NAME.match(text):
            raise UsageError(
                f"{text!r} can't be a name: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
            )
    transforms = {pin.transform_key for pin in pins.values()}
    if len(transforms) != 1:
        raise UsageError(f"{name!r} must stand for sets of one transform, {len(transforms)} were given")
    return transforms.pop()


def _change(storage: Storage, name: str, change: Callable[[Pins], Pins]) -> Ref:
    """Put the entry that `change` makes of the newest one, unless they are equal; no splits forget the name."""
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
    raise UsageError(f"{name!r} was changed by others {_ATTEMPTS} times in a row: try again")


def _put(storage: Storage, ref: Ref) -> bool:
    return storage.put_if_absent(ref_path(ref.name, ref.number), ref.to_bytes())


def _last(storage: Storage, name: str) -> int:
    """Return the number of a name's newest entry, 0 if there is none."""
    entries = (match for one in storage.list(f"refs/{name}") if (match := _ENTRY.match(one.path)))
    return max((int(match[2]) for match in entries), default=0)


def _entry(storage: Storage, name: str, number: int) -> Ref | None:
    if number == 0:
        return None
    return ref_of(name, number, storage.get(ref_path(name, number)))
