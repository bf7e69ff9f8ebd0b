"""Reader of N-TIDIGITS18; `spikestore.pipeline.readers.cochlea_files.ntidigits` describes the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files.hdf5 import HDF5_ERRORS, fault_of_system, one_line
from spikestore.pipeline.readers.cochlea_files.hdf5_reader import HDF5Reader
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Recording
from spikestore.store_schemas.errors import LayoutError, RecordingError

_CHANNELS = 64
_EVENT = np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int64)])
_EXPECTED = "expected N-TIDIGITS18, with train_labels, train_timestamps, train_addresses, test_labels, test_timestamps and test_addresses"
_DOWNLOAD = "download it again"
_SAID = ("o", "1", "2", "3", "4", "5", "6", "7", "8", "9", "z")

_Events = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class NTIDigitsReader(HDF5Reader):
    """Reader of one split; it reads only the recordings of single digits; implements `spikestore.pipeline.readers.reader.Reader`.

    Parameters
    ----------
    path : pathlib.Path
        The HDF5 file.
    split : {"train", "test"}
        The split.
    limit : int, optional
        Read only this many recordings from the start.

    Raises
    ------
    SourceNotFoundError
        The file does not exist.
    LayoutError
        The file is not HDF5, is damaged or truncated, or has another layout.
    SourceError
        The system cannot read the file.
    """

    name = "ntidigits-hdf5"
    version = 1
    has_y = False
    estimates_events = False
    sensor_size = (_CHANNELS, 1, 1)
    classes = _SAID
    extras: tuple[str, ...] = ()

    def __init__(self, path: Path, split: str, *, limit: int | None = None) -> None:
        super().__init__(path, expected=_EXPECTED, remedy=_DOWNLOAD)
        with self._closed_on_error():
            names = [_text(name) for name in self._member(f"{split}_labels")[()]]
            self._times = self._member(f"{split}_timestamps")
            self._channels = self._member(f"{split}_addresses")
        single = [name for name in names if name.split("-")[-1] in _SAID]
        self._names = single[:limit]
        self._labels = np.array([_SAID.index(name.split("-")[-1]) for name in self._names], np.int64)

    def _member(self, name: str) -> Any:
        if name not in self._file:
            raise LayoutError(f"{self._path} has no {name}; {_EXPECTED}: {_DOWNLOAD}", path=str(self._path))
        return self._file[name]

    def __len__(self) -> int:
        return len(self._names)

    def name_of(self, row: int) -> str:
        """Return the name of a recording for messages: the name of the file, and the name of the recording in the file."""
        return f"{self._path.name}: {self._names[row]}"

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording: int64, shape (len(self),); 0 if a recording is missing."""
        counts = [
            self._channels[name].size
            if name in self._channels and hasattr(self._channels[name], "size")
            else 0
            for name in self._names
        ]
        return np.array(counts, np.int64)

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Read the recordings ``start`` to ``stop - 1`` in columns; see `Reader.read_block`."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop - 1} do not exist: there are {len(self)} recordings")
        self._watched.check()
        errors: dict[int, RecordingError] = {}
        parts: list[_Events] = []
        for row in range(start, stop):
            try:
                parts.append(self._events(self._names[row]))
            except HDF5_ERRORS as error:
                self._watched.check()
                if (fault := fault_of_system(self._path, error)) is not None:
                    raise fault from error
                # The file's name and not its path: reasons of skipped recordings travel with the set.
                why = f"{self.name_of(row)}: {one_line(error)}"
                errors[row] = RecordingError(why, path=str(self._path), recording=row)
                parts.append((np.empty(0, np.int64), np.empty(0, np.int64)))
        self._watched.check()
        return EventBlock(
            first_row=start,
            offsets=np.cumsum([0, *(len(t) for t, _ in parts)], dtype=np.int64),
            t=np.concatenate([np.empty(0, np.int64), *(t for t, _ in parts)]),
            time_table=None,
            x=np.concatenate([np.empty(0, np.int64), *(x for _, x in parts)]),
            y=None,
            p=None,
            labels=self._labels[start:stop],
            extras={},
            errors=errors,
        )

    def _events(self, name: str) -> _Events:
        """Return times in µs and channels of a recording; raise ValueError if they are invalid."""
        if name not in self._times or name not in self._channels:
            raise ValueError(f"it has no times or no addresses: {_DOWNLOAD}")
        seconds, channels = np.asarray(self._times[name]), np.asarray(self._channels[name])
        if seconds.shape != channels.shape or seconds.ndim != 1:
            raise ValueError(f"its times have the shape {seconds.shape}, its addresses {channels.shape}")
        if seconds.dtype.kind not in "iuf" or channels.dtype.kind not in "iuf":
            raise ValueError(
                f"its times are {seconds.dtype}, its addresses {channels.dtype}, both should be numbers"
            )
        outside = ~((channels >= 0) & (channels < _CHANNELS) & (np.trunc(channels) == channels))
        if outside.any():
            event = int(np.argmax(outside))
            raise ValueError(
                f"event {event}: address {channels[event]} is no channel, there are 0 to {_CHANNELS - 1}"
            )
        microseconds = seconds.astype(np.float64) * 1e6
        late = ~(np.abs(microseconds) < 2.0**62)
        if late.any():
            event = int(np.argmax(late))
            raise ValueError(f"event {event}: {seconds[event]} s is not a valid time")
        return microseconds.astype(np.int64), channels.astype(np.int64)

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``; see `Reader.read`."""
        return self.read_block(start, stop).recordings(_EVENT)


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
