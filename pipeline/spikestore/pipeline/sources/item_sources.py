"""Sources made from Python objects: subsets and concatenations of data sets, and objects of the user's classes.

Recordings of a known data set are identified by their files. For other objects, the user states a version, or asks for a hash of all
events (docs/decisions/0063-objects-state-a-version.md).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.items.items_reader import (
    ITEMS,
    VERSION,
    LocatedPart,
    label_number,
)
from spikestore.pipeline.readers.items.live_dataset import PASSED_ON, Item, LiveDataset, hash_of
from spikestore.pipeline.sources.file_hashes import FileStamp
from spikestore.pipeline.sources.item_lists import ItemList, Leaf, list_items, names_of_classes
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.pipeline.transforms.from_tonic import ConvertedDataset
from spikestore.store_schemas.errors import RecordingError, UnsupportedTransformError, UsageError
from spikestore.store_schemas.specs.folder import EventField, TimeUnit
from spikestore.store_schemas.specs.items import FilePart, HashPart, ItemContent, Part, VersionPart
from spikestore.store_schemas.specs.source import OnError, Source
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

_SAMPLED = 8
"""Number of items that are read to estimate the number of events."""

_MOST_CLASSES = 100_000
"""Maximum number of classes: if labels are larger numbers, they probably are not classes."""

_UNREADABLE = "0" * 64
"""Hash of an item that could not be read and is skipped."""


class _Labels(NamedTuple):
    """What is known of the labels of a data set: names of its classes, or only their number."""

    names: tuple[str, ...] = ()
    number: int = 0


def source_of_dataset(
    dataset: object,
    *,
    version: str | None = None,
    hash_events: bool = False,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    time_unit: TimeUnit = "us",
    target: int | str | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
) -> LocatedSource:
    """Return the recordings of a data set object. They are identified by files, by a version, or by a hash of all events.

    Row i of a feature set is item i of the object.

    Parameters
    ----------
    dataset : object
        A data set with ``__len__`` and ``__getitem__``, whose items are pairs (events, target) with ``events`` as a structured
        array; a Tonic data set; or a ``Subset`` or ``ConcatDataset`` of torch, also nested.
    version : str, optional
        Identifies the recordings of a data set without known files. The Python class of the data set and its number of items are
        part of this identity too. If the recordings change, the version must change.
    hash_events : bool
        If True, the recordings of a data set without known files are identified by a hash of all events, instead of by
        `version`. All recordings are then read at each call.
    split : str, optional
        Name of the split; by default the split of the Tonic data sets, if all data sets are Tonic's and from one split, else ``all``.
    classes : sequence of str, optional
        Class names in the order of the class numbers; by default ``dataset.classes``, else the numbers or names of all targets.
    time_unit : {"us", "s", "ms", "ns"}
        Unit of the times of the events.
    target : int or str, optional
        Position or key of the label in a target that is a tuple or a dict.
    sort : bool
        Sort each recording's events by time.
    on_error : {"raise", "skip"}
        Effect of an item that cannot be read or transformed: an error, or a skipped recording.

    Raises
    ------
    UsageError
        The recordings cannot be identified, the object is not a map-style data set, its data sets have different classes or
        fields, or the object has a transform of its own.
    RecordingError
        An item that is needed for the identity cannot be read.
    SourceError
        A file cannot be read.
    """
    items = list_items(dataset)
    refuse_unidentified(items.leaves, version=version, hash_events=hash_events)
    if all(leaf.known is not None for leaf in items.leaves) and (time_unit != "us" or target is not None):
        raise UsageError(f"{items.leaves[0].name} is read from its files: omit time_unit= and target=")
    builder = _Builder(items, version=version, time_unit=time_unit, target=target, skip=on_error == "skip")
    content = builder.content(None if classes is None else names_of_classes(classes))
    splits = {leaf.known.split for leaf in items.leaves if leaf.known is not None}
    all_known = all(leaf.known is not None for leaf in items.leaves)
    own_split = splits.pop() if len(splits) == 1 and all_known else "all"
    source = Source.from_mapping(
        {
            "reader": ITEMS,
            "reader_version": VERSION,
            "dataset": ITEMS,
            "split": split if split is not None else own_split,
            "sort": sort,
            "on_error": on_error,
            "files": [],
            "items": content.to_mapping(),
        },
        origin="source items",
    )
    return LocatedSource(source, Path(), tuple(builder.stamps), parts=tuple(builder.places))


def refuse_unidentified(leaves: Sequence[Leaf], *, version: str | None, hash_events: bool) -> None:
    """Raise `UsageError` unless the recordings of each data set are identified: by files (``Leaf.known``), `version`, or a hash of all events.

    Also raise it in these cases:

    - `version` is empty, or is passed together with `hash_events`;
    - `version` or `hash_events` is passed, but the recordings of all data sets are identified by their files;
    - a data set whose files are not known has a transform of its own, which would change events before they are stored.
    """
    live = [leaf for leaf in leaves if leaf.known is None]
    if version is not None and (hash_events or not version):
        raise UsageError("pass only one of version= and hash_events=True; version= must not be empty")
    if not live and (version is not None or hash_events):
        names = ", ".join(leaf.name for leaf in leaves)
        raise UsageError(f"the files identify the recordings of {names}: omit version= and hash_events=")
    for leaf in live:
        if version is None and not hash_events:
            how = (
                'its recordings by version="1" (change this string whenever the recordings change), or by hash_events=True '
                "(reads all recordings at each call)"
            )
            if leaf.why_unknown:
                raise UnsupportedTransformError(f"{leaf.why_unknown}. Or identify {how}")
            raise UsageError(f"{leaf.name} has no known files: identify {how}")
        for attribute in ("transform", "transforms"):
            if getattr(leaf.dataset, attribute, None) is not None:
                raise UsageError(
                    f"{leaf.name} has a {attribute} of its own, which would change the events before they are stored: create the data "
                    f"set without a {attribute}, and pass transform= to preprocess"
                )


class _Files(NamedTuple):
    """A data set whose recordings are read from files."""

    part: FilePart
    place: LocatedPart
    fields: tuple[EventField, ...]
    classes: tuple[str, ...]
    columns: tuple[str, ...]


class _Builder:
    """Makes the member ``items`` of a source: what identifies each data set (its files, a version or a hash), and where its recordings are."""

    def __init__(
        self,
        items: ItemList,
        *,
        version: str | None,
        time_unit: TimeUnit,
        target: int | str | None,
        skip: bool,
    ) -> None:
        self._items, self._version, self._skip = items, version, skip
        self.stamps: list[FileStamp] = []
        self.places: list[LocatedPart] = []
        self._live = {
            number: LiveDataset(leaf.dataset, time_unit=time_unit, target=target)
            for number, leaf in enumerate(items.leaves)
            if leaf.known is None
        }

    def content(self, classes: tuple[str, ...] | None) -> ItemContent:
        """Return the member ``items`` of the source. Raise `UsageError` if a data set with a reader in spikestore has other classes than `classes`."""
        files = [
            None if leaf.known is None else self._open_files(leaf, leaf.known) for leaf in self._items.leaves
        ]
        fields = self._fields([one for one in files if one is not None])
        if classes is None:
            labels = [
                self._labels_of(number) if one is None else _Labels(one.classes)
                for number, one in enumerate(files)
            ]
            classes = _classes_of(labels, self._items.leaves)
        for leaf, one in zip(self._items.leaves, files, strict=True):
            if one is not None and one.classes != classes:
                raise UsageError(f"{leaf.name} has other classes than those in classes=: omit classes=")
        _report_columns([one.columns if one is not None else () for one in files])
        parts: list[Part] = []
        starts, row_of = [0], self._items.row_of.copy()
        for number, one in enumerate(files):
            part, place = (one.part, one.place) if one is not None else self._live_part(number, classes)
            if place.indices is not None:
                own = self._items.leaf_of == number
                row_of[own] = np.searchsorted(place.indices, row_of[own])
            self.places.append(place)
            parts.append(part)
            starts.append(starts[-1] + part.length)
        rows = np.asarray(starts)[self._items.leaf_of] + row_of
        whole = len(rows) == starts[-1] and np.array_equal(rows, np.arange(len(rows)))
        return ItemContent(
            parts=tuple(parts), rows=() if whole else tuple(rows.tolist()), classes=classes, fields=fields
        )

    def _fields(self, files: Sequence[_Files]) -> tuple[EventField, ...]:
        """Return the fields of the events; raise `UsageError` unless all data sets have the same fields, and `RecordingError` if no item can be read."""
        items = [self._first_item(number) for number in self._live]
        fields = {one.fields for one in files} | {item.fields for item in items if item is not None}
        if len(fields) > 1:
            texts = "; ".join(sorted(", ".join(one) for one in fields))
            raise UsageError(
                f"the events of the data sets have different fields ({texts}): build a separate feature set for each data set"
            )
        if not fields:
            names = ", ".join(live.name for live in self._live.values())
            raise RecordingError(f'no item of {names} can be read: pass on_error="raise" to see the reason')
        return fields.pop()

    def _open_files(self, leaf: Leaf, known: ConvertedDataset) -> _Files:
        located = make_source(known.dataset, known.split, known.folder)
        source = located.source
        with located.open() as reader:
            length, classes, columns = len(reader), reader.classes, reader.extras
            fields: tuple[EventField, ...] = ("t", "x", "y", "p") if reader.has_y else ("t", "x", "p")
        if length != len(leaf.dataset):
            raise UsageError(
                f"{leaf.name} has {plural(len(leaf.dataset), 'item')}, but its files have {plural(length, 'recording')}: create this Python object again"
            )
        part = FilePart(
            reader=source.reader,
            reader_version=source.reader_version,
            dataset=source.dataset,
            split=source.split,
            length=length,
            files=source.files,
        )
        self.stamps += located.stamps
        return _Files(part, LocatedPart(root=located.root), fields, classes, columns)

    def _used(self, number: int) -> npt.NDArray[np.int64]:
        return np.unique(self._items.row_of[self._items.leaf_of == number])

    def _first_item(self, number: int) -> Item | None:
        """Return the first readable item of a data set, or None if it has no readable item.

        Raise an error at an unreadable item, unless unreadable items are skipped. Also raise an error if two reads of the returned item differ.
        """
        live = self._live[number]
        for index in self._used(number).tolist():
            try:
                item, again = live.read(index), live.read(index)
            except ValueError as error:
                if isinstance(error, PASSED_ON) or not self._skip:
                    raise self._at(live, index, error) from error
                continue
            if hash_of(item, str(item.label)) != hash_of(again, str(again.label)):
                raise UsageError(
                    f"{live.item_name(index)} has other events when read a second time: a store would repeat one random version for ever. "
                    "Turn off what is random in the data set; augment during training instead"
                )
            live.probe = index, hash_of(item, str(item.label))
            return item
        return None

    def _labels_of(self, number: int) -> _Labels:
        """Return the class names of data set `number`: from its attribute ``classes`` or ``targets``, else from all its items."""
        live, dataset = self._live[number], self._items.leaves[number].dataset
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str | int) for name in names):
            if len({*map(str, names)}) < len(names):
                raise UsageError(f"{live.name} lists a class twice: pass classes=")
            return _Labels(names_of_classes([*map(str, names)]))
        length = len(dataset)
        targets = getattr(dataset, "targets", None)
        if live.target is None and isinstance(targets, list | tuple | np.ndarray) and len(targets) == length:
            found: list[Any] = list(targets)
        else:
            logger.info(
                "%s: reading %s to find all labels: pass classes= to avoid this",
                live.name,
                plural(length, "item"),
            )
            found = []
            for index in range(length):
                try:
                    found.append(live.read(index).label)
                except ValueError as error:
                    if isinstance(error, PASSED_ON) or not self._skip:
                        raise self._at(live, index, error) from error
        if found and all(isinstance(label, str) for label in found):
            texts = {str(label) for label in found}
            numeric = all(text.isdecimal() for text in texts)
            return _Labels(tuple(sorted(texts, key=lambda text: (int(text), text) if numeric else (0, text))))
        if not found:
            raise UsageError(f"no item of {live.name} can be read to find its classes: pass classes=")
        if wrong := [label for label in found if not isinstance(label, int | np.integer) or label < 0]:
            raise UsageError(
                f"one target of {live.name} is {wrong[0]!r:.60}, but the targets must all be whole numbers from 0, or must all be texts: change this target; or pass classes= if numbers and texts are both right, or target= if the label is a part of the target"
            )
        if max(found) >= _MOST_CLASSES:
            raise UsageError(
                f"one target of {live.name} is {max(found):,}, too large for a class number: pass classes=, or target= if the "
                "label is a part of the target"
            )
        return _Labels(number=int(max(found)) + 1)

    def _live_part(self, number: int, classes: tuple[str, ...]) -> tuple[Part, LocatedPart]:
        live, dataset = self._live[number], self._items.leaves[number].dataset
        used = self._used(number)
        events, seconds = self._sample(live, used)
        if self._version is not None:
            part = VersionPart(
                name=live.name,
                version=self._version,
                length=len(dataset),
                time_unit=live.time_unit,
                target=live.target,
            )
            return part, LocatedPart(live=live, events_per_item=events, seconds_per_item=seconds)
        hashes = tuple(self._hash(live, index, classes) for index in used.tolist())
        place = LocatedPart(
            live=live, indices=tuple(used.tolist()), events_per_item=events, seconds_per_item=seconds
        )
        return HashPart(hashes=hashes), place

    def _hash(self, live: LiveDataset, index: int, classes: tuple[str, ...]) -> str:
        try:
            item = live.read(index)
            return hash_of(item, classes[label_number(item.label, classes)])
        except ValueError as error:
            if isinstance(error, PASSED_ON) or not self._skip:
                raise self._at(live, index, error) from error
            return _UNREADABLE

    @staticmethod
    def _sample(live: LiveDataset, used: npt.NDArray[np.int64]) -> tuple[float, float]:
        """Return the mean number of events and the mean time to read an item, in s, over a few of the items `used`."""
        counts = []
        began = time.perf_counter()
        chosen = used[np.unique(np.linspace(0, len(used) - 1, _SAMPLED).astype(int))].tolist()
        for index in chosen:
            with contextlib.suppress(ValueError):  # the build reports this item
                counts.append(len(live.read(index).events.t))
        return float(np.mean(counts)) if counts else 0.0, (time.perf_counter() - began) / len(chosen)

    @staticmethod
    def _at(live: LiveDataset, index: int, error: ValueError) -> Exception:
        if isinstance(error, PASSED_ON):
            return error
        return RecordingError(f"{live.item_name(index)}: {error}", recording=index)


def _report_columns(columns: Sequence[tuple[str, ...]]) -> None:
    """Log a warning about columns that not all data sets have."""
    lost = sorted(
        {name for names in columns for name in names if any(name not in others for others in columns)}
    )
    if lost:
        logger.warning(
            "the columns %s are not stored: not all of the combined data sets have them", ", ".join(lost)
        )


def _classes_of(labels: Sequence[_Labels], leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """Return the classes of a source; raise `UsageError` if its data sets (`leaves`) have different classes, or a target has no class."""
    named = [(one.names, leaf.name) for one, leaf in zip(labels, leaves, strict=True) if one.names]
    count = max(one.number for one in labels)
    if not named:
        return tuple(map(str, range(count)))
    names, first = named[0]
    for others, leaf in named[1:]:
        if others != names:
            raise UsageError(
                f"{first} and {leaf} have different classes, so their labels mean different things: pass classes=, or build a separate feature set for each data set"
            )
    if count > len(names):
        raise UsageError(
            f"a target is {count - 1}, but {first} has {plural(len(names), 'class')}: pass classes= with a name for each class"
        )
    return names
