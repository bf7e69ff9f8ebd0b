"""Reader of a source with ``items``. Each part (a data set) is read by the reader of its files, or from its object in Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock, TimeType
from spikestore.pipeline.readers.items.live_dataset import PASSED_ON, Item, LiveDataset, hash_of
from spikestore.pipeline.readers.reader import ClosesOnExit, Reader
from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.readers.registry import dataset_named, open_reader
from spikestore.store_schemas.errors import RecordingError, SourceChangedError, UsageError
from spikestore.store_schemas.specs.items import FilePart, HashPart, ItemContent, Part
from spikestore.store_schemas.specs.source import Source

ITEMS = "items"
"""Name of the data set and of its reader."""

VERSION = 1
"""Version of the reader."""


@dataclass(frozen=True, slots=True, eq=False)
class LocatedPart:
    """Place of the recordings of a part on this machine: a folder or an object.

    Attributes
    ----------
    root : pathlib.Path, optional
        Folder of the files.
    live : LiveDataset, optional
        The object in Python, if there are no files.
    indices : tuple of int, optional
        For each recording, the index of its item in the object. Without `indices`, recording i is item i.
    events_per_item : float
        Mean number of events of an item in the object, estimated from some items.
    seconds_per_item : float
        Mean time to read an item of the object, in s, measured with the same items.
    """

    root: Path | None = None
    live: LiveDataset | None = None
    indices: tuple[int, ...] | None = None
    events_per_item: float = 0.0
    seconds_per_item: float = 0.0


class _Piece(NamedTuple):
    """The events of one recording, or its fault."""

    columns: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | None, npt.NDArray[Any] | None]
    label: int
    extras: dict[str, int]
    error: RecordingError | None = None
    time_table: npt.NDArray[np.int64] | None = None
    """Table of the times, if they are codes; see `EventBlock`."""

    def times(self, table: npt.NDArray[np.int64] | None) -> npt.NDArray[Any]:
        """Return the time of each event: in µs if `table` is None, else as a position in `table`."""
        t = self.columns[0]
        return t if table is not None or self.time_table is None else self.time_table[t]


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int32), None, None)


class ItemsReader(ClosesOnExit):
    """Reader of one source with ``items``; implements `spikestore.pipeline.readers.reader.Reader`.

    Parameters
    ----------
    content : ItemContent
        The member ``items`` of the source.
    parts : sequence of LocatedPart
        Where the recordings of each part are.
    first_row : int
        Row of the first recording of `content`, counted in the whole source.

    Attributes
    ----------
    extras : tuple of str
        Columns that the readers of all parts return.
    """

    name = ITEMS
    version = VERSION

    def __init__(self, content: ItemContent, parts: Sequence[LocatedPart], *, first_row: int = 0) -> None:
        self._content, self._located, self._first = content, parts, first_row
        self.classes = content.classes
        self.has_y = "y" in content.fields
        self._numbers = np.asarray(content.row_numbers, np.int64)
        self._starts = np.cumsum([0, *(part.length for part in content.parts)])
        self._part_of = np.searchsorted(self._starts, self._numbers, side="right") - 1
        self._files = ExitStack()
        self._readers: list[Reader | None] = []
        with ExitStack() as opened:
            for part, place in zip(content.parts, parts, strict=True):
                reader = open_part(part, place) if isinstance(part, FilePart) else None
                if reader is not None:
                    opened.enter_context(reader)
                self._readers.append(reader)
            self._files = opened.pop_all()
        self.extras = common_columns(self._readers)

    def __len__(self) -> int:
        return self._first + len(self._numbers)

    def name_of(self, row: int) -> str:
        """Return the name of a recording in messages: the name of its file, or the class of its object and the index of its item."""
        part, number = self._place(row)
        reader, located = self._readers[part], self._located[part]
        if reader is not None:
            return reader.name_of(number)
        name = "the object" if located.live is None else located.live.name
        return f"{name}: item {_index(located, number)}"

    @property
    def estimates_events(self) -> bool:
        """Whether the numbers of events of some recordings are estimates."""
        return any(reader is None or reader.estimates_events for reader in self._readers)

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording. It is an estimate if the recording is not read from files, or if `estimates_events` of its file reader is true."""
        counts = np.empty(len(self._numbers), np.int64)
        for part in np.unique(self._part_of):
            own, reader = self._part_of == part, self._readers[part]
            if reader is not None:
                counts[own] = reader.n_events()[self._numbers[own] - self._starts[part]]
            else:
                counts[own] = round(self._located[part].events_per_item)
        return counts

    def time_types(self) -> set[TimeType]:
        """Return the types of the times (`EventBlock.time_type`) of all parts. Each part is read up to its first recording with events.

        A part without events adds no type. `refuse_mixed_times` rejects types that must not be mixed.
        """
        types: set[TimeType] = set()
        for part in np.unique(self._part_of):
            reader = self._readers[part]
            if reader is None:
                types.add("integer")  # `LiveDataset` converts all times
                continue
            for number in np.unique(self._numbers[self._part_of == part] - self._starts[part]).tolist():
                block = reader.read_block(number, number + 1)
                if len(block.t):
                    types.add(block.time_type)
                    break
        return types

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Read the recordings ``start`` to ``stop - 1`` in columns; see `Reader.read_block`. Raises `UsageError` too: see `LiveDataset.read`."""
        if not self._first <= start <= stop <= len(self):
            raise IndexError(
                f"rows {start} to {stop - 1} do not exist: this reader has the recordings {self._first} to {len(self) - 1}"
            )
        numbers = self._numbers[start - self._first : stop - self._first]
        return self._one_run(start, numbers) or self._by_parts(start, numbers)

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``; see `Reader.read`."""
        return [self._recording(self.read_block(row, row + 1), row) for row in range(start, stop)]

    def close(self) -> None:
        """Close the files of all parts."""
        self._files.close()

    def _place(self, row: int) -> tuple[int, int]:
        part = int(self._part_of[row - self._first])
        return part, int(self._numbers[row - self._first]) - int(self._starts[part])

    def _one_run(self, start: int, numbers: npt.NDArray[np.int64]) -> EventBlock | None:
        """Return the rows as one block if they are consecutive recordings of one part, and this part has a reader; else return None."""
        if not len(numbers) or not (np.diff(numbers) == 1).all():
            return None
        (first, begin), (last, end) = self._place(start), self._place(start + len(numbers) - 1)
        reader = self._readers[first]
        if reader is None or first != last:
            return None
        block = reader.read_block(begin, end + 1)
        return dataclasses.replace(
            block,
            first_row=start,
            extras={name: block.extras[name] for name in self.extras},
            errors={
                row - begin + start: _at_row(error, row - begin + start)
                for row, error in block.errors.items()
            },
        )

    def _by_parts(self, start: int, numbers: npt.NDArray[np.int64]) -> EventBlock:
        pieces = dict(self._pieces(np.unique(numbers)))
        ordered = [pieces[int(number)] for number in numbers]
        filled = [piece for piece in ordered if len(piece.columns[0])]
        # Rules of SpikingJelly need the times as the file stores them, in every order of the rows; `time_types` says whether
        # all parts have such times.
        table = filled[0].time_table if filled else None
        if any(piece.time_table is not table for piece in filled):
            table = None
        times = [piece.times(table) for piece in filled]
        empty = np.empty(0, np.int32)
        t = np.concatenate(times or [_NOTHING[0]])
        x = np.concatenate([empty, *(piece.columns[1] for piece in ordered)])
        y = p = None
        if self.has_y:
            y = np.concatenate(
                [empty, *(empty if piece.columns[2] is None else piece.columns[2] for piece in ordered)]
            )
        if any(piece.columns[3] is not None for piece in ordered):
            ones = [
                np.ones(len(piece.columns[0]), np.uint8) if piece.columns[3] is None else piece.columns[3]
                for piece in ordered
            ]
            p = np.concatenate(ones)
        errors = {
            start + place: piece.error for place, piece in enumerate(ordered) if piece.error is not None
        }
        return EventBlock(
            first_row=start,
            offsets=np.cumsum([0, *(len(piece.columns[0]) for piece in ordered)], dtype=np.int64),
            t=t,
            time_table=table,
            x=x,
            y=y,
            p=p,
            labels=np.array([piece.label for piece in ordered], np.int64),
            extras={
                name: np.array([piece.extras.get(name, 0) for piece in ordered], np.int64)
                for name in self.extras
            },
            errors={row: _at_row(error, row) for row, error in errors.items()},
        )

    def _pieces(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, _Piece]]:
        """Yield number and content of the recordings with these `numbers`, which must ascend."""
        parts = np.searchsorted(self._starts, numbers, side="right") - 1
        for part in np.unique(parts):
            begin = int(self._starts[part])
            own = numbers[parts == part] - begin
            reader = self._readers[part]
            if reader is None:
                for number in own:
                    yield begin + int(number), self._live_piece(int(part), int(number))
                continue
            for run in np.split(own, np.flatnonzero(np.diff(own) != 1) + 1):
                block = reader.read_block(int(run[0]), int(run[-1]) + 1)
                for place, number in enumerate(run):
                    yield begin + int(number), self._piece_of(block, place, reader)

    def _piece_of(self, block: EventBlock, place: int, reader: Reader) -> _Piece:
        own = slice(int(block.offsets[place]), int(block.offsets[place + 1]))
        row = block.first_row + place
        error = block.errors.get(row)
        if block.time_table is not None and error is None:
            invalid = block.time_table[block.t[own]] == NO_TIME
            if invalid.any():
                event = int(np.argmax(invalid))
                error = RecordingError(f"{reader.name_of(row)}: event {event}: the time is not valid")
        columns = (
            block.t[own],
            block.x[own],
            None if block.y is None else block.y[own],
            None if block.p is None else block.p[own],
        )
        extras = {name: int(block.extras[name][place]) for name in self.extras}
        label = int(block.labels[place])
        return _Piece(_NOTHING if error is not None else columns, label, extras, error, block.time_table)

    def _live_piece(self, part: int, number: int) -> _Piece:
        located, spec = self._located[part], self._content.parts[part]
        live, index = located.live, _index(located, number)
        if live is None:
            raise UsageError(
                "the recordings of this set come from a Python object: pass this object to preprocess()"
            )
        try:
            item = live.read(index)
            label = self._label(item)
        except ValueError as error:
            if isinstance(error, PASSED_ON):
                raise
            fault = RecordingError(f"{live.item_name(index)}: {error}", recording=index)
            return _Piece(_NOTHING, 0, {}, fault)
        if isinstance(spec, HashPart) and hash_of(item, self.classes[label]) != spec.hashes[number]:
            raise SourceChangedError(
                f"{live.item_name(index)} changed its events or its class after it was hashed: give each item the same events at "
                "every access, and call preprocess() again"
            )
        events = item.events
        return _Piece((events.t, events.x, events.y, events.p), label, {})

    def _label(self, item: Item) -> int:
        """Return the class number of an item; raise ValueError if the item has no class, or does not have the fields of the other recordings."""
        if item.fields != self._content.fields:
            raise ValueError(
                f"it has the fields {', '.join(item.fields)}, other recordings have {', '.join(self._content.fields)}"
            )
        return label_number(item.label, self.classes)

    def _recording(self, block: EventBlock, row: int) -> Recording | RecordingError:
        if row in block.errors:
            return block.errors[row]
        times = block.t if block.time_table is None else block.time_table[block.t]
        columns = {"t": times, "x": block.x, **({} if block.y is None else {"y": block.y})}
        columns["p"] = np.ones(len(times), np.uint8) if block.p is None else block.p
        events = np.empty(len(times), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            events[name] = column
        extras = {name: int(column[0]) for name, column in block.extras.items()}
        return Recording(row, events, int(block.labels[0]), extras)


def first_not_sendable(parts: Iterable[LocatedPart]) -> str | None:
    """Return which data set in Python cannot be sent to worker processes, and why; None if all can be sent."""
    for place in parts:
        if place.live is not None and (why := place.live.not_sendable()) is not None:
            return f"{place.live.name} can't be sent to worker processes ({why})"
    return None


def open_part(part: FilePart, located: LocatedPart) -> Reader:
    """Return an open reader of all recordings of a part with files."""
    source = Source(
        reader=part.reader,
        reader_version=part.reader_version,
        dataset=part.dataset,
        split=part.split,
        files=part.files,
    )
    return open_reader(source, located.root or Path())


def common_columns(readers: Sequence[Reader | None]) -> tuple[str, ...]:
    """Return the names of the additional columns (`Reader.extras`) that all parts have. A part without a reader has none."""
    columns = [() if reader is None else reader.extras for reader in readers]
    return tuple(name for name in columns[0] if all(name in others for others in columns))


def label_number(label: int | str, classes: Sequence[str]) -> int:
    """Return the number of the class that a label names; raise ValueError if there is no such class."""
    if isinstance(label, str):
        if label not in classes:
            raise ValueError(f"its target {label!r} is none of the {len(classes)} classes")
        return classes.index(label)
    if not 0 <= label < len(classes):
        raise ValueError(
            f"its target is {label}, the {len(classes)} classes have the numbers 0 to {len(classes) - 1}"
        )
    return label


def rows_of_content(
    content: ItemContent, located: Sequence[LocatedPart], rows: slice
) -> tuple[ItemContent, tuple[LocatedPart, ...]]:
    """Return the content and the located parts of some rows, to send them to a task. The files and hashes of other rows are left out.

    If a data set has several recordings in one file, all files of this data set are kept.
    """
    numbers = np.asarray(content.row_numbers[rows], np.int64)
    starts = np.cumsum([0, *(part.length for part in content.parts)])
    of_part = np.searchsorted(starts, numbers, side="right") - 1
    parts: list[Part] = []
    places: list[LocatedPart] = []
    renumbered, first = np.empty(len(numbers), np.int64), 0
    for number in np.unique(of_part):
        part, place, own = content.parts[number], located[number], of_part == number
        wanted = numbers[own] - starts[number]
        kept, place_of = np.unique(wanted, return_inverse=True)
        if isinstance(part, FilePart) and dataset_named(part.dataset).file_per_recording:
            part = part.model_copy(update={"files": tuple(part.files[i] for i in kept), "length": len(kept)})
        elif isinstance(part, HashPart):
            part = part.model_copy(update={"hashes": tuple(part.hashes[i] for i in kept)})
            place = dataclasses.replace(place, indices=tuple(_index(place, int(i)) for i in kept))
        else:
            place_of = wanted
        renumbered[own] = first + place_of
        first += part.length
        parts.append(part)
        places.append(place)
    update = {"parts": tuple(parts), "rows": tuple(renumbered.tolist())}
    return content.model_copy(update=update), tuple(places)


def _index(located: LocatedPart, number: int) -> int:
    return number if located.indices is None else located.indices[number]


def _at_row(error: RecordingError, row: int) -> RecordingError:
    return RecordingError(error.message, **{**error.details, "recording": row})
