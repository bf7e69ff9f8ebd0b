"""The layout of a feature set: its columns and their dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.model import AsTuple, Size, Spec
from spikestore.store_schemas.specs.transform import Transform

if TYPE_CHECKING:
    import numpy as np

BLOCK = 64
"""Samples per block. The digest is computed from a hash of each block; the array ``check``
contains another hash of each block."""


EXTRAS: dict[str, str] = {
    "speaker": "int32",
    "n_events": "uint32",
    "n_cropped": "uint32",
    "n_dropped": "uint32",
    "user": "int32",
}
"""Optional columns with their dtypes, in canonical order."""


_FIXED: dict[str, tuple[str, ...]] = {
    "nnz": ("uint32",),
    "n_bins": ("uint32",),
    "index": ("uint32", "uint64"),
    "value": ("uint32", "float32"),
    "label": ("int32",),
}


_AXES = (("time", "polarity", "y", "x"), ("time", "polarity", "x"))


FILL: dict[str, int | str] = {
    "uint32": 2**32 - 1,
    "uint64": 2**53 - 1,
    "int32": -(2**31),
    "float32": "NaN",
}
"""Fill value of each dtype. It never occurs in data: Zarr reads a missing object as fill values, which are no valid samples."""


SKIPPED_LABEL = -1
"""Label of a row whose recording was skipped."""


Dtype = Literal["uint32", "uint64", "int32", "float32"]


class ColumnDtype(NamedTuple):
    """Name and dtype of a column whose values are part of the digest."""

    name: str
    dtype: Dtype


class Layout(Spec):
    """Axes, classes and columns of a feature set. All builds with the same two keys have the same layout."""

    axes: Annotated[tuple[str, ...], AsTuple]
    """Axes of a sample's frames: time, polarity, y (if the events have it), x."""
    sites: Annotated[tuple[Size, ...], AsTuple]
    """Sizes of the axes after time."""
    classes: Annotated[tuple[str, ...], AsTuple]
    """Class names; label i means ``classes[i]``."""
    columns: Annotated[tuple[Annotated[ColumnDtype, AsTuple], ...], AsTuple, Field(min_length=5)]
    """Columns in canonical order, with their dtypes on disk."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Layouts come from stores that anybody may have written: readers rely on these names and this order.
        names = [name for name, _ in self.columns]
        if names != [*_FIXED, *(name for name in EXTRAS if name in names)]:
            raise ValueError(
                f"columns must be {', '.join(_FIXED)}, then any of {', '.join(EXTRAS)}, in this order"
            )
        for name, dtype in self.columns:
            known = _FIXED.get(name) or (EXTRAS[name],)
            if dtype not in known:
                raise ValueError(f"column {name!r} must be {' or '.join(known)}, got {dtype}")
        if self.axes not in _AXES or len(self.sites) != len(self.axes) - 1:
            raise ValueError(
                "axes must be time, polarity, (y,) x; sites must have one size for each axis after time"
            )
        return self

    @property
    def site_count(self) -> int:
        """Number of sites: the product of `sites`. A channel or pixel counts once for each polarity."""
        return math.prod(self.sites)

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the optional columns that are present, in canonical order."""
        return tuple(name for name, _ in self.columns if name in EXTRAS)

    @property
    def array_names(self) -> tuple[str, ...]:
        """Names of all arrays of a build: the columns, ``start`` and ``check``."""
        return (*(name for name, _ in self.columns), "start", "check")

    def fragment_objects(self, fragment: int, nnz: int) -> list[str]:
        """Return the paths, below ``data.zarr``, of the objects of a fragment with `nnz` non-zeros."""
        return [f"{name}/c/{fragment}" for name in self.array_names if nnz or name not in {"index", "value"}]

    def dtype(self, column: str) -> np.dtype[Any]:
        """Return the little-endian dtype of `column`."""
        return _dtypes(self.columns)[column]


@cache
def _dtypes(columns: tuple[ColumnDtype, ...]) -> dict[str, np.dtype[Any]]:
    import numpy as np  # a run with nothing to do needs no arrays

    return {name: np.dtype(dtype).newbyteorder("<") for name, dtype in columns}


def layout_of(transform: Transform, *, has_y: bool, classes: Iterable[str], extras: Iterable[str]) -> Layout:
    """Return the layout of a feature set that `transform` produces.

    Dtypes follow from the spec alone, never from data. ``index`` is uint32 if a uint32 can hold ``max_bins`` times the number
    of sites; otherwise ``index`` is uint64. ``value`` is uint32 for counts, and float32 for real numbers.
    `extras` are the optional columns, in any order; names that `EXTRAS` lacks are ignored.

    Raises
    ------
    UsageError
        The frames have more elements than an index can address.
    """
    sites = transform.sites(has_y=has_y)
    places = transform.max_bins * math.prod(sites)
    if places > FILL["uint64"]:  # type: ignore[operator]
        raise UsageError(f"max_bins × sites = {places:.3g} must be below 2^53: lower max_bins or sensor_size")
    index: Dtype = "uint32" if places <= 2**32 - 1 else "uint64"
    value: Dtype = "uint32" if transform.float_operation is None else "float32"
    fixed = [
        ("nnz", "uint32"),
        ("n_bins", "uint32"),
        ("index", index),
        ("value", value),
        ("label", "int32"),
    ]
    present = set(extras)
    columns = fixed + [(name, dtype) for name, dtype in EXTRAS.items() if name in present]
    axes = ("time", "polarity", "y", "x") if has_y else ("time", "polarity", "x")
    return Layout(
        axes=axes,
        sites=sites,
        classes=tuple(classes),
        columns=tuple(ColumnDtype(name, dtype) for name, dtype in columns),  # type: ignore[arg-type]
    )
