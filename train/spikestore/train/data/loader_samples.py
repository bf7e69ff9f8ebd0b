"""Attributes and arguments of torch's DataLoader that scripts also use with a `FeatureLoader`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.arguments import refuse_arguments

_ORDER = "the loader has its own order: select samples with rows= and weights=, and call set_epoch on the loader itself"
_THREADS = "the loader uses threads (threads=) instead of worker processes"
_INSTEAD = {
    "sampler": _ORDER,
    "batch_sampler": _ORDER,
    "num_workers": _THREADS,
    "worker_init_fn": _THREADS,
    "persistent_workers": _THREADS,
    "prefetch_factor": _THREADS,
    "multiprocessing_context": _THREADS,
    "timeout": _THREADS,
    "in_order": _THREADS,
    "collate_fn": "the loader builds batches itself: pass transform=, a function from Batch to Batch",
    "pin_memory": "batches are already on the loader's device=",
    "pin_memory_device": "batches are already on the loader's device=",
    "generator": "the order depends only on seed= and the epoch",
}
"""Arguments and attributes of a DataLoader that a `FeatureLoader` does not have, with what to use instead."""


def absent_attribute(name: str) -> str:
    """Return the message of the `AttributeError` for an attribute that a loader does not have."""
    instead = _INSTEAD.get(name)
    return f"FeatureLoader has no attribute {name!r}" + ("" if instead is None else f": {instead}")


def refuse_loader_arguments(others: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise an error for the first of the unknown arguments `others`; do nothing if `others` is empty.

    Raises
    ------
    UsageError
        torch's DataLoader has the argument; the message names a replacement.
    TypeError
        torch's DataLoader does not have the argument; the message may suggest a similar argument in `known`.
    """
    refuse_arguments("FeatureLoader", others, _INSTEAD, known)


class LoaderSamples:
    """Rows and labels of a loader's samples, without their frames, in the order of the feature set.

    Parameters
    ----------
    classes : tuple of str
        Class names.
    rows : int64 array, shape (samples,)
        Rows of the samples in the feature set, ascending.
    labels : int64 array, shape (samples,), or FeatureSet
        Labels of the samples, or the set from which the labels are read.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64] | FeatureSet,
    ) -> None:
        self.classes, self.rows, self._labels = classes, rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Label of each sample: int64, shape (samples,). With residence ``stream``, the first use reads the labels from the store.

        Raises
        ------
        DamagedError
            Stored labels differ from the committed labels.
        """
        if isinstance(self._labels, FeatureSet):
            self._labels = self._labels.column("label")[self.rows].astype(np.int64)
        return self._labels

    def __getitem__(self, item: Any) -> Any:
        raise UsageError("a FeatureLoader yields batches only: use FeatureDataset for single samples")
