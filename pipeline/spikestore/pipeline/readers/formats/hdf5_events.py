"""Event files in HDF5: the layouts of DSEC and Metavision, and any group with one dataset per field.

========================  ======================================================================
layout                    datasets
========================  ======================================================================
DSEC                      ``events/t``, ``events/x``, ``events/y``, ``events/p``
Metavision                ``CD/events``, with the fields t, x, y, p
one group                 t, x, y, p, all in one group: any group, also the top level of the file
========================  ======================================================================

A file that has events at more than one place is rejected.

DSEC's ``t_offset`` is not added: times are those of ``events/t``.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from spikestore.pipeline.readers.formats.clean_events import field_named
from spikestore.pipeline.readers.formats.format import RawEvents, columns_of
from spikestore.store_schemas.errors import MissingExtraError, UsageError


def read_hdf5(content: bytes) -> RawEvents:
    """Return the events of a file: columns by name.

    Raises
    ------
    MissingExtraError
        The file is compressed by a filter that is not installed.
    ValueError
        The file is not HDF5, is damaged, has events in none of the layouts of this module, or has several groups or datasets with events.
    """
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - registers filters
    if not content:
        raise ValueError("the file is empty")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return _events(file)
    except UsageError:
        raise
    except Exception as error:  # h5py raises anything on damaged files
        why = " ".join(str(error).split())[:200]
        if "filter" in why or "plugin" in why:
            raise MissingExtraError(
                f"the file is compressed by a filter that is not installed ({why}): pip install 'spikestore[hdf5-filters]'; "
                "for Metavision's ECF, install Prophesee's codec"
            ) from None
        if isinstance(error, ValueError) and why.startswith("the file "):
            raise
        raise ValueError(f"the file is not HDF5, or is damaged ({why})") from None


def _events(file: Any) -> RawEvents:
    import h5py

    found: list[tuple[str, RawEvents]] = []

    def visit(name: str, member: Any) -> None:
        if isinstance(member, h5py.Group):
            fields = {
                one: member[one]
                for one in member
                if isinstance(member[one], h5py.Dataset) and member[one].ndim == 1
            }
            if {"t", "x"} <= {field_named(one) for one in fields}:
                found.append((name, {one: np.asarray(member[one]) for one in fields if field_named(one)}))
        elif member.dtype.names is not None and {"t", "x"} <= {
            field_named(one) for one in member.dtype.names
        }:
            found.append((name, columns_of(np.asarray(member))))

    visit("/", file)
    file.visititems(visit)
    if len(found) != 1:
        where = f"in {', '.join(name for name, _ in found)}" if found else "in no group"
        raise ValueError(
            f"the file has events {where}: there should be one group with the datasets t, x, y, p, or one dataset with them"
        )
    return found[0][1]
