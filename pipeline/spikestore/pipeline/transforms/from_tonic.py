"""Conversion of Tonic's transforms and data sets to specs.

A user passes an object of a training script, for example a ``tonic.transforms.Compose`` or a ``tonic.datasets.SSC``. Of a data
set, this module returns name, split, folder and transform. A transform becomes a spec, whose parameters can be hashed and
stored. A transform without a spec is rejected; the error states its name and the reason. For
example, a random operation has no spec, because with stored results every epoch would get the same result. An operation that
infers a parameter from the first recording has no spec either, because its results depend on the order of access.

Only exact classes are accepted: a subclass may compute anything. This module does not import Tonic: if the
caller has an object of Tonic, Tonic is already imported.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.registry import dataset_files, dataset_named, readable_datasets
from spikestore.pipeline.readers.split_files import NamedFiles
from spikestore.pipeline.transforms.tonic_operations import (
    class_name,
    is_exactly,
    operation_of,
    type_change,
    unsupported,
)
from spikestore.store_schemas.specs.canonical import sha256_hex
from spikestore.store_schemas.specs.operations import ClipCounts, Operation, ToBinaRep
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Transform


@dataclass(frozen=True)
class ConvertedDataset:
    """Data set, split, folder and transform of a ``tonic.datasets`` object.

    Attributes
    ----------
    dataset : str
        Name of the object's class.
    split : str
        ``train``, ``valid`` or ``test``; ``all`` if the data set has no splits.
    folder : Path
        Folder of the files.
    transform : object or None
        Transform of the data set, for `transform_from_tonic`.
    """

    dataset: str
    split: str
    folder: Path
    transform: object | None


def transform_from_tonic(transform: object, *, max_bins: int = DEFAULT_MAX_BINS) -> Transform:
    """Return the spec of a ``tonic.transforms.Compose``, nested or not, or of a single transform that makes frames.

    Parameters that Tonic ignores, such as those of another slicing mode, are omitted, because they do not change the result.

    Parameters
    ----------
    transform : tonic.transforms.Compose, a transform such as tonic.transforms.ToFrame, or sequence of transforms
        The transform; not modified.
    max_bins : int
        Maximum number of time bins of a recording; a recording with more bins is an error.

    Raises
    ------
    UnsupportedTransformError
        A part has no spec, because it is random, infers parameters from the data, is not from Tonic, is not supported yet, or has
        parameters that its operation does not allow.
    SpecError
        The parts are not a valid transform, for example because no part makes frames; or `max_bins` is not valid.
    """
    operations: list[Operation] = []
    for part in _flat(transform):
        if is_exactly(part, "NumpyAsType"):
            operations += type_change(part, operations)
            continue
        operation = operation_of(part)
        if isinstance(operation, ToBinaRep) and operations and isinstance(operations[-1], ClipCounts):
            operations.pop()  # of a NumpyAsType(bool), which changes no bit
        operations.append(operation)
    return Transform(operations=tuple(operations), max_bins=max_bins)


def dataset_from_tonic(dataset: object) -> ConvertedDataset:
    """Return how a recipe would state a Tonic data set: name of the data set, split, folder and transform.

    If each recording is a file, recordings are sorted by file name; in Tonic, the order of the recordings may depend on the
    file system.

    Parameters
    ----------
    dataset : tonic.datasets.SSC, SHD, NMNIST or another data set with a reader
        The data set; not modified.

    Raises
    ------
    UnsupportedTransformError
        One of these is true: `dataset` is a class instead of an object; it is a cached or sliced data set; its class has no
        reader, or is a subclass of a class with a reader; it has options that change its events, a transform of its targets,
        or a modified list of files.
    SourceNotFoundError
        Each recording is a file, and the folder has no such files any more.
    """
    name = class_name(dataset)
    if isinstance(dataset, type):
        raise unsupported(name, f"is a class: pass an object, {dataset.__name__}(folder, …)")
    cached = getattr(sys.modules.get("tonic.cached_dataset"), "__dict__", {})
    wrappers = tuple(cached[name] for name in ("DiskCachedDataset", "MemoryCachedDataset") if name in cached)
    if isinstance(dataset, wrappers):
        raise unsupported(
            name,
            "is a cache around a data set: pass its attribute .dataset; the store replaces the cache",
        )
    readable = {known.name: known for known in readable_datasets() if known.tonic is not None}
    classes = {name: _class_of(known) for name, known in readable.items()}
    known = next((readable[name] for name, kind in classes.items() if type(dataset) is kind), None)
    if known is None or known.tonic is None:
        derived = any(isinstance(dataset, kind) for kind in classes.values() if kind is not None)
        why = (
            "is a subclass, which may return other recordings than its base class"
            if derived
            else "has no reader"
        )
        raise unsupported(class_name(dataset), f"{why}: use one of {', '.join(readable)}")
    for attribute in ("target_transform", "transforms"):
        value = getattr(dataset, attribute, None)
        if value is not None:
            why = f"has {attribute} = {class_name(value)}, but a store keeps the labels of the files: remove {attribute}, and convert the labels during training"
            raise unsupported(name, why, attribute=attribute)
    if known.tonic.split_of is not None:
        try:
            split = known.tonic.split_of(dataset)
        except ValueError as error:
            raise unsupported(name, str(error)) from None
    elif known.tonic.label_of is None:
        split = _split_of_file(dataset, known)
    else:
        split = _split_of_files(dataset, known, known.tonic.label_of)
    folder = Path(dataset.location_on_system)  # type: ignore[attr-defined]
    return ConvertedDataset(known.name, split, folder, dataset.transform)  # type: ignore[attr-defined]


def rows_of_items(dataset: Any, converted: ConvertedDataset | None = None) -> npt.NDArray[np.int64]:
    """Return, for each item of a Tonic data set, its row in the feature set that `preprocess` makes of the data set.

    If each recording is a file, the rows of the feature set are sorted by file name. The order of Tonic's items may depend on
    the file system.

    Parameters
    ----------
    dataset : tonic.datasets.SSC, SHD, NMNIST or another data set with a reader
        The data set.
    converted : ConvertedDataset, optional
        Result of `dataset_from_tonic`, if it is known.

    Returns
    -------
    int64 array, shape (items,)

    Raises
    ------
    UnsupportedTransformError, SourceNotFoundError
        See `dataset_from_tonic`.
    """
    converted = dataset_from_tonic(dataset) if converted is None else converted
    known = dataset_named(converted.dataset)
    if known.tonic is None or known.tonic.label_of is None:
        return np.arange(len(dataset))
    root, names = dataset_files(converted.dataset, converted.split, converted.folder)
    if len(dataset.data) and isinstance(dataset.data[0], np.ndarray):
        rows = {_identity(np.load(root / name)): row for row, name in enumerate(names)}
    else:
        rows = {os.path.normpath(root / name): row for row, name in enumerate(names)}
    return np.array([rows[_identity(item)] for item in dataset.data], np.int64)


def _class_of(dataset: Dataset) -> type | None:
    """Return Tonic's Python class for a data set, or None if the module of this class is not imported."""
    module = "" if dataset.tonic is None else dataset.tonic.module
    kind = getattr(sys.modules.get(f"tonic.datasets.{module}"), dataset.name, None)
    return kind if isinstance(kind, type) else None


def _split_of_file(dataset: Any, known: Dataset) -> str:
    file_name = str(dataset.data_filename)
    split_of = {files.names: split for split, files in known.splits.items() if isinstance(files, NamedFiles)}
    if (file_name,) in split_of:
        return split_of[file_name,]
    names = ", ".join(itertools.chain.from_iterable(split_of))
    why = f"reads {file_name!r}, which is none of its files ({names}): create this Python object again, and do not set data_filename"
    raise unsupported(class_name(dataset), why)


def _split_of_files(dataset: Any, known: Dataset, label_of: Callable[[str], int | str]) -> str:
    """Return the split of a data set with one file per recording; raise if its files or labels were modified."""
    for option in () if known.tonic is None else known.tonic.options:
        if getattr(dataset, option):
            why = f"with {option}=True has no reader: use the default, False"
            raise unsupported(class_name(dataset), why, attribute=option)
    only, *others = known.splits
    split = ("train" if dataset.train else "test") if others else only
    root, names = dataset_files(known.name, split, Path(dataset.location_on_system))
    listed = list(zip(map(_identity, dataset.data), dataset.targets, strict=False))
    if listed and isinstance(dataset.data[0], np.ndarray):  # POKERDVS loads its files
        expected = [(_identity(np.load(root / name)), label_of(name)) for name in names]
    else:
        expected = [(os.path.normpath(root / name), label_of(name)) for name in names]
    if sorted(expected) != sorted(listed) or len(dataset.data) != len(dataset.targets):
        why = f"has other files or labels than its folder {root}: create this Python object again; to read fewer recordings, set limit under [source] in a recipe"
        raise unsupported(class_name(dataset), why)
    return split


def _identity(recording: Any) -> str:
    """Return the absolute path of a recording that is a file, or the hash of a recording that is an array."""
    if isinstance(recording, np.ndarray):
        return sha256_hex(f"{recording.shape} {recording.dtype} ".encode() + recording.tobytes())
    return str(os.path.abspath(recording))  # noqa: PTH100 - follows no links


def _flat(transform: object) -> list[object]:
    """Return the parts of nested ``Compose`` objects in the order of application."""
    if isinstance(transform, (list, tuple)):  # the parts of a Compose
        return [inner for part in transform for inner in _flat(part)]
    if not is_exactly(transform, "Compose"):
        return [transform]
    parts = transform.transforms  # type: ignore[attr-defined]
    if not isinstance(parts, (list, tuple)):
        raise unsupported(
            class_name(transform), f"must have a list of transforms, got a {type(parts).__name__}"
        )
    return [inner for part in parts for inner in _flat(part)]
