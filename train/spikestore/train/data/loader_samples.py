"""What scripts ask a DataLoader for besides batches, answered for a `FeatureLoader`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError

_INSTEAD = {
    "sampler": "a loader makes its own order: set_epoch is a method of the loader itself, rows and weights are arguments",
    "num_workers": "its threads do the work of workers, see the argument threads",
    "collate_fn": "batches are made by the loader: give transform= a function from Batch to Batch",
    "pin_memory": "batches are on the loader's device already",
    "generator": "the order depends on seed and epoch alone",
    "worker_init_fn": "its threads do the work of workers",
}
"""Attributes of a DataLoader that a `FeatureLoader` has not, with what takes their place."""


def absent_attribute(name: str) -> str:
    """Return the text of the `AttributeError` for an attribute that a loader does not have."""
    instead = _INSTEAD.get(name)
    return f"FeatureLoader has no attribute {name!r}" + ("" if instead is None else f": {instead}")


class LoaderSamples:
    """The samples that one epoch of a loader has, in the order of the set; without their frames.

    Parameters
    ----------
    classes : tuple of str
        Class names.
    rows : int64 array, shape (samples,)
        Rows of the samples in the feature set, ascending.
    labels : int64 array, shape (samples,), or FeatureSet
        Their labels, or the set in whose store they are.
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
        """Label of each sample: int64, shape (samples,). With ``stream`` they are read from the store."""
        if isinstance(self._labels, FeatureSet):
            self._labels = self._labels.column("label")[self.rows].astype(np.int64)
        return self._labels

    def __getitem__(self, item: Any) -> Any:
        raise UsageError("the samples of a FeatureLoader come in batches: FeatureDataset gives single ones")
