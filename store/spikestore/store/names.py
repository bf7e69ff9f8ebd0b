"""Rules for names: which feature sets a name may refer to, and when it may move.

Without a request of the user, a name moves only to a set that has all recordings of the name's present set
(docs/decisions/0040-names-move-on-request.md). The sets of a name must number their classes in the same way.
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
from spikestore.store_schemas.specs.items import HashPart, ItemContent
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

Find = Callable[[Address], FeatureSet | None]
"""`Store.find`: opens the set at an address, or returns None."""


class NamedSet(NamedTuple):
    """A set for which a name is requested; it need not be built yet.

    Attributes
    ----------
    address : Address
        Transform key and source key of the set.
    source : Source
        Recordings of the set.
    digest : str, optional
        Digest of the content, if known.
    """

    address: Address
    source: Source
    digest: str | None = None

    @classmethod
    def of(cls, features: FeatureSet) -> NamedSet:
        """Return keys, source and digest of a committed set."""
        return cls(features.address, features.manifest.source, features.digest)

    def has_keys_of(self, pin: Pin) -> bool:
        """Return whether the pin has the transform key and the source key of this set."""
        return self.address == (pin.transform_key, pin.source_key)


class Move(NamedTuple):
    """Change of one split if a name moves: the split then refers to another set, or is removed from the name.

    Attributes
    ----------
    split : str
        Name of the split.
    before : Pin
        Set to which the split refers before the name moves.
    refused : str or None
        Reason why the split may change only on the user's request; None if it may change without a request.
    """

    split: str
    before: Pin
    refused: str | None


def point(
    storage: Storage, find: Find, name: str, splits: Mapping[str, FeatureSet], *, move: bool = False
) -> Ref:
    """Let one name refer to a feature set for each split; `Store.point` documents parameters and errors."""
    pins = {split: features.pin for split, features in splits.items()}
    sets = {split: NamedSet.of(features) for split, features in splits.items()}
    changed: list[Move] = []
    kept: dict[str, FeatureSet] = {}

    def check(before: Mapping[str, Pin], after: Mapping[str, Pin]) -> None:
        changed[:] = moves(find, before, sets)
        if not move:
            _refuse(name, storage.url, changed)
        kept.clear()
        for split, pin in after.items():
            if split not in splits:
                with contextlib.suppress(StoreError):  # opening that set reports its damage
                    features = find(Address(pin.transform_key, pin.source_key))
                    if features is not None:
                        kept[split] = features
        refuse_other_classes({f"{name}:{split}": each.classes for split, each in {**splits, **kept}.items()})

    ref = refs.update(storage, name, pins, check=check)
    for change in changed:
        if change.split in pins:
            old, new = change.before.digest[:12], pins[change.split].digest[:12]
            now = "other keys with the same digest" if old == new else new
            logger.info("moved %s:%s from digest %s to %s in %s", name, change.split, old, now, storage.url)
    _warn_of_recordings_in_two_splits(name, splits, kept)
    return ref


def _warn_of_recordings_in_two_splits(
    name: str, splits: Mapping[str, FeatureSet], kept: Mapping[str, FeatureSet]
) -> None:
    """Log a warning for each set in `kept` that shares recordings with the new sets in `splits`."""
    new = set().union(*map(_files_of_recordings, splits.values()))
    for split, features in kept.items():
        shared = new & _files_of_recordings(features)
        if shared:
            logger.warning(
                "%s:%s keeps its earlier set, and %s of the recordings of that set are now also in other splits of %s: build or copy %s:%s too, "
                "or remove the split from the name with spikestore rm %s:%s",
                name,
                split,
                f"{len(shared):,}",
                name,
                name,
                split,
                name,
                split,
            )


def _files_of_recordings(features: FeatureSet) -> set[str]:
    """Return the SHA-256 of the files of a feature set if each file is one recording; otherwise no hashes."""
    files = features.manifest.source.files
    return {file.sha256 for file in files} if len(files) == len(features) else set()


def refuse_move(storage: Storage, find: Find, name: str, sets: Mapping[str, NamedSet]) -> None:
    """Raise `UsageError` if `point` would need ``move=True`` to let `name` refer to `sets`, a set for each split; see `Store.refuse_move`."""
    ref = refs.read(storage, name) if NAME.match(name) else None
    if ref is not None:
        # Splits whose keys stay the same are left out: builds and copies report other content under equal keys.
        same = {split for split, pin in ref.splits.items() if split in sets and sets[split].has_keys_of(pin)}
        before = {split: pin for split, pin in ref.splits.items() if split not in same}
        _refuse(name, storage.url, moves(find, before, sets))


def moves(find: Find, before: Mapping[str, Pin], sets: Mapping[str, NamedSet]) -> list[Move]:
    """Return the splits that change if a name moves to `sets`; see `Move`.

    Parameters
    ----------
    find : callable
        Opens a set by its address.
    before : mapping of str to Pin
        Sets of the name now, by split.
    sets : mapping of str to NamedSet
        New sets of some splits, all of one transform. The name keeps its other splits if they have this transform.
    """
    transforms = {requested.address.transform_key for requested in sets.values()}
    changed = []
    for split, pin in before.items():
        requested = sets.get(split)
        if pin.transform_key not in transforms:
            changed.append(Move(split, pin, "it has another transform"))
        elif requested is None or (requested.has_keys_of(pin) and requested.digest in (None, pin.digest)):
            continue
        else:
            changed.append(Move(split, pin, _why_not(find, pin, requested)))
    return changed


def _refuse(name: str, url: str, requested: Iterable[Move]) -> None:
    """Raise `UsageError` if one of the moves is allowed only with ``--move``; name all such moves in the message."""
    refused = [
        f"{name}:{move.split} (digest {move.before.digest[:12]}: {move.refused})"
        for move in requested
        if move.refused
    ]
    if refused:
        why = f"the name {name!r} in {url} already refers to other feature sets: {', '.join(refused)}"
        raise UsageError(
            f"{why}; choose another name (preprocess --name; or, before you push, spikestore tag {name} NEW), or move this name "
            "(--move; move=True in Python)",
            name=name,
            why=why,
        )


def refuse_other_classes(sets: Mapping[str, Sequence[str]]) -> None:
    """Raise `UsageError` if a label means different classes in two sets.

    Parameters
    ----------
    sets : mapping of str to sequence of str
        The keys are names of the sets, for messages. The values are the class names of each set: label i means the i-th name. One list may be the beginning of another.
    """
    first, known = next(iter(sets.items()))
    for label, classes in sets.items():
        if why := other_classes(known, classes):
            raise UsageError(
                f"the labels of {first} and {label} stand for different classes: {why}; use one order of class names for both "
                "sets, number the labels in this order, and build again",
                field="classes",
            )
        if len(classes) > len(known):  # all lists so far are beginnings of the longest
            first, known = label, classes


def warn_of_other_classes(sets: Mapping[str, FeatureSet]) -> None:
    """Log a warning if the sets of a name number their classes differently. `point` refuses such sets, but a stored name may have them."""
    try:
        refuse_other_classes({label: features.classes for label, features in sets.items()})
    except UsageError as error:
        logger.warning("%s", error)


def other_classes(first: Sequence[str], second: Sequence[str]) -> str | None:
    """Return a text that describes how two lists of class names differ, or None if each label means the same class in both lists."""
    for label, (one, other) in enumerate(zip_longest(first, second)):
        if one is not None and other is not None and one != other:
            order = ", the same names in another order" if sorted(first) == sorted(second) else ""
            return f"label {label} is {one!r} in the first and {other!r} in the second{order}"
    return None


def _why_not(find: Find, pin: Pin, requested: NamedSet) -> str | None:
    """Return why a name must not move from the set `pin` to the set `requested`, which has the same transform; None if it may move."""
    if requested.digest is not None and requested.digest == pin.digest:
        return None  # equal samples
    address = Address(pin.transform_key, pin.source_key)
    if requested.address == address:
        return "it has the keys of the new set but another digest, so the samples of one of the two sets are wrong: verify the store"
    try:
        former = find(address)
    except StoreError as error:
        return f"it cannot be opened to compare the recordings: {error}"
    if former is None:
        return None  # the name refers to a missing set
    return _lost(former.manifest.source, requested.source)


def _lost(before: Source, after: Source) -> str | None:
    """Return why `after` is no extension of `before`: `after` lacks recordings, or reads recordings in another way. None if `after` is an extension."""
    if before.dataset != after.dataset:
        return f"it has recordings of {before.dataset}, not {after.dataset}"
    if after.limit is not None and (before.limit is None or after.limit < before.limit):
        return f"it may have more recordings than the new set, which has limit = {after.limit}"
    if (before.cache is None) != (after.cache is None):
        origin, new_origin = (
            "computed from recordings" if source.cache is None else "imported from a cache of frames"
            for source in (before, after)
        )
        return f"it was {origin}, but the new set is {new_origin}"
    if before.cache != after.cache:
        return "its cache was imported with other classes"
    if (before.folder is None) != (after.folder is None) or (
        before.folder is not None
        and after.folder is not None
        and before.folder.decoding != after.folder.decoding
    ):
        return "its files were read with settings of [source.folder] that differ from those of the new set"
    if before.items is not None and after.items is not None:
        return _lost_items(before.items, after.items)
    kept, present = _recordings(before), _recordings(after)
    lacking = Counter(kept) - Counter(present)
    if not lacking:
        return None
    names = [file.name for file, recording in zip(before.files, kept, strict=True) if recording in lacking]
    more = f" and {plural(len(names) - 1, 'more file')}" if len(names) > 1 else ""
    relabelled = not Counter(file.sha256 for file in before.files) - Counter(
        file.sha256 for file in after.files
    )
    return f"it has {'other labels or columns' if relabelled else 'other recordings'}: {names[0]}{more}"


def _lost_items(before: ItemContent, after: ItemContent) -> str | None:
    """Return a text about items of `before` that `after` may lack, or None if `after` has all of them.

    Items are compared by their hashes. If a part of `before` or `after` has no hashes, the text names all possible differences.
    """
    hashes = []
    for content in (before, after):
        if not all(isinstance(part, HashPart) for part in content.parts):
            return "it has other files, another version or other rows than the new set"
        all_hashes = [each for part in content.parts if isinstance(part, HashPart) for each in part.hashes]
        hashes.append([all_hashes[row] for row in content.row_numbers])
    return "it has other recordings" if Counter(hashes[0]) - Counter(hashes[1]) else None


def _recordings(source: Source) -> list[tuple[str, ...]]:
    """Return a tuple for each file: the hash of its content, and for the data set ``folder`` also its label and columns."""
    hashes = [file.sha256 for file in source.files]
    folder = source.folder
    if folder is None:
        return [(sha256,) for sha256 in hashes]
    columns = [map(str, values) for _, values in sorted(folder.values.items())]
    return list(zip(hashes, map(str, folder.labels), *columns, strict=True))
