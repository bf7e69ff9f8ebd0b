"""What labels mean: the class names of every set that meets a network, compared before it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from spikestore.store import FeatureSet, Store
from spikestore.store.names import other_classes, refuse_other_classes
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import StoreError, UsageError
from spikestore.train.runs.checkpoint.checkpoint import Checkpoint
from spikestore.train.runs.config import DataConfig

logger = logging.getLogger(__name__)


def check_sets(data: DataConfig, features: Mapping[str, FeatureSet]) -> None:
    """Raise unless a network can learn from one set and be measured on the other.

    Parameters
    ----------
    data : DataConfig
        Which splits are meant.
    features : mapping of str to FeatureSet
        Feature sets by split.

    Raises
    ------
    UsageError
        The two list their classes in different orders, or the set to train on has no non-zeros.
    """
    splits = dict.fromkeys((data.train, data.valid))
    refuse_other_classes({f"{data.name}:{split}": features[split].classes for split in splits})
    for split in splits:
        if features[split].manifest.nnz == 0:
            label = f"{data.name}:{split}"
            advice = f"spikestore show {label} says how many events were cropped"
            if split == data.train:
                raise UsageError(
                    f"{label} has no events in any time bin, so there is nothing to learn: {advice}"
                )
            logger.warning("%s has no events in any time bin: %s", label, advice)


def refuse_other_labels(
    checkpoint: Checkpoint, features: FeatureSet, label: str, store: Store, *, other_data: bool = False
) -> None:
    """Raise `UsageError` if a set numbers its classes otherwise than the set that a network was trained with.

    Parameters
    ----------
    checkpoint : Checkpoint
        The network. One that was written before checkpoints held class names is compared with the set it was trained
        on, if `store` has that.
    features : FeatureSet
        The set that it meets.
    label : str
        What to call the set.
    store : Store
        Where to look for the set that it was trained on.
    other_data : bool
        Whether somebody asked for other data: then other names are a warning. The same names in another order are
        an error all the same.
    """
    known = checkpoint.classes or _classes_in_store(checkpoint, store)
    if not known:
        logger.warning(
            "%s does not hold its class names, and the set it was trained on is not in %s: whether %s numbers its "
            "classes in the same way can't be compared",
            checkpoint.origin,
            store.storage.url,
            label,
        )
        return
    why = other_classes(known, features.classes)
    if why is None:
        return
    what = f"{checkpoint.origin} and {label} list their classes differently: {why}"
    if other_data and sorted(known) != sorted(features.classes):
        logger.warning("%s", what)
        return
    raise UsageError(
        f"{what}; write the class names of the recordings in the order of training, number the labels after it, and "
        "build again",
        field="classes",
    )


def _classes_in_store(checkpoint: Checkpoint, store: Store) -> tuple[str, ...]:
    pin = checkpoint.data[checkpoint.config.data.train]
    try:
        features = store.find(Address(pin.transform_key, pin.source_key))
    except StoreError:
        return ()
    return features.classes if features is not None and features.digest == pin.digest else ()
