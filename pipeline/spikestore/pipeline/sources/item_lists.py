"""Recordings of an object in Python; for torch's `Subset` and `ConcatDataset`, the recordings of the data sets inside them.

The data sets inside a subclass of these two classes are not used, because a subclass may return any items.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.items.live_dataset import name_of_class
from spikestore.pipeline.transforms.from_tonic import ConvertedDataset, dataset_from_tonic, rows_of_items
from spikestore.store_schemas.errors import UnsupportedTransformError, UsageError
from spikestore.store_schemas.wording import plural


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
        from Tonic nor a subclass of Tonic's class.
    """

    dataset: Any
    known: ConvertedDataset | None
    why_unknown: str = ""

    @property
    def name(self) -> str:
        """Name of the class."""
        return name_of_class(self.dataset)


class ItemList(NamedTuple):
    """The items of an object, in their order.

    Attributes
    ----------
    leaves : list of Leaf
        The data sets; each is listed once.
    leaf_of : int64 array, shape (items,)
        Number of the data set of each item.
    row_of : int64 array, shape (items,)
        Row of each item in its data set. If the data set has files, rows are in the order of the reader.
    """

    leaves: list[Leaf]
    leaf_of: npt.NDArray[np.int64]
    row_of: npt.NDArray[np.int64]


def is_composed(dataset: object) -> bool:
    """Return whether an object is a `Subset` or a `ConcatDataset` of torch."""
    return _kind(dataset) is not None


def list_items(dataset: object) -> ItemList:
    """Return the items of an object.

    Raises
    ------
    UsageError
        An object has no length or no items, or a `Subset` has an index outside its data set.
    """
    leaves: dict[int, Leaf] = {}
    numbers: dict[int, int] = {}
    leaf_of, row_of = _walk(dataset, leaves, numbers)
    if not len(leaf_of):
        raise UsageError(
            f"{name_of_class(dataset)} has no items: pass a data set with at least one recording"
        )
    used, leaf_of = np.unique(leaf_of, return_inverse=True)
    return ItemList([leaves[int(number)] for number in used], leaf_of, row_of)


Walked = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _walk(dataset: Any, leaves: dict[int, Leaf], numbers: dict[int, int]) -> Walked:
    kind = _kind(dataset)
    if kind == "ConcatDataset":
        parts = [_walk(part, leaves, numbers) for part in dataset.datasets]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    if kind == "Subset":
        leaf_of, row_of = _walk(dataset.dataset, leaves, numbers)
        chosen = np.asarray([int(index) for index in dataset.indices], np.int64)
        wrong = (chosen < -len(leaf_of)) | (chosen >= len(leaf_of))
        if wrong.any():
            raise UsageError(
                f"a Subset has the index {chosen[wrong][0]}, but its data set has {plural(len(leaf_of), 'item')}: correct the indices of the Subset"
            )
        return leaf_of[chosen], row_of[chosen]
    if id(dataset) not in numbers:
        numbers[id(dataset)] = len(leaves)
        leaves[len(numbers) - 1] = leaf_of_object(dataset)
    number = numbers[id(dataset)]
    leaf, length = leaves[number], _length(dataset)
    row_of = np.arange(length) if leaf.known is None else rows_of_items(dataset, leaf.known)
    return np.full(length, number, np.int64), row_of


def leaf_of_object(dataset: Any) -> Leaf:
    """Return a data set with its files, if these are known.

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
