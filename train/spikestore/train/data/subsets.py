"""Subsets of a feature set: functions that select rows by number or column, or hold out samples, speakers or users.

A subset is an array of row numbers or item numbers. Equal arguments select the same samples.
If recordings were skipped, rows of a set and items of a `FeatureDataset` have different numbers. Each function returns
row numbers if it is called with a set, and item numbers if it is called with a data set. A subset can be stored in the
store under a name, for a whole team. It is then valid for all sets of the same source, with any transform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import refuse_giant_set
from spikestore.store.partitions import load_partition, store_partition
from spikestore.store.trust.documents import partition_path
from spikestore.store_schemas.errors import DamagedError, UnknownNameError, UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import as_array, whole_number
from spikestore.train.data.packed import PackedColumns
from spikestore.train.data.splitmix import random_keys

Rows = npt.NDArray[np.int64]

SHD_SPEAKER = "shd-speaker"
"""Built-in partition of the split ``train`` of SHD, in every store, with the parts ``train`` and ``valid`` (decision 72)."""
_SHD_TRAIN_SPEAKERS = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11)
_SHD_VALID_SPEAKERS = (6, 7)


class Items(Protocol):
    """Protocol of a data set with items, such as `FeatureDataset`."""

    @property
    def columns(self) -> PackedColumns:
        """Packed columns of all samples of the data set."""


def rows_where(
    features: FeatureSet | Items,
    column: str,
    values: Iterable[int] | Iterable[float] | Iterable[str] | float | str,
) -> Rows:
    """Return the rows whose `column` has one of `values`: int64, ascending; skipped rows are left out.

    Parameters
    ----------
    features : FeatureSet or FeatureDataset
        With a set, the result has row numbers; with a data set, item numbers.
    column : str
        A column with one value per sample: ``label``, ``n_bins``, ``nnz``, ``speaker``, ``n_events`` …
    values : int, float or str, or iterable of these
        Values to select: texts for a column of texts. Labels can also be class names.

    Raises
    ------
    UsageError
        The column or a class name does not exist; no row has any of the values; a whole number has more than 64 bits; or the
        values are numbers and the column has texts, or vice versa.
    DamagedError
        Stored data differ from the committed data.

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
    by: str = "sample",
) -> tuple[Rows, Rows]:
    """Divide a set into two parts, for example if it has no validation split; the same call always gives the same parts.

    The result depends only on the arguments and the set's digest.

    Parameters
    ----------
    features : FeatureSet or FeatureDataset
        With a set, the result has row numbers; with a data set, item numbers. If the data set has all rows of the set and no
        `rebin`, the set and the data set give the same held-out samples.
    part : float
        Share of the samples, speakers, … that is held out; above 0 and below 1. At least one sample, speaker, … is held
        out, and at least one stays.
    seed : int
        Another seed results in other parts.
    by : str
        With ``sample``, samples are drawn. With the name of a column, such as ``speaker``, ``user`` or a column of your own table, some
        values of this column are drawn, and all samples with these values are held out.

    Returns
    -------
    kept, held_out : int64 arrays
        Rows of the set (`rows=` of `FeatureLoader` and `FeatureDataset`), or items of the data set
        (``torch.utils.data.Subset``), ascending; skipped rows are in neither.

    Raises
    ------
    UsageError
        `part` is not between 0 and 1; `seed` is not a whole number; the column does not exist; the set has only one sample, or only
        one value of the column; or `by` is ``sample`` and the set has a column of this name.
    DamagedError
        Stored data differ from the committed data.
    """
    try:
        share = float(part) if 0 < part < 1 else 0.0
    except (TypeError, ValueError, RuntimeError):  # a text or several numbers, for example
        share = 0.0
    if not share:
        raise UsageError(f"part must be above 0 and below 1, got {part!r}")
    seed = whole_number("seed", seed)
    table = _table_of(features)
    extras = features.manifest.extras if isinstance(features, FeatureSet) else features.columns.extras
    if by == "sample" and "sample" in extras:
        raise UsageError(
            f"{features!r} has a column 'sample', but the argument by='sample' means single rows: rename the column and build the set again"
        )
    groups = table.rows if by == "sample" else table.column(by)
    names = np.unique(groups)
    if len(names) < 2:
        raise UsageError(f"{features!r} has only one {by}: nothing can be held out")
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    text = f"hold out:{table.digest}:{seed}:{by}"
    held = names[np.argsort(random_keys(_as_numbers(names), text), kind="stable")[:count]]
    mask = np.isin(groups, held)
    return table.numbers[~mask], table.numbers[mask]


def _as_numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return `values` as int64 if they are whole numbers, else their positions 0, 1, 2, …; `values` are distinct and sorted."""
    return values.astype(np.int64) if values.dtype.kind in "iu" else np.arange(len(values))


def keep_partition(features: FeatureSet, name: str, parts: Mapping[str, npt.ArrayLike]) -> None:
    """Store a partition of a set's rows under a name, for everybody who opens the store.

    The partition belongs to the source: sets of the same recordings with other transforms share the partition. A
    partition cannot be changed.

    Parameters
    ----------
    features : FeatureSet
        The set, in a writable store.
    name : str
        Name of the partition.
    parts : dict of str to int or bool array
        Rows of each part, as for `FeatureLoader`; no row may be in two parts. Rows that this set has skipped are left out.

    Raises
    ------
    UsageError, SpecError
        The rows are not in the set or have duplicates, a part has no rows, a row is in two parts, a name is invalid, or `name` is
        the name of the built-in partition.
    ConflictError
        The source has another partition of this name.
    ReadOnlyStoreError
        The store is not writable.
    DamagedError
        The stored partition of this name is damaged.

    Examples
    --------
    >>> kept, held_out = hold_out(features, 0.1, by="speaker")                           # doctest: +SKIP
    >>> keep_partition(features, "by-speaker", {"train": kept, "valid": held_out})       # doctest: +SKIP
    >>> FeatureLoader(features, 128, rows="by-speaker:valid")                            # doctest: +SKIP
    """
    if name == SHD_SPEAKER:
        raise UsageError(f"{name} is the name of a built-in partition: use another name")
    rows = {part: subset_rows(features, selection) for part, selection in parts.items()}
    store_partition(features.storage, features.address.source_key, name, len(features), rows)


def partition_rows(features: FeatureSet, text: str) -> Rows:
    """Return the rows of ``PARTITION:PART``, a partition in the store of the set: int64, ascending. Some of the rows may be skipped rows.

    The partition ``shd-speaker`` exists in every store. It divides the split ``train`` of SHD: speakers 6 and 7 are the part
    ``valid``, all other speakers are the part ``train``.

    Raises
    ------
    UsageError
        The partition is ``shd-speaker``, and one of these is true: the set has no column ``speaker``; it has a speaker who
        is not in SHD's split ``train``; it has no recordings of the part.
    UnknownNameError
        The partition or part does not exist; the message lists the existing partitions or parts.
    DamagedError
        The partition is damaged, or has another number of rows than the set; or the column ``speaker`` is damaged.
    """
    name, _, part = text.partition(":")
    if name == SHD_SPEAKER:
        return _shd_speaker_rows(features, part)
    partition = load_partition(features.storage, features.address.source_key, name)
    if partition.samples != len(features):
        path = partition_path(features.address.source_key, name)
        raise DamagedError(
            f"the partition {path} in {features.storage.url} is damaged: it has {plural(partition.samples, 'row')}, but the set has "
            f"{len(features)}: run spikestore repair {features.address.short} --store {features.storage.url} --from URL (a store that has a copy), "
            f"or delete {path} and call keep_partition again",
            objects=(path,),
        )
    if part not in partition.parts:
        known = ", ".join(f"{name}:{existing}" for existing in partition.parts)
        raise UnknownNameError(f"the partition {name!r} has no part {part!r}: use {known}", name=text)
    return partition.rows(part)


def _shd_speaker_rows(features: FeatureSet, part: str) -> Rows:
    """Return the rows of a part of the partition ``shd-speaker``."""
    if part not in {"train", "valid"}:
        raise UnknownNameError(
            f"the partition {SHD_SPEAKER!r} has no part {part!r}: use {SHD_SPEAKER}:train or {SHD_SPEAKER}:valid",
            name=f"{SHD_SPEAKER}:{part}",
        )
    what = f"the partition {SHD_SPEAKER!r} exists only for SHD's split 'train'"
    if "speaker" not in {column for column, _ in features.layout.columns}:
        raise UsageError(f"{what}, but {features!r} has no column 'speaker'")
    rows = subset_rows(features, None)
    speakers = features.column("speaker")[rows]
    others = np.setdiff1d(speakers, _SHD_TRAIN_SPEAKERS)
    if len(others):
        raise UsageError(
            f"{what}, but {features!r} has speaker {others[0]}, who is not in that split: divide this set with spikestore.train.hold_out"
        )
    is_valid = np.isin(speakers, _SHD_VALID_SPEAKERS)
    chosen = rows[is_valid if part == "valid" else ~is_valid]
    if not len(chosen):
        raise UsageError(f"{what}, but {features!r} has no recording for the part {part}")
    return chosen


def subset_rows(features: FeatureSet, rows: npt.ArrayLike | None) -> Rows:
    """Return the selected rows, or all rows if `rows` is None: int64, ascending. In both cases, skipped rows are left out.

    A text selects a part of a stored partition (`partition_rows`).

    Raises
    ------
    UsageError
        `rows` has another type or shape; the numbers are not rows of the set, or have duplicates; no row is selected; or all
        selected rows were skipped. For a text, also the errors of `partition_rows`.
    DamagedError
        A fragment of the set would decode to more than this machine's memory.
    """
    refuse_giant_set(features.manifest)
    if isinstance(rows, str):
        rows = partition_rows(features, rows)
    skipped = [skipped.row for skipped in features.manifest.skipped]
    return _checked_rows(rows, len(features), np.array(skipped, np.int64), repr(features))


def packed_positions(columns: PackedColumns, rows: npt.ArrayLike | None) -> Rows:
    """Return the positions of rows in packed columns: int64, ascending. If `rows` is None, return all positions.

    Raises
    ------
    UsageError
        The same errors as those of `subset_rows`; or `rows` names a part of a partition, which packed columns cannot look up.
    """
    if rows is None:
        return np.arange(len(columns))
    if isinstance(rows, str):
        raise UsageError(
            f"rows is {rows!r}, a part of a partition, but packed columns cannot read partitions from the store: pass "
            f"rows=partition_rows(features, {rows!r})"
        )
    skipped = np.setdiff1d(np.arange(columns.set_rows), columns.rows)
    return np.searchsorted(
        columns.rows, _checked_rows(rows, columns.set_rows, skipped, "these packed columns")
    )


def _checked_rows(rows: npt.ArrayLike | None, count: int, left_out: Rows, name: str) -> Rows:
    try:
        numbers: npt.NDArray[Any] = np.arange(count) if rows is None else as_array(rows)
    except ValueError:  # sequences of several lengths
        raise UsageError(f"rows must be row numbers or a mask, got {rows!r:.60}") from None
    if numbers.dtype == bool:
        if numbers.shape != (count,):
            raise UsageError(
                f"rows is a mask of shape {numbers.shape}, but the set has {plural(count, 'row')}"
            )
        numbers = np.flatnonzero(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise UsageError(f"rows must be row numbers or a mask, got {numbers.dtype} of shape {numbers.shape}")
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        wrong = next(int(row) for row in numbers if not 0 <= row < count)
        raise UsageError(f"rows must be from 0 to {count - 1}, got {wrong}")
    distinct = np.unique(numbers)
    if len(distinct) != len(numbers):
        raise UsageError(
            "rows has duplicates: to draw some rows more often than others, pass weights= to FeatureLoader"
        )
    kept = distinct[~np.isin(distinct, left_out)].astype(np.int64)
    if not len(kept):
        reason = "rows is empty" if rows is not None and not len(numbers) else "all were skipped"
        raise UsageError(f"no recording of {name} is left ({reason}): nothing to load")
    return kept


def subset_weights(features: FeatureSet, rows: Rows, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the weights of `rows`, divided by the largest of these weights: float64, shape (rows,).

    Raises
    ------
    UsageError
        There is neither one weight for each row of the set nor one for each of `rows`; or a weight of `rows` is not
        a number, is negative or is not finite; or all weights of `rows` are 0.
    """
    try:
        given = as_array(weights)
        if given.dtype.kind in "cSU":  # NumPy would drop imaginary parts, and read 1_1 as 11
            raise TypeError
        array = given.astype(np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"weights must be numbers, got {weights!r:.60}") from None
    if array.shape not in ((len(features),), (len(rows),)):
        several = (
            "" if len(rows) == len(features) else f", or shape ({len(rows)},), one weight for each sample"
        )
        raise UsageError(
            f"weights= must have shape ({len(features)},), one weight for each row{several}; got {array.shape}"
        )
    chosen = array if len(array) == len(rows) else array[rows]
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not chosen.any():
        raise UsageError("weights= must be finite, not negative, and not all 0")
    relative: npt.NDArray[np.float64] = chosen / chosen.max()  # so that their sum can't overflow
    return relative


@dataclass(frozen=True)
class _Table:
    """Columns of the samples of a feature set (without skipped rows), or of the items of a data set."""

    numbers: Rows
    rows: Rows
    classes: tuple[str, ...]
    digest: str
    column: Callable[[str], npt.NDArray[Any]]


def _table_of(features: FeatureSet | Items) -> _Table:
    if isinstance(features, FeatureSet):
        rows = subset_rows(features, None)
        return _Table(rows, rows, features.classes, features.digest, lambda name: features.column(name)[rows])
    columns = getattr(features, "columns", None)
    if not isinstance(columns, PackedColumns):
        raise UsageError(f"features must be a FeatureSet or a FeatureDataset, got {features!r}")
    numbers = np.arange(len(columns))
    return _Table(numbers, columns.rows, columns.classes, columns.digest, columns.column)


def _numbers(table: _Table, column: str, values: Any) -> list[Any]:
    """Return the values to look for in a column; class names become class numbers."""
    if isinstance(values, Iterable) and not isinstance(values, str | np.ndarray | Tensor):
        values = [
            as_array(value).item() if isinstance(value, np.ndarray | Tensor) and not value.ndim else value
            for value in values
        ]
    # As objects, because NumPy would turn numbers beside texts into texts.
    several = np.array(values, dtype=object) if isinstance(values, list) else as_array(values)
    wanted = several.reshape(-1).tolist()
    if table.column(column).dtype.kind == "U":
        for value in wanted:
            if not isinstance(value, str):
                raise UsageError(f"values of the column {column!r} must be strings, got {value!r}")
        return wanted
    texts = [value for value in wanted if isinstance(value, str)]
    if column != "label" or len(texts) < len(wanted):
        for value in wanted:
            if isinstance(value, int) and not -(2**63) <= value < 2**64:  # NumPy would make objects
                raise UsageError(
                    f"values of the column {column!r} must be numbers of at most 64 bits, got {value}"
                )
            if not (isinstance(value, int | float | np.number | np.bool_)):
                kind = "numbers, or all of them class names" if column == "label" else "numbers"
                raise UsageError(f"values of the column {column!r} must be {kind}, got {value!r}")
        return wanted
    for name in texts:
        if name not in table.classes:
            raise UsageError(f"no class {name!r}; the classes are {', '.join(table.classes)}")
    return [table.classes.index(name) for name in texts]
