"""Subsets of a feature set: rows by number, by column, or held out by seed or by speaker.

A subset is an array of row numbers: pure functions of the set make it, so that everybody who calls them with the same
arguments trains on the same samples. Where recordings were skipped, rows of a set and items of a `FeatureDataset` are two
numberings: each function gives the numbers of what it is called with. Under a name it can be kept in the store, for a team, and for all transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import refuse_giant_set
from spikestore.store.partitions import load_partition, store_partition
from spikestore.store.trust.documents import partition_path
from spikestore.store_schemas.errors import DamagedError, UnknownNameError, UsageError
from spikestore.train.data.arguments import as_array, whole_number
from spikestore.train.data.epoch_order import random_keys
from spikestore.train.data.packed import PackedColumns

Rows = npt.NDArray[np.int64]


class Items(Protocol):
    """A data set of items, such as a `FeatureDataset`."""

    @property
    def columns(self) -> PackedColumns:
        """Its samples."""


def rows_where(
    features: FeatureSet | Items, column: str, values: Iterable[int] | Iterable[str] | int | str
) -> Rows:
    """Return the rows whose `column` has one of `values`: int64, ascending, skipped rows left out.

    Parameters
    ----------
    features : FeatureSet or FeatureDataset
        The set, for rows of it; a data set, for its items.
    column : str
        A column with one value a sample: ``label``, ``n_bins``, ``nnz``, ``speaker``, ``n_events`` …
    values : int or str, or iterable of such
        Which values. Labels may be given by the names of their classes.

    Raises
    ------
    UsageError
        There is no such column, or no row has such a value.
    DamagedError
        What is stored is not what was committed.

    Examples
    --------
    >>> FeatureLoader(features, 128, rows=rows_where(features, "speaker", [0, 2]))      # doctest: +SKIP
    """
    table = _table_of(features)
    wanted = _numbers(table, column, values)
    numbers = table.numbers[np.isin(table.column(column), wanted)]
    if not len(numbers):
        raise UsageError(f"no row of {features!r} has {column} in {wanted[:10]}")
    return numbers


def hold_out(
    features: FeatureSet | Items,
    part: float,
    *,
    seed: int = 0,
    by: Literal["sample", "speaker", "user"] = "sample",
) -> tuple[Rows, Rows]:
    """Split a set deterministically, for sets that have no split to validate on.

    A pure function of the arguments and the set's digest.

    Parameters
    ----------
    features : FeatureSet or FeatureDataset
        The set, for rows of it; a data set, for its items. Both give the same division of the recordings.
    part : float
        Share of the samples, or of the speakers or users, that is held out; above 0 and below 1. At least one is held out and
        one stays.
    seed : int
        Every seed gives another split.
    by : {"sample", "speaker", "user"}
        Hold out samples, or all samples of some speakers or users.

    Returns
    -------
    kept, held_out : int64 arrays
        Rows of the set (`rows=` of `FeatureLoader` and `FeatureDataset`), or items of the data set
        (``torch.utils.data.Subset``), ascending; skipped rows are in neither.

    Raises
    ------
    UsageError
        `part` is not between 0 and 1, there is no such column, or there is only one sample, speaker or user.
    """
    if not 0 < part < 1:
        raise UsageError(f"part is {part!r}, should be above 0 and below 1")
    seed = whole_number("seed", seed)
    table = _table_of(features)
    groups = table.rows if by == "sample" else table.column(by).astype(np.int64)
    names = np.unique(groups)
    if len(names) < 2:
        raise UsageError(f"{features!r} has one {by}: there is nothing to hold out")
    count = min(max(round(part * len(names)), 1), len(names) - 1)
    text = f"hold out:{table.digest}:{seed}:{by}"
    held = names[np.argsort(random_keys(names, text), kind="stable")[:count]]
    mask = np.isin(groups, held)
    return table.numbers[~mask], table.numbers[mask]


def keep_partition(features: FeatureSet, name: str, parts: Mapping[str, npt.ArrayLike]) -> None:
    """Keep a division of a set's rows in its store, under a name, for everybody who opens the store.

    It belongs to the source: sets of the same recordings under other transforms have it too. It is never changed.

    Parameters
    ----------
    features : FeatureSet
        The set, in a store that can be written to.
    name : str
        Of the partition.
    parts : dict of str to int or bool array
        Rows of each part, as `FeatureLoader` takes them; no row in two.

    Raises
    ------
    UsageError, SpecError
        The rows are none of the set, come twice, or a name breaks the rules.
    ConflictError
        The source has another partition of this name.

    Examples
    --------
    >>> kept, held_out = hold_out(features, 0.1, by="speaker")                           # doctest: +SKIP
    >>> keep_partition(features, "by-speaker", {"train": kept, "valid": held_out})       # doctest: +SKIP
    >>> FeatureLoader(features, 128, rows="by-speaker:valid")                            # doctest: +SKIP
    """
    rows = {part: subset_rows(features, selection) for part, selection in parts.items()}
    store_partition(features.storage, features.address.source_key, name, len(features), rows)


def partition_rows(features: FeatureSet, text: str) -> Rows:
    """Return the rows of ``PARTITION:PART``, from the store of the set: int64, ascending.

    Raises
    ------
    UnknownNameError
        There is no such partition or part; the message says which there are.
    DamagedError
        What is stored is no partition of this set.
    """
    name, _, part = text.partition(":")
    partition = load_partition(features.storage, features.address.source_key, name)
    if partition.samples != len(features):
        path = partition_path(features.address.source_key, name)
        raise DamagedError(
            f"{path} in {features.storage.url} divides {partition.samples} rows, the set has {len(features)}",
            objects=(path,),
        )
    if part not in partition.parts:
        known = ", ".join(f"{name}:{existing}" for existing in partition.parts)
        raise UnknownNameError(f"the partition {name!r} has no part {part!r}: say {known}", name=text)
    return partition.rows(part)


def subset_rows(features: FeatureSet, rows: npt.ArrayLike | None) -> Rows:
    """Return the rows that are meant: int64, ascending, without skipped ones; all of them for None.

    Text means a part of a stored partition (`partition_rows`).

    Raises
    ------
    UsageError
        They are no rows of the set, come twice, or none is left.
    """
    refuse_giant_set(features.manifest)
    if isinstance(rows, str):
        rows = partition_rows(features, rows)
    skipped = [skipped.row for skipped in features.manifest.skipped]
    return _checked_rows(rows, len(features), np.array(skipped, np.int64), repr(features))


def packed_positions(columns: PackedColumns, rows: npt.ArrayLike | None) -> Rows:
    """Return which samples of packed columns are meant by rows of their set: int64, ascending; all of them for None.

    Raises
    ------
    UsageError
        As in `subset_rows`; or `rows` is the name of a partition, which is in the store of the set.
    """
    if rows is None:
        return np.arange(len(columns))
    if isinstance(rows, str):
        raise UsageError(
            f"rows is {rows!r}, a part of a partition: packed columns have no store to look it up in, give "
            "partition_rows(features, rows)"
        )
    skipped = np.setdiff1d(np.arange(columns.set_rows), columns.rows)
    return np.searchsorted(
        columns.rows, _checked_rows(rows, columns.set_rows, skipped, "these packed columns")
    )


def _checked_rows(rows: npt.ArrayLike | None, count: int, left_out: Rows, name: str) -> Rows:
    asked: npt.NDArray[Any] = np.arange(count) if rows is None else as_array(rows)
    if asked.dtype == bool:
        if asked.shape != (count,):
            raise UsageError(f"rows is a mask of shape {asked.shape}, the set has {count} rows")
        asked = np.flatnonzero(asked)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise UsageError("rows should be row numbers, or a mask")
    if asked.size and not 0 <= int(asked.min()) <= int(asked.max()) < count:
        raise UsageError(
            f"rows go from {asked.min()} to {asked.max()}, those of the set from 0 to {count - 1}"
        )
    distinct = np.unique(asked)
    if len(distinct) != len(asked):
        raise UsageError("rows has a row twice: to draw some more often than others, give weights")
    kept = distinct[~np.isin(distinct, left_out)].astype(np.int64)
    if not len(kept):
        reason = "none was asked for" if rows is not None and not len(asked) else "every one was skipped"
        raise UsageError(f"no recording of {name} is left ({reason}): there is nothing to load")
    return kept


def subset_weights(features: FeatureSet, rows: Rows, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the weights of `rows`: float64, shape (rows,).

    Raises
    ------
    UsageError
        There is not one for each row of the set, nor one for each of `rows`; or they are negative, not finite, or all 0.
    """
    array = as_array(weights).astype(np.float64)
    if array.shape not in ((len(features),), (len(rows),)):
        several = "" if len(rows) == len(features) else f", or ({len(rows)},): one for each sample"
        raise UsageError(
            f"weights has shape {array.shape}, should be ({len(features)},): one for each row{several}"
        )
    chosen = array if len(array) == len(rows) else array[rows]
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not chosen.any():
        raise UsageError("weights should be finite, not negative, and not all 0")
    relative: npt.NDArray[np.float64] = chosen / chosen.max()  # whose sum can't overflow
    return relative


@dataclass(frozen=True)
class _Table:
    """Columns of the samples that are there: of a feature set without skipped rows, or of a data set."""

    numbers: Rows
    rows: Rows
    classes: tuple[str, ...]
    digest: str
    column: Callable[[str], npt.NDArray[Any]]


def _table_of(features: FeatureSet | Items) -> _Table:
    if isinstance(features, FeatureSet):
        rows = subset_rows(features, None)
        return _Table(
            rows, rows, features.classes, features.digest, lambda name: _column(features, name)[rows]
        )
    columns = getattr(features, "columns", None)
    if not isinstance(columns, PackedColumns):
        raise UsageError(f"a FeatureSet or a FeatureDataset is needed, not {features!r}")
    numbers = np.arange(len(columns))
    return _Table(numbers, columns.rows, columns.classes, columns.digest, columns.column)


def _numbers(table: _Table, column: str, values: Any) -> list[Any]:
    """Return which numbers in a column are meant; names of classes are understood for labels."""
    several = as_array(list(values) if isinstance(values, Set | range) else values)
    wanted = several.reshape(-1).tolist()
    if several.dtype.kind not in "USO":
        return wanted
    if column != "label":
        raise UsageError(f"the column {column} has numbers, not {wanted[0]!r}")
    for name in wanted:
        if name not in table.classes:
            raise UsageError(f"there is no class {name!r}: the set has {', '.join(table.classes)}")
    return [table.classes.index(name) for name in wanted]


def _column(features: FeatureSet, name: str) -> npt.NDArray[Any]:
    known = [column for column, _ in features.layout.columns if column not in {"index", "value"}]
    if name not in known:
        raise UsageError(f"{features!r} has no column {name!r}, but {', '.join(known)}")
    return features.column(name)
