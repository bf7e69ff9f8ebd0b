"""Recordings of a map-style data set; for torch's `Subset` and `ConcatDataset`, the recordings of the data sets inside them.

A subclass of `Subset` or `ConcatDataset` may return any items, so it counts as one data set: the data sets inside it are not used.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.items.live_dataset import name_of_class
from spikestore.pipeline.transforms.from_tonic import ConvertedDataset, dataset_from_tonic, rows_of_items
from spikestore.store.machine import physical_memory_bytes
from spikestore.store_schemas.errors import UnsupportedTransformError, UsageError
from spikestore.store_schemas.wording import plural, size_text

_ITEM_BYTES = 64
"""Memory in bytes that the list of all items takes for each item, at least."""


class Leaf(NamedTuple):
    """A data set that contains no other data sets, or whose content is unknown.

    Attributes
    ----------
    dataset : object
        The data set.
    known : ConvertedDataset or None
        Files of the data set, if spikestore has a reader for it.
    why_unknown : str
        If the files of a Tonic data set are not known, the reason. Empty if the files are known, or if the class is neither
        in ``tonic.datasets`` nor a subclass of a Tonic class with a reader.
    """

    dataset: Any
    known: ConvertedDataset | None
    why_unknown: str = ""

    @property
    def name(self) -> str:
        """Name of the class."""
        return name_of_class(self.dataset)


class ItemList(NamedTuple):
    """The items of a data set object, in its order.

    Attributes
    ----------
    leaves : list of Leaf
        The data sets; each is listed once.
    leaf_of : int64 array, shape (items,)
        For each item, the position of its data set in `leaves`.
    row_of : int64 array, shape (items,)
        Row of each item: a row of the reader, if spikestore has a reader for the data set; otherwise, the item's position in the data set.
    """

    leaves: list[Leaf]
    leaf_of: npt.NDArray[np.int64]
    row_of: npt.NDArray[np.int64]


def is_composed(dataset: object) -> bool:
    """Return whether an object is a `Subset` or a `ConcatDataset` of torch."""
    return _kind(dataset) is not None


def list_items(dataset: object) -> ItemList:
    """Return the items of a data set object, and of the data sets inside a `Subset` or `ConcatDataset`.

    Raises
    ------
    UsageError
        A data set has no length, or more items than this machine's memory can list; `dataset` has no items; or an index of a
        `Subset` is outside its data set or is not a whole number.
    """
    walk = _Walk()
    leaf_of, row_of = walk.items(dataset, None)
    if not len(leaf_of):
        raise UsageError(
            f"{name_of_class(dataset)} has no items: pass a data set with at least one recording"
        )
    used, leaf_of = np.unique(leaf_of, return_inverse=True)
    return ItemList([walk.leaves[int(number)] for number in used], leaf_of, row_of)


_Int64s = npt.NDArray[np.int64]


class _Walk:
    """Finds the items of nested data sets. Memory is needed only for the items that are selected.

    Attributes
    ----------
    leaves : list of Leaf
        The data sets that were found; an object is listed once.
    """

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self._numbers: dict[int, int] = {}

    def items(self, dataset: Any, wanted: _Int64s | None) -> tuple[_Int64s, _Int64s]:
        """Return, for each item in `wanted`, the number of its data set in ``leaves`` and its row in this data set.

        If `wanted` is None, the result has all items of the data set.
        """
        kind = _kind(dataset)
        if kind == "ConcatDataset":
            return self._of_parts(dataset.datasets, wanted)
        if kind == "Subset":
            length = self._count(dataset.dataset)
            positions = [_position(index) for index in dataset.indices]
            wrong = [position for position in positions if not -length <= position < length]
            if wrong:
                raise UsageError(
                    f"a Subset has the index {wrong[0]}, but its data set has {plural(length, 'item')}: correct the indices of the Subset"
                )
            chosen = np.asarray(positions, np.int64)
            chosen = np.where(chosen < 0, chosen + length, chosen)
            return self.items(dataset.dataset, chosen if wanted is None else chosen[wanted])
        number = self._leaf(dataset)
        if wanted is None:
            length = _length(dataset)
            _refuse_more_than_memory(dataset, length)
            wanted = np.arange(length)
        known = self.leaves[number].known
        rows = wanted if known is None else rows_of_items(dataset, known)[wanted]
        return np.full(len(wanted), number, np.int64), rows

    def _of_parts(self, parts: Sequence[Any], wanted: _Int64s | None) -> tuple[_Int64s, _Int64s]:
        if wanted is None:
            leaf_of, row_of = zip(*(self.items(part, None) for part in parts), strict=True)
            return np.concatenate(leaf_of), np.concatenate(row_of)
        starts = np.cumsum([0, *(self._count(part) for part in parts)])
        part_of = np.searchsorted(starts, wanted, side="right") - 1
        leaf, row = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int64)
        for number, part in enumerate(parts):
            own = part_of == number
            leaf[own], row[own] = self.items(part, wanted[own] - starts[number])
        return leaf, row

    def _count(self, dataset: Any) -> int:
        """Return how many items a data set has. Add to ``leaves`` the data set, or the data sets inside a `Subset` or `ConcatDataset`."""
        kind = _kind(dataset)
        if kind == "ConcatDataset":
            return sum(self._count(part) for part in dataset.datasets)
        if kind == "Subset":
            self._count(dataset.dataset)
            return len(dataset.indices)
        self._leaf(dataset)
        return _length(dataset)

    def _leaf(self, dataset: Any) -> int:
        if id(dataset) not in self._numbers:
            self.leaves.append(leaf_of_object(dataset))
            self._numbers[id(dataset)] = len(self.leaves) - 1
        return self._numbers[id(dataset)]


def _position(index: Any) -> int:
    """Return an index of a `Subset` as an int; raise `UsageError` if the index is not a whole number."""
    try:
        return operator.index(index)
    except TypeError:
        raise UsageError(
            f"a Subset has the index {index!r}, but an index must be an integer: correct the indices of the Subset (for a mask, pass "
            "numpy.flatnonzero(mask))"
        ) from None


def _refuse_more_than_memory(dataset: Any, length: int) -> None:
    """Raise `UsageError` if a list of all items would need more than this machine's memory."""
    needed, memory = length * _ITEM_BYTES, physical_memory_bytes()
    if memory is not None and needed > memory:
        raise UsageError(
            f"{name_of_class(dataset)} says that it has {plural(length, 'item')}, but a set of so many items needs at least {size_text(needed)} of memory, "
            f"and this machine has {size_text(memory)}: correct __len__ if the number is wrong, or pass a torch.utils.data.Subset with the items to store"
        )


def leaf_of_object(dataset: Any) -> Leaf:
    """Return the `Leaf` of a data set. The caller must not pass a ConcatDataset or a Subset; this function does not check that.

    Raises
    ------
    UsageError
        `dataset` is a class, or a cache around a data set.
    """
    if isinstance(dataset, type):
        raise UsageError(f"{dataset.__qualname__} is a class: pass an object, {dataset.__qualname__}(…)")
    try:
        return Leaf(dataset, dataset_from_tonic(dataset))
    except UnsupportedTransformError as error:
        if "Cached" in type(dataset).__name__ and type(dataset).__module__.startswith("tonic."):
            raise
        ours = type(dataset).__module__.startswith("tonic.datasets") or "is a subclass" in error.message
        return Leaf(dataset, None, error.message if ours else "")


def _length(dataset: Any) -> int:
    name = name_of_class(dataset)
    if not hasattr(type(dataset), "__len__") or not hasattr(type(dataset), "__getitem__"):
        missing = "__getitem__" if hasattr(type(dataset), "__len__") else "__len__"
        raise UsageError(
            f"{name} has no {missing}, but its items must be read by their position: pass a data set with __len__ and __getitem__, such as list(dataset)"
        )
    try:
        return len(dataset)
    except Exception as error:  # of the user's code; torch's IterableDataset raises TypeError
        raise UsageError(f"the length of {name} is not known ({type(error).__name__}: {error})") from error


def _kind(dataset: object) -> str | None:
    module = sys.modules.get("torch.utils.data")
    for name in ("Subset", "ConcatDataset"):
        if module is not None and type(dataset) is getattr(module, name):
            return name
    return None


def names_of_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes that a caller passes, or that a data set has.

    Raise `UsageError` for a single text, because its letters would be taken as names, and for a name that is not UTF-8.
    """
    if isinstance(classes, str):
        raise UsageError(
            f"classes must be a sequence of names, got {classes!r}: pass [{classes!r}] for a single class"
        )
    for name in classes:
        try:
            str(name).encode()
        except UnicodeEncodeError:
            raise UsageError(f"the class name {name!r} is not UTF-8: correct the text") from None
    return tuple(classes)
