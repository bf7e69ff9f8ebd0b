"""Selection of feature sets by text: ``NAME``, ``NAME:SPLIT``, a key, or the beginnings of keys as ``ls`` shows them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from spikestore.store import refs
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import warn_of_other_classes
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.wording import did_you_mean

_KEY = re.compile(r"[0-9a-f]{64}")
_KEY_PREFIX = re.compile(r"^([0-9a-f]{4,64})(?:/([0-9a-f]{4,64}))?$")


class SelectedSet(NamedTuple):
    """A feature set that was selected by name or by key. It may be damaged or missing."""

    label: str
    """``NAME:SPLIT``; for a set that was selected by key, the beginnings of its keys."""
    address: Address
    split: str = ""
    """Split under the name; empty if the set was selected by key."""
    digest: str | None = None
    """Digest that the name pins; None if the set was selected by key."""


@dataclass(frozen=True)
class Selection:
    """The feature sets that a text selects: at least one, and not opened yet."""

    storage: Storage
    text: str
    name: str | None
    """The name; None for sets that were selected by key."""
    sets: tuple[SelectedSet, ...]

    def open(self) -> dict[SelectedSet, FeatureSet]:
        """Open the sets and return them.

        Raises
        ------
        DamagedError
            A set that the name pins is missing or has another digest, or a manifest is damaged.
        NewerFormatError
            A manifest has a newer format.
        UnknownNameError
            No set is committed under the key.
        """
        opened = {selected: self._open(selected) for selected in self.sets}
        if self.name is not None:
            warn_of_other_classes({selected.label: features for selected, features in opened.items()})
        return opened

    def open_each(self) -> dict[SelectedSet, FeatureSet | DamagedError | NewerFormatError]:
        """Open the sets; for a set that is damaged or has a newer format, return the error. Other errors of `open` are raised."""
        opened: dict[SelectedSet, FeatureSet | DamagedError | NewerFormatError] = {}
        for selected in self.sets:
            try:
                opened[selected] = self._open(selected)
            except (DamagedError, NewerFormatError) as error:
                opened[selected] = error
        return opened

    def only(self) -> FeatureSet:
        """Open the only selected set and return it. The errors of `self.open` may be raised too.

        Raises
        ------
        UnknownNameError
            The name has several splits.
        """
        if len(self.sets) > 1:
            known = ", ".join(selected.label for selected in self.sets)
            message = f"{self.name} in {self.storage.url} has several splits: choose one of {known}"
            raise UnknownNameError(message, name=self.text)
        return self._open(self.sets[0])

    def _open(self, selected: SelectedSet) -> FeatureSet:
        address, url = selected.address, self.storage.url
        try:
            features = FeatureSet.open(self.storage, address)
        except MissingObjectError as error:
            if selected.digest is None:
                raise UnknownNameError(f"no key in {url} begins with {self.text}", name=self.text) from error
            raise DamagedError(
                f"{selected.label} refers to {address.folder}, which is not in {url}: build or copy the set again",
                objects=(address.manifest,),
            ) from error
        if selected.digest not in (None, features.digest):
            raise DamagedError(
                f"{selected.label} refers to digest {selected.digest[:12]}, but the set in {url} was replaced and has {features.digest[:12]}: "
                f"to use the new set, run in Python: store = Store({url!r}); "
                f"store.point({self.name!r}, {{{selected.split!r}: store[{address.short!r}]}}, move=True)",
                objects=(address.manifest,),
            )
        return features


def select(storage: Storage, text: str) -> Selection:
    """Return the sets that a text selects; `Store.select` documents the errors."""
    name, split = name_and_split(text)
    ref = refs.read(storage, name) if NAME.match(name) else None
    if ref is None:
        address = _address(storage, text)
        return Selection(storage, text, None, (SelectedSet(address.short, address),))
    if split and split not in ref.splits:
        raise no_such_split(storage, name, split, ref.splits)
    sets = (
        SelectedSet(f"{name}:{each}", Address(pin.transform_key, pin.source_key), each, pin.digest)
        for each, pin in ref.splits.items()
        if split in ("", each)
    )
    return Selection(storage, text, name, tuple(sets))


def name_and_split(text: str) -> tuple[str, str]:
    """Return the name and the split of ``NAME:SPLIT``; the split of ``NAME`` is empty.

    Raises
    ------
    UsageError
        Nothing follows the colon.
    """
    name, colon, split = text.partition(":")
    if colon and not split:
        raise UsageError(
            f"the split in {text!r} is empty (is a variable not set?): pass {name} for all splits", name=text
        )
    return name, split


def refuse_unknown_name(storage: Storage, text: str) -> None:
    """Raise `UnknownNameError` if `text`, ``NAME`` or ``NAME:SPLIT``, does not exist.

    If the newest entry of a name is damaged, the name exists, but its splits are unknown: ``NAME:SPLIT`` raises `DamagedError`.
    """
    name, split = name_and_split(text)
    try:
        ref = refs.read(storage, name) if NAME.match(name) else None
    except DamagedError:
        if split:
            raise
        return
    if ref is None:
        raise no_such_name(storage, text, advice="gc --unreferenced removes the sets without a name")
    if split and split not in ref.splits:
        raise no_such_split(storage, name, split, ref.splits)


def all_addresses(storage: Storage, transform: str = "") -> Iterator[Address]:
    """Yield the sorted addresses of all sets of a store, unfinished sets included, if their transform key begins with `transform`.

    Folders whose names are not keys are left out: `odd_entries` reports them.
    """
    for transform_key in filter(_KEY.fullmatch, storage.folders("features")):
        if transform_key.startswith(transform):
            for source_key in filter(_KEY.fullmatch, storage.folders(f"features/{transform_key}")):
                yield Address(transform_key, source_key)


def sets_of_source(storage: Storage, source_key: str) -> Iterator[FeatureSet]:
    """Yield the committed sets of a source, one for each transform; sets that are damaged or have a newer format are left out."""
    for transform_key in filter(_KEY.fullmatch, storage.folders("features")):
        with contextlib.suppress(MissingObjectError, DamagedError, NewerFormatError):
            yield FeatureSet.open(storage, Address(transform_key, source_key))


def no_such_split(storage: Storage, name: str, split: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown split; its message suggests a similar split, and lists the splits of the name."""
    splits = [*known]
    hint = did_you_mean(split, splits) or ";"
    message = f"{name} in {storage.url} has no split {split!r}{hint} it has {', '.join(splits)}"
    return UnknownNameError(message, name=f"{name}:{split}")


def no_such_name(
    storage: Storage, text: str, *, advice: str = "use the beginning of a key, as ls shows it"
) -> UnknownNameError:
    """Return the error for an unknown name; its message suggests a similar name, or else lists the names of the store.

    If the store has sets, but no names, the message ends with `advice`.
    """
    names = [name for name, _ in refs.read_all(storage)]
    hint = did_you_mean(text.partition(":")[0], names) or (
        f"; it has {', '.join(names)}"
        if names
        else f"; it has no names: {advice}"
        if next(all_addresses(storage), None) is not None
        else "; it is empty"
    )
    return UnknownNameError(f"no {text!r} in the store {storage.url}{hint}", name=text)


def _address(storage: Storage, text: str) -> Address:
    """Return the address of a set. `text` has the beginnings of both keys, as ``TRANSFORM/SOURCE``, or the beginning of one key."""
    match = _KEY_PREFIX.match(text)
    if match is None:
        raise no_such_name(storage, text)
    first, second = match[1], match[2]
    if second is None:
        addresses = [each for each in all_addresses(storage) if any(key.startswith(first) for key in each)]
    elif len(first) == len(second) == 64:
        return Address(first, second)
    else:
        addresses = [each for each in all_addresses(storage, first) if each.source_key.startswith(second)]
    if len(addresses) > 1:  # committed sets take precedence over unfinished builds
        addresses = [each for each in addresses if _is_committed(storage, each)] or addresses
    if len(addresses) == 1:
        return addresses[0]
    several = ", ".join(address.short for address in addresses)
    message = (
        f"{text} is the beginning of several keys ({several}): give more characters"
        if addresses
        else f"no key in {storage.url} begins with {text}"
    )
    raise UnknownNameError(message, name=text)


def _is_committed(storage: Storage, address: Address) -> bool:
    with contextlib.suppress(DamagedError):
        try:
            storage.get(address.manifest)
        except MissingObjectError:
            return False
    return True
