"""Tonic's own objects, turned into what spikestore computes with.

A user hands over a ``tonic.transforms.Compose`` or a ``tonic.datasets.SSC`` as it stands in a training script.
Transforms become specs, whose parameters can be hashed and written down. What has no spec is refused by its name,
with the reason, because whatever was stored for it would be wrong later: random operations would be frozen, and
those that infer a parameter from the first recording that they see depend on the order of access.

Only exact classes are taken: a subclass may compute anything. Nothing here imports Tonic; whoever holds an object
of Tonic's has imported it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.tonic_operations import class_name, is_exactly, operation_of, unsupported
from spikestore.store_schemas.transform import DEFAULT_MAX_BINS, Transform

READABLE_DATASETS = ("SSC", "SHD")
"""Classes of ``tonic.datasets`` that have a reader."""


@dataclass(frozen=True)
class TonicDataset:
    """What a ``tonic.datasets`` object says about itself.

    Attributes
    ----------
    dataset : str
        Name of its class, one of `READABLE_DATASETS`.
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
    transform : tonic.transforms.Compose or tonic.transforms.ToFrame
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
    """Read split, folder and transform off a ``tonic.datasets.SSC`` or ``SHD``.

    Parameters
    ----------
    dataset : tonic.datasets.SSC or tonic.datasets.SHD
        Left as it is.

    Raises
    ------
    UnsupportedTransformError
        Another class, a subclass, a cached or sliced data set, or one that transforms its targets.
    """
    name = class_name(dataset)
    cached = getattr(sys.modules.get("tonic.cached_dataset"), "__dict__", {})
    wrappers = tuple(cached[one] for one in ("DiskCachedDataset", "MemoryCachedDataset") if one in cached)
    if isinstance(dataset, wrappers):
        raise unsupported(
            name,
            "caches another data set: hand over the inner one (its .dataset), the store replaces the cache",
        )
    hsd = getattr(sys.modules.get("tonic.datasets.hsd"), "__dict__", {})
    readable = [one for one in READABLE_DATASETS if one in hsd and type(dataset) is hsd[one]]
    if not readable:
        derived = any(isinstance(dataset, hsd[one]) for one in READABLE_DATASETS if one in hsd)
        why = "is a subclass, which may read anything" if derived else "has no reader"
        raise unsupported(name, f"{why}; data sets that have one: {', '.join(READABLE_DATASETS)}")
    for attribute in ("target_transform", "transforms"):
        value = getattr(dataset, attribute, None)
        if value is not None:
            why = f"{attribute} {class_name(value)} has no spec: the store keeps the labels of the files, map them in training"
            raise unsupported(name, why, attribute=attribute)
    file_name = str(dataset.data_filename)  # type: ignore[attr-defined]
    match = re.fullmatch(rf"{readable[0].lower()}_(train|valid|test)\.h5", file_name)
    if match is None:
        raise unsupported(name, f"reads {file_name!r}, which is none of its splits")
    folder = Path(dataset.location_on_system)  # type: ignore[attr-defined]
    return TonicDataset(readable[0], match[1], folder, dataset.transform)  # type: ignore[attr-defined]


def _flat(transform: object) -> list[object]:
    """Return the parts of nested ``Compose`` objects in order of application."""
    if not is_exactly(transform, "Compose"):
        return [transform]
    parts = transform.transforms  # type: ignore[attr-defined]
    if not isinstance(parts, (list, tuple)):
        raise unsupported(class_name(transform), f"holds its parts in a {type(parts).__name__}: give a list")
    return [inner for part in parts for inner in _flat(part)]
