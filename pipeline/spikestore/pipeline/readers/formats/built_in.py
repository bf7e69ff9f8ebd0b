"""The formats that spikestore reads, by name."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy.typing as npt

from spikestore.pipeline.readers.formats import mat, mnist_bin, npy, prophesee_dat
from spikestore.pipeline.readers.formats.aedat.aedat import read_aedat
from spikestore.pipeline.readers.formats.aedat.aedat4 import read_aedat4
from spikestore.pipeline.readers.formats.events import is_vector
from spikestore.pipeline.readers.formats.format import Format, RawEvents, columns_of
from spikestore.pipeline.readers.formats.hdf5_events import read_hdf5
from spikestore.pipeline.readers.formats.prophesee_raw import read_raw
from spikestore.pipeline.readers.formats.text import read_compressed_text, read_text


def _npy(content: bytes) -> RawEvents:
    if not content:
        raise ValueError("the file is empty")
    return columns_of(npy.read_array(content))


def _npz(content: bytes) -> RawEvents:
    """Return the arrays of an archive by name; if the archive has only one array, return the events in this array."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays: dict[str, npt.NDArray[Any]] = {
                name.removesuffix(".npy"): npy.read_array(archive.read(name)) for name in archive.namelist()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the file is not an .npz archive, or is damaged ({error})") from None
    if len(arrays) == 1:
        (array,) = arrays.values()
        return columns_of(array)
    return arrays


def _bin(content: bytes) -> RawEvents:
    problems = mnist_bin.problems_of([content])
    if problems:
        raise ValueError(problems[0])
    events = mnist_bin.unpack([content], problems)
    return {"t": events.t, "x": events.x, "y": events.y, "p": events.p}


def _bs2(content: bytes) -> RawEvents:
    """Return the events of a ``.bs2`` file of SLAYER.

    Events are stored as in ``.bin`` files. In ``.bin`` files, some entries mark an overflow of the clock; in ``.bs2`` files, no entry does.
    """
    if not content:
        raise ValueError("the file is empty")
    if len(content) % mnist_bin.BYTES:
        raise ValueError(f"{len(content)} bytes are not a whole number of events of {mnist_bin.BYTES} bytes")
    return dict(zip(("t", "x", "y", "p"), mnist_bin.fields_of(content), strict=True))


def _dat(content: bytes) -> RawEvents:
    return dict(zip(("t", "x", "y", "p"), prophesee_dat.read_dat(content), strict=True))


def _mat(content: bytes) -> RawEvents:
    """Return the numeric variables of a file by name; if the file has only one variable, return this variable."""
    variables = mat.read_variables(content)
    if len(variables) == 1:
        (array,) = variables.values()
        return array
    return {name: value.ravel() if is_vector(value) else value for name, value in variables.items()}


BUILT_IN = (
    Format(name="npy", version=1, suffixes=(".npy",), read=_npy, bytes_per_event=16),
    Format(name="npz", version=1, suffixes=(".npz",), read=_npz, bytes_per_event=8),
    Format(name="text", version=1, suffixes=(".csv", ".txt"), read=read_text, bytes_per_event=16),
    Format(
        name="text-gzip",
        version=1,
        suffixes=(".csv.gz", ".txt.gz"),
        read=read_compressed_text,
        bytes_per_event=5,
    ),
    Format(name="hdf5", version=1, suffixes=(".h5", ".hdf5"), read=read_hdf5, bytes_per_event=6),
    Format(name="mat", version=1, suffixes=(".mat",), read=_mat, bytes_per_event=5),
    Format(
        name="mnist-bin",
        version=1,
        suffixes=(".bin",),
        read=_bin,
        bytes_per_event=mnist_bin.BYTES,
        is_least=True,
    ),
    Format(
        name="slayer-bs2",
        version=1,
        suffixes=(".bs2",),
        read=_bs2,
        bytes_per_event=mnist_bin.BYTES,
        is_least=True,
    ),
    Format(
        name="prophesee-dat",
        version=1,
        suffixes=(".dat",),
        read=_dat,
        bytes_per_event=prophesee_dat.EVENT_BYTES,
        is_least=True,
    ),
    Format(name="prophesee-raw", version=1, suffixes=(".raw",), read=read_raw, bytes_per_event=4),
    Format(name="aedat", version=1, suffixes=(".aedat",), read=read_aedat),
    Format(name="aedat4", version=1, suffixes=(".aedat4",), read=read_aedat4, bytes_per_event=8),
)
"""Each format with its version; if a format returns other events for the same file, it needs a new version."""
