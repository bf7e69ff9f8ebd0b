"""Description of a file format: its name, version, suffixes, and the function that reads it.

A package adds a format by an entry point of the group ``spikestore.formats`` (docs/own_recordings.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.errors import MissingExtraError, UsageError
from spikestore.store_schemas.specs.model import NAME

RawEvents = Mapping[str, npt.NDArray[Any]] | npt.NDArray[Any]
"""Events of a file, unchanged: columns by name, shape (events,) each; or a structured array, shape (events,); or an array without
names, shape (events, columns)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format in which each file is one recording.

    Attributes
    ----------
    name : str
        Name of the format; part of the key.
    version : int
        Version of the events that `read` returns, from 1; part of the key. If `read` is changed and returns other events for
        the same file, the version must change too.
    suffixes : tuple of str
        Suffixes of the file names, in lower case, such as ``.csv.gz``.
    read : callable
        Called with the bytes of a file; returns the events of the file. Raises ValueError if the file is
        faulty; the message describes the fault.
    bytes_per_event : float
        Approximate size of an event in a file, for planning. The plan of a build allows 16 times as many events as this size suggests.
    is_least : bool
        Whether `bytes_per_event` is the smallest size of an event, so that a file cannot have more events than `n_events` returns.
        If `is_least` is true for all formats of a source, the plan allows only `n_events` events.

    Raises
    ------
    UsageError
        The name or the version cannot be stored, there is no suffix, or a suffix does not start with a dot or is not in lower case.
    """

    name: str
    version: int
    suffixes: tuple[str, ...]
    read: Callable[[bytes], RawEvents]
    bytes_per_event: float = 8.0
    is_least: bool = False

    def __post_init__(self) -> None:
        if NAME.match(self.name) is None or self.version < 1:
            raise UsageError(
                f"format {self.name!r}: give a name of lower-case letters, digits, '.', '_' and '-', and a version of 1 or more"
            )
        wrong = [suffix for suffix in self.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
        if wrong or not self.suffixes:
            raise UsageError(
                f"format {self.name}: suffixes must be lower-case and start with a dot, got {self.suffixes}"
            )

    def events_of(self, file: str, content: bytes) -> RawEvents:
        """Return the events in `content`, the bytes of the file `file`.

        Raises
        ------
        MissingExtraError
            A library that the file needs is not installed; the message names the file.
        ValueError
            See `read`.
        """
        try:
            return self.read(content)
        except MissingExtraError as error:
            raise MissingExtraError(f"{file}: {error.message}", **error.details) from None

    def n_events(self, size: int) -> int:
        """Return the estimated number of events in a file of `size` bytes. If `is_least` is true, this is the largest possible number."""
        return int(size / self.bytes_per_event)


def columns_of(array: npt.NDArray[Any]) -> RawEvents:
    """Return the columns of a structured array by name; return any other array unchanged.

    If a structured array has several dimensions, raise ValueError.
    """
    if array.dtype.names is None:
        return array
    if array.ndim != 1:
        raise ValueError(f"the structured array has shape {array.shape}, should have one dimension")
    return {name: np.asarray(array[name]) for name in array.dtype.names}
