"""Reader of the silicon-cochlea files of Spiking Speech Commands (SSC) and Spiking Heidelberg Digits (SHD).

One HDF5 file a split:

======================  =========================  ==========================================
dataset                 type, shape                content
======================  =========================  ==========================================
``spikes/times``        vlen float16, (n,)         event times in seconds
``spikes/units``        vlen uint16, (n,)          channels, 0 to 699
``labels``              integer, (n,)              class numbers
``extra/keys``          bytes, (classes,)          class names
``extra/speaker``       integer, (n,), optional    speaker numbers
======================  =========================  ==========================================

Events are those of `tonic.datasets.SSC`, bit for bit: seconds are widened to float64, multiplied by 10^6 and
truncated to int64 µs. Wider floating-point times are read in the same way. What a whole file gets wrong is a
`LayoutError`; what one recording gets wrong is a `RecordingError` in its place.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.hdf5 import HDF5_ERRORS, one_line, open_hdf5, type_text
from spikestore.pipeline.readers.vlen import vlen_lengths
from spikestore.pipeline.recording import Events, Recording
from spikestore.store_schemas.errors import LayoutError, RecordingError, SourceChangedError, SpikestoreError

EVENT = np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int64)])
"""Tonic's dtype for these datasets; ``t`` in µs."""

_CHANNELS = 700
_TOO_LATE = 2.0**63
"""In µs: beyond int64. No float16 reaches it except infinity; wider types can."""
_EXPECTED = "expected HDF5 with spikes/times, spikes/units, labels and extra/keys, as SSC and SHD have it"
_DOWNLOAD = "download it again (https://zenkelab.org/datasets/)"


class CochleaReader:
    """The recordings of one SSC or SHD file; a `spikestore.pipeline.readers.reader.Reader`.

    Parameters
    ----------
    path : pathlib.Path
        The HDF5 file.
    limit : int, optional
        Read only this many recordings from the start.

    Attributes
    ----------
    classes : tuple of str
        Class names.
    extras : tuple of str
        ``("speaker",)`` where the file has speakers, else empty.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    LayoutError
        The file is not HDF5, truncated, without recordings, or in another layout.
    """

    name = "cochlea-hdf5"
    version = 1
    has_y = False
    sensor_size = (_CHANNELS, 1, 1)

    def __init__(self, path: Path, *, limit: int | None = None) -> None:
        self._path = path
        self._file = open_hdf5(path, expected=_EXPECTED, remedy=_DOWNLOAD)
        self._size = path.stat().st_size
        try:
            self._load(limit)
        except SpikestoreError:
            self.close()
            raise
        except HDF5_ERRORS as error:
            self.close()
            self._damaged(error)

    def _load(self, limit: int | None) -> None:
        self._times = self._sequences("spikes/times", "f", "floating-point")
        self._units = self._sequences("spikes/units", "iu", "integer")
        self._labels = self._integers("labels")
        self.classes = self._names("extra/keys")
        self._speakers = self._integers("extra/speaker") if "extra/speaker" in self._file else None
        self.extras: tuple[str, ...] = () if self._speakers is None else ("speaker",)
        counts = {
            "spikes/times": len(self._times),
            "spikes/units": len(self._units),
            "labels": len(self._labels),
        }
        if self._speakers is not None:
            counts["extra/speaker"] = len(self._speakers)
        if len(set(counts.values())) > 1:
            self._refuse(
                "numbers of recordings differ: " + ", ".join(f"{n} in {name}" for name, n in counts.items())
            )
        total = counts["labels"]
        if total == 0:
            raise LayoutError(f"{self._path} has no recordings: {_DOWNLOAD}", path=str(self._path))
        self._count = total if limit is None else min(total, limit)

    def __len__(self) -> int:
        return self._count

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of units of each recording, int64, shape (len(self),), without reading the units."""
        try:
            lengths = vlen_lengths(self._units, self._count)
        except HDF5_ERRORS as error:
            self._damaged(error)
        # A length that can't be would otherwise make a plan of absurd size.
        impossible = np.flatnonzero(lengths > self._size)
        if len(impossible):
            row = int(impossible[0])
            self._damaged(f"recording {row} would have {lengths[row]} events in a file of {self._size} bytes")
        return lengths

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``; see `Reader.read`."""
        if not 0 <= start <= stop <= self._count:
            raise IndexError(f"rows {start} to {stop} of {self._count} recordings")
        if start == stop:
            return []
        try:
            times, units = self._times[start:stop], self._units[start:stop]
        except HDF5_ERRORS as error:
            self._damaged(error)
        # HDF5 reads zeros, without a word, where a file ends earlier than it did when it was opened.
        if (size := self._path.stat().st_size) < self._size:
            raise SourceChangedError(
                f"{self._path} shrank from {self._size} to {size} bytes while it was read: "
                "run again when nothing writes to it",
                path=str(self._path),
            )
        return [self._recording(start + i, times[i], units[i]) for i in range(stop - start)]

    def _recording(
        self, row: int, times: npt.NDArray[Any], units: npt.NDArray[Any]
    ) -> Recording | RecordingError:
        if len(times) != len(units):
            return self._bad(row, f"{len(times)} times but {len(units)} units")
        label = int(self._labels[row])
        if not 0 <= label < len(self.classes):
            return self._bad(row, f"label {label} is not one of the {len(self.classes)} classes", label=label)
        events: Events = np.empty(len(times), EVENT)
        if len(times):
            # Widened first: 10^6 times a float16 overflows (tonic issue 321).
            with np.errstate(over="ignore", invalid="ignore"):
                microseconds = times.astype(np.float64) * 1e6
            # One NaN makes both extremes NaN, which no comparison passes.
            if not (microseconds.min() > -_TOO_LATE and microseconds.max() < _TOO_LATE):
                event = int(np.flatnonzero(~(np.abs(microseconds) < _TOO_LATE))[0])
                return self._bad(row, f"the time of event {event} is {times[event]} s", event=event)
            events["t"] = microseconds
            if units.max() >= _CHANNELS or units.min() < 0:
                event = int(np.flatnonzero((units >= _CHANNELS) | (units < 0))[0])
                why = f"event {event} is in channel {units[event]}, channels are 0 to {_CHANNELS - 1}"
                return self._bad(row, why, event=event)
            events["x"] = units
            events["p"] = 1
        extras = {} if self._speakers is None else {"speaker": int(self._speakers[row])}
        return Recording(row, events, label, extras)

    def _bad(self, row: int, why: str, **details: int) -> RecordingError:
        # The file's name and not its path: reasons of skipped recordings are stored and travel with the set.
        return RecordingError(
            f"{self._path.name}: recording {row}: {why}", path=str(self._path), recording=row, **details
        )

    def _dataset(self, name: str, requirement: str) -> Any:
        found = self._file.get(name)
        if not isinstance(found, h5py.Dataset):
            self._refuse(f"no dataset {name}")
        if found.ndim != 1:
            self._refuse(f"{name} has shape {found.shape}, should have one axis ({requirement})")
        if found.external or found.is_virtual or found.file.filename != self._file.filename:
            # The source key hashes this file only.
            self._refuse(f"{name} is stored in another file")
        return found

    def _sequences(self, name: str, kinds: str, noun: str) -> Any:
        requirement = f"variable-length {noun} sequences, little-endian"
        found = self._dataset(name, requirement)
        base = h5py.check_vlen_dtype(found.dtype)
        # h5py 3.16 hands out sequences of the other byte order unswapped: wrong numbers, without a word.
        if base is None or np.dtype(base).kind not in kinds or not np.dtype(base).isnative:
            self._refuse(f"{name} holds {type_text(found)}, should hold {requirement}")
        return found

    def _integers(self, name: str) -> npt.NDArray[np.int64]:
        found = self._dataset(name, "integers")
        if found.dtype.kind not in "iu":
            self._refuse(f"{name} holds {type_text(found)}, should hold integers")
        values = found[()]
        limits = np.iinfo(np.int32)  # what the store's columns hold
        if len(values) and (values.max() > limits.max or values.min() < limits.min):
            self._refuse(f"{name} has values beyond int32")
        return np.asarray(values, np.int64)

    def _names(self, name: str) -> tuple[str, ...]:
        found = self._dataset(name, "class names")
        if h5py.check_string_dtype(found.dtype) is None:
            self._refuse(f"{name} holds {type_text(found)}, should hold class names")
        try:
            return tuple(value.decode() for value in found[()].tolist())
        except UnicodeDecodeError:
            self._refuse(f"{name} has a class name that is not UTF-8 text")

    def _refuse(self, why: str) -> NoReturn:
        raise LayoutError(
            f"{self._path}: {why}; {_EXPECTED}: choose another file or {_DOWNLOAD}", path=str(self._path)
        )

    def _damaged(self, why: Exception | str) -> NoReturn:
        cause = why if isinstance(why, Exception) else None
        raise LayoutError(
            f"{self._path} is damaged or truncated ({one_line(why)}): {_DOWNLOAD}", path=str(self._path)
        ) from cause

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
