"""Event files in HDF5: the layouts of DSEC and Metavision, and any group with one dataset per field.

========================  ======================================================================
layout                    datasets
========================  ======================================================================
DSEC                      ``events/t``, ``events/x``, ``events/y``, ``events/p``
Metavision                ``CD/events``, with the fields t, x, y, p
one group                 t, x, y, p, all in one group: any group, also the top level of the file
========================  ======================================================================

Further vectors of numbers in a group are read too, if they are as long as the columns t and x, because a recipe can name them.

If no group or dataset has t and x, columns with other names are read: those of a dataset with fields, or of a group whose vectors
of numbers all have the same length. Only one such dataset or group may exist.

A file is rejected if more than one group or dataset has events.

DSEC's ``t_offset`` is not added: times are those of ``events/t``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

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
    found: list[_Place] = []
    others: list[_Place] = []

    def visit(name: str, member: Any) -> None:
        place = _place(name, member)
        if place is not None:
            (found if {"t", "x"} <= {*map(field_named, place.columns)} else others).append(place)

    visit("/", file)
    file.visititems(visit)
    if not found and len(others) == 1:
        found = others  # perhaps the recipe names its columns
    if len(found) != 1:
        where = f"in {', '.join(place.name for place in found)}" if found else "in no group"
        raise ValueError(
            f"the file has events {where}: there should be one group with the datasets t, x, y, p, or one dataset with them"
        )
    return found[0].read()


class _Place(NamedTuple):
    """A group or a dataset that may have events, and the names of its columns."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[], RawEvents]


def _place(name: str, member: Any) -> _Place | None:
    """Return the `_Place` of a group or dataset that may have events; None for other members."""
    import h5py

    if isinstance(member, h5py.Group):
        vectors = {
            one: each
            for one in member
            if isinstance(each := member.get(one), h5py.Dataset)
            and each.ndim == 1
            and each.dtype.names is None
        }
        known = {one: each for one, each in vectors.items() if field_named(one)}
        numbers = {one: each for one, each in vectors.items() if each.dtype.kind in "biuf"}
        lengths = {len(each) for each in (known or numbers).values()}
        columns = known | {one: each for one, each in numbers.items() if len(each) in lengths}
        if len(columns) < 2 or (not known and len(lengths) > 1):
            return None
        return _Place(name, tuple(columns), lambda: {one: np.asarray(each) for one, each in columns.items()})
    if member.dtype.names is None:
        return None
    return _Place(name, member.dtype.names, lambda: columns_of(np.asarray(member)))
