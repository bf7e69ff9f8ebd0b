"""Tonic's own objects, turned into what spikestore computes with.

A user hands over a ``tonic.transforms.Compose`` or a ``tonic.datasets.SSC`` as it stands in a training script.
Transforms become specs, whose parameters can be hashed and written down. What has no spec is refused by its name,
with the reason, because whatever was stored for it would be wrong later: random operations would be frozen, and
those that infer a parameter from the first recording that they see depend on the order of access.

Only exact classes are taken: a subclass may compute anything. Nothing here imports Tonic; whoever holds an object
of Tonic's has imported it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.registry import dataset_files, readable_datasets
from spikestore.pipeline.readers.split_files import NamedFiles
from spikestore.pipeline.transforms.tonic_operations import class_name, is_exactly, operation_of, unsupported
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Transform


@dataclass(frozen=True)
class TonicDataset:
    """What a ``tonic.datasets`` object says about itself.

    Attributes
    ----------
    dataset : str
        Name of its class.
    split : str
        ``train``, ``valid`` or ``test``.
    folder : Path
        Where its files lie.
    transform : object or None
        Its transform, for `transform_from_tonic`.
    """

    dataset: str
    split: str
    folder: Path
    transform: object | None


def transform_from_tonic(transform: object, *, max_bins: int = DEFAULT_MAX_BINS) -> Transform:
    """Turn a ``tonic.transforms.Compose`` (nested ones too), or a single ``ToFrame``, into a spec.

    Parameters that Tonic ignores in the chosen way of slicing are left out: what counts is what is computed.

    Parameters
    ----------
    transform : tonic.transforms.Compose or tonic.transforms.ToFrame, or sequence of transforms
        Left as it is.
    max_bins : int
        A recording that would get more time bins is an error.

    Raises
    ------
    UnsupportedTransformError
        A part has no spec: it is random, infers parameters from the data, is not Tonic's, or has none yet.
    SpecError
        The parts do not make a transform, such as one without ``ToFrame`` at its end.
    """
    operations = tuple(operation_of(part) for part in _flat(transform))
    return Transform(operations=operations, max_bins=max_bins)


def dataset_from_tonic(dataset: object) -> TonicDataset:
    """Read split, folder and transform off a dataset of Tonic's.

    Recordings of ``DVSGesture`` are taken in the order of their files' names. Tonic's order is the file system's.

    Parameters
    ----------
    dataset : tonic.datasets.SSC, SHD, NMNIST or DVSGesture
        Left as it is.

    Raises
    ------
    UnsupportedTransformError
        A class in place of an object, another class, a subclass, a cached or sliced data set, one with options that change its events, one that
        transforms its targets, or one whose list of files was changed.
    """
    name = class_name(dataset)
    if isinstance(dataset, type):
        raise unsupported(name, f"is a class: give an object of it, {dataset.__name__}(folder, …)")
    cached = getattr(sys.modules.get("tonic.cached_dataset"), "__dict__", {})
    wrappers = tuple(cached[name] for name in ("DiskCachedDataset", "MemoryCachedDataset") if name in cached)
    if isinstance(dataset, wrappers):
        raise unsupported(
            name,
            "caches another data set: hand over the inner one (its .dataset), the store replaces the cache",
        )
    readable = {known.name: known for known in readable_datasets() if known.tonic is not None}
    classes = {name: _class_of(known) for name, known in readable.items()}
    known = next((readable[name] for name, kind in classes.items() if type(dataset) is kind), None)
    if known is None or known.tonic is None:
        derived = any(isinstance(dataset, kind) for kind in classes.values() if kind is not None)
        why = "is a subclass, which may read anything" if derived else "has no reader"
        raise unsupported(class_name(dataset), f"{why}; data sets that have one: {', '.join(readable)}")
    for attribute in ("target_transform", "transforms"):
        value = getattr(dataset, attribute, None)
        if value is not None:
            why = f"{attribute} {class_name(value)} has no spec: the store keeps the labels of the files, map them in training"
            raise unsupported(name, why, attribute=attribute)
    if known.tonic.label_of is None:
        split = _split_of_file(dataset, known)
    else:
        split = _split_of_files(dataset, known, known.tonic.label_of)
    folder = Path(dataset.location_on_system)  # type: ignore[attr-defined]
    return TonicDataset(known.name, split, folder, dataset.transform)  # type: ignore[attr-defined]


def _class_of(dataset: Dataset) -> type | None:
    """Return Tonic's class of a data set, if its module has been imported."""
    module = "" if dataset.tonic is None else dataset.tonic.module
    kind = getattr(sys.modules.get(f"tonic.datasets.{module}"), dataset.name, None)
    return kind if isinstance(kind, type) else None


def _split_of_file(dataset: Any, known: Dataset) -> str:
    file_name = str(dataset.data_filename)
    for split, files in known.splits.items():
        if isinstance(files, NamedFiles) and files.names == (file_name,):
            return split
    raise unsupported(class_name(dataset), f"reads {file_name!r}, which is none of its splits")


def _split_of_files(dataset: Any, known: Dataset, label_of: Callable[[str], int]) -> str:
    """Return the split of a data set with one file a recording, if it has the files and labels of the folder."""
    for option in () if known.tonic is None else known.tonic.options:
        if getattr(dataset, option):
            why = f"with {option}=True has no reader: only its default, False"
            raise unsupported(class_name(dataset), why, attribute=option)
    split = "train" if dataset.train else "test"
    root, names = dataset_files(known.name, split, Path(dataset.location_on_system))
    expected = {os.path.normpath(root / name): label_of(name) for name in names}
    paths, labels = list(dataset.data), list(dataset.targets)
    listed = {os.path.abspath(path): label for path, label in zip(paths, labels, strict=False)}  # noqa: PTH100
    if expected != listed or not len(paths) == len(labels) == len(expected):
        why = f"has another list of files or labels than its folder {root}: make it anew (a recipe's limit reads less)"
        raise unsupported(class_name(dataset), why)
    return split


def _flat(transform: object) -> list[object]:
    """Return the parts of nested ``Compose`` objects in order of application."""
    if isinstance(transform, (list, tuple)):  # the parts of a Compose
        return [inner for part in transform for inner in _flat(part)]
    if not is_exactly(transform, "Compose"):
        return [transform]
    parts = transform.transforms  # type: ignore[attr-defined]
    if not isinstance(parts, (list, tuple)):
        raise unsupported(class_name(transform), f"holds its parts in a {type(parts).__name__}: give a list")
    return [inner for part in parts for inner in _flat(part)]
