"""What a text means in a store: ``NAME``, ``NAME:SPLIT``, a key, or the beginnings of keys as ``ls`` shows them."""

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
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, UnknownNameError
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.wording import did_you_mean

_KEY_PREFIX = re.compile(r"^([0-9a-f]{4,64})(?:/([0-9a-f]{4,64}))?$")


class SelectedSet(NamedTuple):
    """A feature set that a text means; it may be damaged, or missing."""

    label: str
    """``NAME:SPLIT``, else the beginnings of its keys."""
    address: Address
    split: str = ""
    """Its split under the name; empty if it was selected by key."""
    digest: str | None = None
    """Digest of its content, which the name promises; None if it was selected by key."""


@dataclass(frozen=True)
class Selection:
    """The feature sets that a text means, at least one; nothing of them has been read."""

    storage: Storage
    text: str
    name: str | None
    """The name; None for sets that were selected by key."""
    sets: tuple[SelectedSet, ...]

    def open(self) -> dict[SelectedSet, FeatureSet]:
        """Open the sets.

        Raises
        ------
        DamagedError
            A set that the name pins is gone, or has another digest; or a manifest is damaged.
        UnknownNameError
            Nothing is committed under the key.
        """
        opened = {selected: self._open(selected) for selected in self.sets}
        if self.name is not None:
            warn_of_other_classes({selected.label: features for selected, features in opened.items()})
        return opened

    def only(self) -> FeatureSet:
        """Open the one set that is meant; errors as `open`.

        Raises
        ------
        UnknownNameError
            The name has several splits.
        """
        if len(self.sets) > 1:
            known = ", ".join(selected.label for selected in self.sets)
            message = f"{self.name} in {self.storage.url} has several splits: say {known}"
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
                f"{selected.label} stands for {address.folder}, which is not in {url}: build or copy it again",
                objects=(address.manifest,),
            ) from error
        if selected.digest not in (None, features.digest):
            raise DamagedError(
                f"{selected.label} was pinned with digest {selected.digest[:12]}, the set has {features.digest[:12]}",
                objects=(address.manifest,),
            )
        return features


def select(storage: Storage, text: str) -> Selection:
    """Return what a text means; as `Store.select`, which has the errors."""
    name, _, split = text.partition(":")
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


def all_addresses(storage: Storage, transform: str = "") -> Iterator[Address]:
    """Yield the addresses below ``features/``, committed or not, sorted, whose transform's key begins so."""
    for transform_key in storage.folders("features"):
        if transform_key.startswith(transform):
            for source_key in storage.folders(f"features/{transform_key}"):
                yield Address(transform_key, source_key)


def no_such_split(storage: Storage, name: str, split: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error that a name has no such split; its message says which it has."""
    splits = [*known]
    hint = did_you_mean(split, splits) or ";"
    message = f"{name} in {storage.url} has no split {split!r}{hint} it has {', '.join(splits)}"
    return UnknownNameError(message, name=f"{name}:{split}")


def no_such_name(storage: Storage, text: str) -> UnknownNameError:
    """Return the error that a text is no name of a store; its message says what there is."""
    names = [name for name, _ in refs.read_all(storage)]
    hint = did_you_mean(text.partition(":")[0], names) or (
        f"; it has {', '.join(names)}"
        if names
        else "; it has no names: say the beginning of a key, as ls shows it"
        if next(all_addresses(storage), None) is not None
        else "; it is empty"
    )
    return UnknownNameError(f"there is no {text!r} in the store {storage.url}{hint}", name=text)


def _address(storage: Storage, text: str) -> Address:
    """Return the address that ``TRANSFORM/SOURCE``, or the beginning of one of the two keys, means."""
    match = _KEY_PREFIX.match(text)
    if match is None:
        raise no_such_name(storage, text)
    first, second = match[1], match[2]
    if second is None:
        found = [one for one in all_addresses(storage) if any(key.startswith(first) for key in one)]
    elif len(first) == len(second) == 64:
        return Address(first, second)
    else:
        found = [one for one in all_addresses(storage, first) if one.source_key.startswith(second)]
    if len(found) > 1:  # unfinished builds are meant only where nothing else is
        found = [one for one in found if _is_committed(storage, one)] or found
    if len(found) == 1:
        return found[0]
    several = ", ".join(one.short for one in found)
    message = f"{text} could be any of {several}" if found else f"no key in {storage.url} begins with {text}"
    raise UnknownNameError(message, name=text)


def _is_committed(storage: Storage, address: Address) -> bool:
    with contextlib.suppress(DamagedError):
        try:
            storage.get(address.manifest)
        except MissingObjectError:
            return False
    return True
