"""What a name may stand for: sets whose labels mean the same, and nothing else than before unless somebody asks for it.

A name moves by itself only to a set that has all recordings of the former one (docs/decisions/0040-names-move-on-request.md).
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from spikestore.store import refs
from spikestore.store.feature_set import FeatureSet
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.ref import Pin, Ref
from spikestore.store_schemas.errors import StoreError, UsageError
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.specs.source import Source

logger = logging.getLogger(__name__)

Find = Callable[[Address], FeatureSet | None]
"""`Store.find`: opens the set at an address, or returns None."""


class NamedSet(NamedTuple):
    """A set that is about to get a name; it may not be built yet.

    Attributes
    ----------
    address : Address
        Its keys.
    source : Source
        Its recordings.
    digest : str, optional
        Digest of its content, once it is known.
    """

    address: Address
    source: Source
    digest: str | None = None

    @classmethod
    def of(cls, features: FeatureSet) -> NamedSet:
        """Return what is known of a committed set."""
        return cls(features.address, features.manifest.source, features.digest)

    def has_keys_of(self, pin: Pin) -> bool:
        """Tell whether a pin has the same keys."""
        return self.address == (pin.transform_key, pin.source_key)


class Move(NamedTuple):
    """A split of a name that will stand for another set than before.

    Attributes
    ----------
    split : str
        Name of the split.
    before : Pin
        What it stands for now.
    refused : str or None
        Why it may not move by itself; None if it may.
    """

    split: str
    before: Pin
    refused: str | None


def point(
    storage: Storage, find: Find, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False
) -> Ref:
    """Let a name stand for feature sets, one per split; as `Store.point`, which has the parameters and errors."""
    pins = {split: features.pin for split, features in splits.items()}
    sets = {split: NamedSet.of(features) for split, features in splits.items()}
    changed: list[Move] = []

    def check(before: Mapping[str, Pin], after: Mapping[str, Pin]) -> None:
        changed[:] = moves(find, before, sets)
        if not move:
            _refuse(name, storage.url, changed)
        classes = {f"{name}:{split}": features.classes for split, features in splits.items()}
        for split, pin in after.items():
            if split not in splits:
                with contextlib.suppress(StoreError):  # whoever opens that one is told what is wrong with it
                    kept = find(Address(pin.transform_key, pin.source_key))
                    if kept is not None:
                        classes[f"{name}:{split}"] = kept.classes
        refuse_other_classes(classes)

    ref = refs.update(storage, name, pins, check=check)
    for one in changed:
        if one.split in pins:
            was, now = one.before.digest[:12], pins[one.split].digest[:12]
            logger.info("%s:%s moves from digest %s to %s in %s", name, one.split, was, now, storage.url)
    return ref


def refuse_move(storage: Storage, find: Find, name: str, sets: Mapping[str, NamedSet]) -> None:
    """Raise what `point` would raise for sets that need not be built yet; as `Store.refuse_move`."""
    ref = refs.read(storage, name) if NAME.match(name) else None
    if ref is not None:
        # Other content under the same keys is for whoever builds or copies it to report.
        same = {split for split, pin in ref.splits.items() if split in sets and sets[split].has_keys_of(pin)}
        before = {split: pin for split, pin in ref.splits.items() if split not in same}
        _refuse(name, storage.url, moves(find, before, sets))


def moves(find: Find, before: Mapping[str, Pin], sets: Mapping[str, NamedSet]) -> list[Move]:
    """Return the splits of a name that would stand for something else, or for nothing.

    Parameters
    ----------
    find : callable
        Opens a set by its address.
    before : mapping of str to Pin
        What each split of the name stands for now.
    sets : mapping of str to NamedSet
        What some of its splits shall stand for; all of one transform. Other splits stay if they have this transform.
    """
    transforms = {one.address.transform_key for one in sets.values()}
    found = []
    for split, pin in before.items():
        one = sets.get(split)
        if pin.transform_key not in transforms:
            found.append(Move(split, pin, "another transform made it"))
        elif one is None or (one.has_keys_of(pin) and one.digest in (None, pin.digest)):
            continue
        else:
            found.append(Move(split, pin, _why_not(find, pin, one)))
    return found


def _refuse(name: str, url: str, found: Iterable[Move]) -> None:
    """Raise `UsageError` if one of these moves is not allowed without a request."""
    refused = [
        f"{name}:{move.split} (digest {move.before.digest[:12]}: {move.refused})"
        for move in found
        if move.refused
    ]
    if refused:
        why = f"the name {name!r} in {url} already stands for other feature sets: {', '.join(refused)}"
        raise UsageError(
            f"{why}; choose another name (preprocess --name, or spikestore tag {name} NEW before push), or move this one "
            "(--move; move=True in Python)",
            name=name,
            why=why,
        )


def refuse_other_classes(sets: Mapping[str, Sequence[str]]) -> None:
    """Raise `UsageError` if one number means two classes.

    Parameters
    ----------
    sets : mapping of str to sequence of str
        Class names of each set, by what to call it; label i means the i-th. One list may be the beginning of another.
    """
    (first, known), *others = sets.items()
    for label, classes in others:
        if why := other_classes(known, classes):
            raise UsageError(
                f"{first} and {label} list their classes differently: {why}; give the recordings of both one "
                "order of class names, with labels that count in this order, and build again",
                field="classes",
            )


def warn_of_other_classes(sets: Mapping[str, FeatureSet]) -> None:
    """Warn if sets that are under one name already, by label, number their classes in several ways."""
    try:
        refuse_other_classes({label: features.classes for label, features in sets.items()})
    except UsageError as error:
        logger.warning("%s", error)


def other_classes(first: Sequence[str], second: Sequence[str]) -> str | None:
    """Return how two lists of class names contradict each other, or None if every label means the same in both."""
    for label, (one, other) in enumerate(zip_longest(first, second)):
        if one is not None and other is not None and one != other:
            order = ", the same names in another order" if sorted(first) == sorted(second) else ""
            return f"label {label} is {one!r} in the first and {other!r} in the second{order}"
    return None


def _why_not(find: Find, pin: Pin, one: NamedSet) -> str | None:
    """Return why a split may not move from a set to another one of the same transform, or None if it may."""
    if one.digest is not None and one.digest == pin.digest:
        return None  # equal samples
    address = Address(pin.transform_key, pin.source_key)
    if one.address == address:
        return "the same keys with another digest, so one of the two is wrong: verify the store"
    try:
        former = find(address)
    except StoreError as error:
        return f"it can't be opened to compare the recordings: {error}"
    if former is None:
        return None  # nobody can read what the name stands for
    return _lost(former.manifest.source, one.source)


def _lost(before: Source, after: Source) -> str | None:
    """Return what of a source another one lacks, or None if it has all recordings of it."""
    if before.dataset != after.dataset:
        return f"it has recordings of {before.dataset}, not {after.dataset}"
    if after.limit is not None and (before.limit is None or after.limit < before.limit):
        return f"it is made of more recordings than limit = {after.limit}"
    lacking = Counter(file.sha256 for file in before.files) - Counter(file.sha256 for file in after.files)
    if not lacking:
        return None
    names = [file.name for file in before.files if file.sha256 in lacking]
    more = f" and {len(names) - 1:,} more files" if len(names) > 1 else ""
    return f"it is made of other recordings, {names[0]}{more}"
