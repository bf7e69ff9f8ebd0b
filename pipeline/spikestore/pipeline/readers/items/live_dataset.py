"""A data set in Python without known files: its items are pairs (events, target).

Only one thread at a time reads items, because data sets of users are rarely thread-safe. A worker process
gets a pickled copy of the data set.
"""

from __future__ import annotations

import errno
import hashlib
import io
import operator
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.pipeline.readers.formats.events import EventColumns
from spikestore.store_schemas.errors import SourceError, UsageError
from spikestore.store_schemas.specs.folder import Decoding, EventField, TimeUnit

LARGEST_COPY = 4 * 2**20
"""Maximum size of a pickled data set that is sent to workers, in bytes: each task carries it."""

_KEPT_COPIES = 2
_FIELDS: tuple[EventField, ...] = ("t", "x", "y", "p")
_loaded: OrderedDict[str, tuple[Any, threading.Lock]] = OrderedDict()
"""Data sets that this process received, and the lock of each, by the hash of their pickle: many tasks contain the same data set."""
_loading = threading.Lock()


PASSED_ON = (UsageError, SourceError)
"""Errors that are not the fault of a single item; `on_error` has no effect on them."""


class _BoundedCopy(io.BytesIO):
    """A file in memory for a pickled data set. It rejects more than `LARGEST_COPY` bytes, because each task carries the pickled data set."""

    def write(self, data: Any, /) -> int:
        if self.tell() + memoryview(data).nbytes > LARGEST_COPY:
            raise ValueError(f"the copy for a worker would have more than {LARGEST_COPY:,} bytes")
        return super().write(data)


class Item(NamedTuple):
    """One item of a data set."""

    events: EventColumns
    """The events: times in µs as int64, coordinates as int32, polarities as uint8."""
    label: int | str
    """The label: a number or a name."""

    @property
    def fields(self) -> tuple[EventField, ...]:
        """Names of the fields that the events of this item have."""
        return tuple(field for field in _FIELDS if getattr(self.events, field) is not None)


class LiveDataset:
    """A data set in Python with ``__len__`` and ``__getitem__``.

    Parameters
    ----------
    dataset : object
        The data set; it is not modified.
    time_unit : {"us", "s", "ms", "ns"}
        Unit of the times of the events.
    target : int or str, optional
        Position or key of the label in each target; None if the target is the label.
    """

    def __init__(self, dataset: Any, *, time_unit: TimeUnit = "us", target: int | str | None = None) -> None:
        self.name = name_of_class(dataset)
        self.time_unit: TimeUnit = time_unit
        self.target = target
        self.probe: tuple[int, str] | None = None
        """Index of an item, and its `hash_of`. Each worker process compares the hash, because its copy of the data set may read other files."""
        self._dataset = dataset
        self._copy: bytes | None = None
        self._path: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        copy, path = self._pickled(), self._path or tuple(sys.path)
        return {
            "name": self.name,
            "time_unit": self.time_unit,
            "target": self.target,
            "probe": self.probe,
            "_copy": copy,
            "_path": path,
            "_dataset": None,
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def item_name(self, index: int) -> str:
        """Return the name of an item in messages."""
        return f"{self.name}: item {index}"

    def read(self, index: int) -> Item:
        """Return an item.

        Raises
        ------
        ValueError
            The item cannot be read, or is not a recording; the message describes the fault.
        SourceError
            The system failed, for example because too many files are open; the item itself has no fault.
        UsageError
            This is a worker process, and its copy of the data set cannot be loaded, or gives other events than the original.
        """
        self._open()
        return self._read(index)

    def _read(self, index: int) -> Item:
        with self._lock:
            try:
                pair = self._dataset[index]
            except MemoryError:
                raise
            except Exception as error:  # of the user's code
                if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                    raise SourceError(f"{self.item_name(index)} can't be read: {error}") from error
                raise ValueError(f"{type(error).__name__}: {error}") from error
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"it is {_what(pair)}, should be a pair of events and target")
        events, target = pair
        if not isinstance(events, np.ndarray) or events.dtype.names is None:
            raise ValueError(
                f"its events are {_what(events)}, should be a structured array with the fields t, x, y, p: turn off transforms in "
                "the data set"
            )
        decoding = Decoding(formats={}, fields=("t", "x"), time_unit=self.time_unit)
        try:
            columns = clean_events(events, decoding)
        except ValueError as error:
            raise ValueError(_advice_for_objects(str(error))) from error
        return Item(columns, self._label(target))

    def not_sendable(self) -> str | None:
        """Return the reason why the data set cannot be sent to a worker process; None if the data set can be sent."""
        try:
            self._pickled()
        except Exception as error:  # pickling runs code of the user and of libraries
            return f"{type(error).__name__}: {error}"
        return None

    def _pickled(self) -> bytes:
        if self._copy is None:
            # Classes of a script have no module that a worker could import: cloudpickle sends them by value.
            import cloudpickle  # type: ignore[import-untyped]

            copy = _BoundedCopy()
            cloudpickle.dump(self._dataset, copy)
            self._copy = copy.getvalue()
        return self._copy

    def _open(self) -> None:
        """In a worker process, load the copy of the data set, and compare the hash of one item with the hash that the first process computed."""
        if self._dataset is not None or self._copy is None:
            return
        self._dataset, self._lock = _load(self._copy, self._path, self.name)
        if self.probe is None:
            return
        index, wanted = self.probe
        try:
            item = self._read(index)
        except ValueError as error:  # not a fault of the item: the first process could read it
            if isinstance(error, PASSED_ON):
                raise
            raise UsageError(
                f"a worker process cannot read {self.item_name(index)} ({error}), but this process can: pass workers=0 to read all "
                "items in this process"
            ) from error
        if hash_of(item, str(item.label)) != wanted:
            raise UsageError(
                f"a worker process gets other events of {self.item_name(index)} than this process: pass workers=0 to read all items in this "
                "process"
            )

    def _label(self, target: Any) -> int | str:
        value = target
        if self.target is not None:
            try:
                value = target[self.target]
            except (TypeError, LookupError) as error:
                raise ValueError(f"its target, {_what(target)}, has no {self.target!r}") from error
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"its target {value!r} is not UTF-8: correct the text") from None
            return str(value)
        try:
            return operator.index(value)
        except TypeError:
            raise ValueError(
                f"its target is {_what(value)}, should be a whole number or text: pass target=, the position or key of the label in "
                "it"
            ) from None


def name_of_class(dataset: object) -> str:
    """Return the name of an object's class, which is part of keys: ``MODULE.CLASS``, or only ``CLASS`` if a script (``__main__``) defines it."""
    kind = type(dataset)
    return kind.__qualname__ if kind.__module__ == "__main__" else f"{kind.__module__}.{kind.__qualname__}"


def hash_of(item: Item, label_name: str) -> str:
    """Return the SHA-256 (hex) of the events and the class of an item.

    Three things are hashed: the names of the fields and the number of events; then the values of each field, little-endian (t
    as int64, x and y as int32, p as uint8); then the name of the class. So the hash does not depend on the dtypes and the order of
    the fields.
    """
    digest = hashlib.sha256(f"{''.join(item.fields)} {len(item.events.t)} ".encode())
    for field, dtype in zip(_FIELDS, ("<i8", "<i4", "<i4", "<u1"), strict=True):
        column = getattr(item.events, field)
        if column is not None:
            digest.update(np.ascontiguousarray(column, dtype).tobytes())
    digest.update(label_name.encode())
    return digest.hexdigest()


def _load(copy: bytes, path: tuple[str, ...], name: str) -> tuple[Any, threading.Lock]:
    """Return the data set of a pickled copy that was sent to this process, and the lock for reading this data set.

    `path` has the folders from which the sender imports modules.
    """
    key = hashlib.sha256(copy).hexdigest()
    with _loading:
        if key not in _loaded:
            sys.path.extend(place for place in path if place not in sys.path)
            try:
                # The copy comes from a process of the same user, never from a store.
                _loaded[key] = pickle.loads(copy), threading.Lock()  # noqa: S301
            except Exception as error:
                raise UsageError(
                    f"a worker process can't load the data set {name} ({type(error).__name__}: {error}): pass workers=0 to read the data set in "
                    "this process"
                ) from error
            while len(_loaded) > _KEPT_COPIES:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]


def _advice_for_objects(message: str) -> str:
    """Return a message of `clean_events` in which the advice about a recipe is replaced, because an object in Python has no recipe."""
    fault, _, setting = message.partition(": set ")
    if setting.startswith(("names", "fields")):
        return f"{fault}: give the array the fields t, x, y and p"
    return f"{fault}: correct the times in the data set" if setting else message


def _what(value: object) -> str:
    """Return a description of a value for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with the shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {name_of_class(value).removeprefix('builtins.')}"
