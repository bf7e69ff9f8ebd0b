"""Refs as logs: the only thing in a store that moves.

``refs/<name>/00000001.json``, ``00000002.json`` …, each put-if-absent; the highest number is the value. An update
reads the highest, and puts the next: who is too late reads again, so no update is lost, and no lock is needed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.store_schemas.model import NAME
from spikestore.store_schemas.ref import Pin, Ref
from spikestore.store_schemas.storage import Storage

logger = logging.getLogger(__name__)

_ENTRY = re.compile(r"^refs/[^/]+/([0-9]{8})\.json$")
_ATTEMPTS = 1000


def read(storage: Storage, name: str) -> Ref | None:
    """Return the newest entry of a name, or None if the name does not exist."""
    return _newest(storage, name)[1]


def update(storage: Storage, name: str, pins: Mapping[str, Pin]) -> Ref:
    """Add an entry that changes some splits of a name; without a change nothing is written.

    Splits that `pins` does not mention are kept if they have the same transform, else let go.

    Raises
    ------
    UsageError
        A name breaks the rules for names, or the sets were not made by one transform.
    """
    for text in (name, *pins):
        if not NAME.match(text):
            raise UsageError(
                f"{text!r} can't be a name: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
            )
    transforms = {pin.transform_key for pin in pins.values()}
    if len(transforms) != 1:
        raise UsageError(f"{name!r} must stand for sets of one transform, {len(transforms)} were given")
    for _ in range(_ATTEMPTS):
        number, old = _newest(storage, name)
        before = dict(old.splits) if old is not None else {}
        kept = {split: pin for split, pin in before.items() if {pin.transform_key} == transforms}
        dropped = before.keys() - kept.keys() - pins.keys()
        entry = Ref(name=name, number=number + 1, splits={**kept, **pins})
        if old is not None and old.splits == entry.splits:
            return old
        if storage.put_if_absent(f"refs/{name}/{entry.number:08d}.json", entry.to_bytes()):
            if dropped:
                logger.warning(
                    "%s: let go of %s, made by another transform", name, ", ".join(sorted(dropped))
                )
            return entry
    raise UsageError(f"{name!r} was changed by others {_ATTEMPTS} times in a row: try again")


def _newest(storage: Storage, name: str) -> tuple[int, Ref | None]:
    entries = [
        (int(match[1]), match[0]) for one in storage.list(f"refs/{name}") if (match := _ENTRY.match(one.path))
    ]
    if not entries:
        return 0, None
    number, path = max(entries)
    ref = Ref.from_bytes(storage.get(path), path=path)
    if (ref.name, ref.number) != (name, number):
        raise DamagedError(
            f"{path} is damaged: it is entry {ref.number} of {ref.name!r}", path=path, objects=(path,)
        )
    return number, ref
