"""Reader of the cochlea files of Spiking Speech Commands (SSC) and Spiking Heidelberg Digits (SHD).

Each split is one HDF5 file:

======================  =========================  ==========================================
dataset                 type, shape                content
======================  =========================  ==========================================
``spikes/times``        vlen float16, (n,)         event times in seconds
``spikes/units``        vlen uint16, (n,)          channels, 0 to 699
``labels``              integer, (n,)              class numbers
``extra/keys``          bytes, (classes,)          class names
``extra/speaker``       integer, (n,), optional    speaker numbers
======================  =========================  ==========================================

Events equal those of `tonic.datasets.SSC` bit for bit: seconds are converted to float64, multiplied by 10^6 and truncated to
int64 µs. Times of other floating-point types are read in the same way. If the whole file has a fault, or
`read_block` can read none of the requested recordings, a `LayoutError` is raised. If single recordings cannot be read or are
invalid, a `RecordingError` is returned in place of each of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files.cochlea_block import CHANNELS, cochlea_block
from spikestore.pipeline.readers.cochlea_files.cochlea_layout import DOWNLOAD, EXPECTED, CochleaLayout
from spikestore.pipeline.readers.cochlea_files.hdf5 import HDF5_ERRORS, fault_of_system, one_line
from spikestore.pipeline.readers.cochlea_files.hdf5_reader import HDF5Reader
from spikestore.pipeline.readers.cochlea_files.sequences import Sequences, element_type, read_sequences
from spikestore.pipeline.readers.cochlea_files.vlen import stored_lengths, vlen_lengths
from spikestore.pipeline.readers.event_block import EventBlock, are_few
from spikestore.pipeline.readers.recording import Recording
from spikestore.store_schemas.errors import LayoutError, RecordingError

if TYPE_CHECKING:
    from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap

EVENT = np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int64)])
"""Tonic's dtype of the events of these data sets; ``t`` is in µs."""


class CochleaReader(HDF5Reader):
    """Reader of one SSC or SHD file; implements `spikestore.pipeline.readers.reader.Reader`.

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
        ``("speaker",)`` if the file has speakers, else empty.

    Raises
    ------
    SourceNotFoundError
        The file does not exist.
    LayoutError
        The file is not HDF5, is damaged or truncated, has no recordings, or has another layout.
    SourceError
        The system cannot read the file.
    """

    name = "cochlea-hdf5"
    version = 1
    has_y = False
    estimates_events = False
    sensor_size = (CHANNELS, 1, 1)

    def __init__(self, path: Path, *, limit: int | None = None) -> None:
        super().__init__(path, expected=EXPECTED, remedy=DOWNLOAD)
        self._heap: VlenHeap | None = None
        self._few_events: bool | None = None
        with self._closed_on_error():
            self._load(limit)

    def _load(self, limit: int | None) -> None:
        layout = CochleaLayout(self._path, self._file)
        self._times = layout.sequences("spikes/times", "f", "floating-point")
        self._units = layout.sequences("spikes/units", "iu", "integer")
        self._labels = layout.integers("labels")
        self.classes = layout.names("extra/keys")
        self._speakers = layout.integers("extra/speaker") if "extra/speaker" in self._file else None
        self.extras: tuple[str, ...] = () if self._speakers is None else ("speaker",)
        counts = {
            "spikes/times": len(self._times),
            "spikes/units": len(self._units),
            "labels": len(self._labels),
        }
        if self._speakers is not None:
            counts["extra/speaker"] = len(self._speakers)
        if len(set(counts.values())) > 1:
            layout.refuse(
                "numbers of recordings differ: " + ", ".join(f"{n} in {name}" for name, n in counts.items())
            )
        total = counts["labels"]
        if total == 0:
            raise LayoutError(f"{self._path} has no recordings: {DOWNLOAD}", path=str(self._path))
        self._count = total if limit is None else min(total, limit)

    def __len__(self) -> int:
        return self._count

    def name_of(self, row: int) -> str:
        """Return the name of a recording in messages: the file's name and the row."""
        return f"{self._path.name}: recording {row}"

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording: int64, shape (len(self),).

        These are the lengths in ``spikes/units``. The units themselves are read only if `vlen_lengths` cannot read the lengths alone.
        """
        try:
            lengths = vlen_lengths(self._units, self._count)
        except HDF5_ERRORS as error:
            self._damaged(error)
        # Impossible lengths are rejected, because they would result in a plan of absurd size.
        impossible = np.flatnonzero(lengths > self._watched.size)
        if len(impossible):
            row = int(impossible[0])
            self._damaged(
                f"recording {row} claims {lengths[row]} events, but the whole file has {self._watched.size} bytes"
            )
        return lengths

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``; see `Reader.read`."""
        return self.read_block(start, stop).recordings(EVENT)

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Return the recordings ``start`` to ``stop - 1`` as columns; see `Reader.read_block`."""
        if self._few_events is None:
            self._few_events = self._has_few_events()
            if not self._few_events:
                # Imported here, because importing numba takes half a second, and planning and small sets do not need it.
                # The import is outside of the code that treats errors as damage of the file.
                from spikestore.pipeline.readers.cochlea_files.heap_kernels import compile_kernels

                compile_kernels()
        if not 0 <= start <= stop <= self._count:
            raise IndexError(f"rows {start} to {stop - 1} do not exist: there are {self._count} recordings")
        # If a file was truncated after it was opened, HDF5 silently reads zeros, and some zeros make it read for ever.
        # Therefore the file is checked before and after.
        self._watched.check()
        unreadable: dict[int, str] = {}
        try:
            times, units = self._from_heap(start, stop)
        except HDF5_ERRORS as error:
            times, units = self._one_by_one(start, stop, error, unreadable)
        self._watched.check()
        return cochlea_block(
            start,
            times,
            units,
            self._labels[start:stop],
            {} if self._speakers is None else {"speaker": self._speakers[start:stop]},
            n_classes=len(self.classes),
            problem=self._bad,
            unreadable=unreadable,
        )

    def _one_by_one(
        self, start: int, stop: int, error: Exception, unreadable: dict[int, str]
    ) -> list[Sequences]:
        """Read recordings one by one, after reading all at once has failed; add the unreadable recordings to `unreadable`.

        If no recording with events can be read, raise the error for a damaged or truncated file, usually a `LayoutError`. Raise this error
        also if every recording can be read alone, although reading all at once has failed.
        """
        rows: list[list[Sequences]] = []
        for row in range(start, stop):
            try:
                rows.append(self._from_heap(row, row + 1))
            except HDF5_ERRORS as why:
                self._watched.check()
                if (fault := fault_of_system(self._path, why)) is not None:
                    raise fault from why
                unreadable[row] = f"it can't be read ({one_line(why)}): {DOWNLOAD}"
        if not unreadable or not any(one.lengths.any() for row in rows for one in row):
            self._damaged(error)
        joined = []
        for place, dataset in enumerate((self._times, self._units)):
            lengths = np.zeros(stop - start, np.int64)
            read = [row - start for row in range(start, stop) if row not in unreadable]
            lengths[read] = [int(row[place].lengths[0]) for row in rows]
            values = [row[place].values for row in rows]
            joined.append(
                Sequences(lengths, np.concatenate(values).astype(element_type(dataset), copy=False))
            )
        return joined

    def _has_few_events(self) -> bool:
        try:
            lengths = stored_lengths(self._units, self._count)
        except HDF5_ERRORS:
            return False  # the error is reported when the events are read
        return lengths is not None and are_few(int(lengths.sum()))

    def _through_h5py(self, start: int, stop: int) -> list[Sequences]:
        """Read times and channels of recordings with h5py, for files that `VlenHeap` cannot read. If the file is damaged, h5py may loop for ever."""
        return [read_sequences(dataset, start, stop) for dataset in (self._times, self._units)]

    def _from_heap(self, start: int, stop: int) -> list[Sequences]:
        if self._heap is None:
            from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap

            self._heap = VlenHeap(self._times, self._units, few_events=bool(self._few_events))
        sequences = self._heap.read(start, stop)
        if sequences is not None:
            return sequences
        self._watched.check()
        return self._through_h5py(start, stop)

    def _bad(self, row: int, why: str, **details: int) -> RecordingError:
        # The file's name and not its path: reasons of skipped recordings are stored and travel with the set.
        return RecordingError(f"{self.name_of(row)}: {why}", path=str(self._path), recording=row, **details)
