"""Comparison of class names, so that no network is used with a set that numbers its classes in another order."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from spikestore.store import FeatureSet, Store
from spikestore.store.names import other_classes, refuse_other_classes
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import StoreError, UsageError
from spikestore.train.data.loader_samples import LoaderSamples
from spikestore.train.runs.checkpoint.checkpoint import Checkpoint
from spikestore.train.runs.config import DataConfig

logger = logging.getLogger(__name__)


def check_sets(data: DataConfig, features: Mapping[str, FeatureSet]) -> None:
    """Raise an error unless a network can be trained on one set and evaluated on the other.

    Parameters
    ----------
    data : DataConfig
        Names of the two splits.
    features : mapping of str to FeatureSet
        Feature sets by split.

    Raises
    ------
    UsageError
        A class number means different classes in the two sets, or the set to train on has no non-zeros.
    """
    splits = dict.fromkeys((data.train, data.valid))
    refuse_other_classes({f"{data.name}:{split}": features[split].classes for split in splits})
    for split in splits:
        if features[split].manifest.nnz == 0:
            label = f"{data.name}:{split}"
            advice = f"spikestore show {label} reports how many events were cropped"
            if split == data.train:
                raise UsageError(
                    f"{label} has no events in any time bin, so nothing can be learned: {advice}"
                )
            logger.warning("%s has no events in any time bin: %s", label, advice)


def warn_of_one_class(label: str, samples: LoaderSamples) -> None:
    """Log a warning if all samples to train on have the same class; `label` is the name of their split.

    Raises
    ------
    DamagedError, StoreError
        The labels can't be read, or are damaged.
    """
    present = np.unique(samples.targets)
    if len(present) == 1:
        name = samples.classes[int(present[0])]
        logger.warning(
            "all samples to train on (%s) have the class %s, so a network that always answers %s is always right: train on several classes",
            label,
            name,
            name,
        )


def refuse_other_labels(
    checkpoint: Checkpoint, features: FeatureSet, label: str, store: Store, *, other_data: bool = False
) -> None:
    """Raise `UsageError` if a set numbers its classes differently from the set that a network was trained on.

    Parameters
    ----------
    checkpoint : Checkpoint
        The network. Early versions wrote checkpoints without class names. For such a checkpoint, the names are read
        from the training split, if `store` has this split.
    features : FeatureSet
        The set to compare.
    label : str
        Name of the set in messages.
    store : Store
        Store to search for the set that the network was trained on.
    other_data : bool
        If true, other names cause a warning instead of an error. The same names in another order cause an error in any
        case.
    """
    known = checkpoint.classes or _classes_in_store(checkpoint, store)
    if not known:
        logger.warning(
            "can't compare the classes of %s with those of %s: the checkpoint has no class names, and its training set is "
            "not in %s",
            label,
            checkpoint.origin,
            store.storage.url,
        )
        return
    why = other_classes(known, features.classes)
    if why is None:
        return
    what = f"the labels of {checkpoint.origin} and {label} mean different classes: {why}"
    if other_data and sorted(known) != sorted(features.classes):
        logger.warning("%s", what)
        return
    raise UsageError(
        f"{what}; list the class names of the recordings in the same order as in training, number the labels accordingly, and "
        "run spikestore preprocess again",
        field="classes",
    )


def _classes_in_store(checkpoint: Checkpoint, store: Store) -> tuple[str, ...]:
    pin = checkpoint.data[checkpoint.config.data.train]
    try:
        features = store.find(Address(pin.transform_key, pin.source_key))
    except StoreError:
        return ()
    return features.classes if features is not None and features.digest == pin.digest else ()
