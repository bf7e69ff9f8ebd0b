"""What scripts ask a DataLoader for besides batches, answered for a `FeatureLoader`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.arguments import refuse_arguments

_ORDER = (
    "it makes its own order: rows= and weights= choose samples, set_epoch is a method of the loader itself"
)
_THREADS = "threads do the work of worker processes, see threads="
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
    "collate_fn": "it makes the batches: give transform= a function from Batch to Batch",
    "pin_memory": "batches are on the loader's device= already",
    "pin_memory_device": "batches are on the loader's device= already",
    "generator": "the order depends on seed= and the epoch alone",
}
"""Arguments and attributes of a DataLoader that a `FeatureLoader` has not, with what takes their place."""


def absent_attribute(name: str) -> str:
    """Return the text of the `AttributeError` for an attribute that a loader does not have."""
    instead = _INSTEAD.get(name)
    return f"FeatureLoader has no attribute {name!r}" + ("" if instead is None else f": {instead}")


def refuse_loader_arguments(others: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuse arguments that a `FeatureLoader` does not take, those of a DataLoader by what takes their place.

    Raises
    ------
    UsageError
        One is an argument of torch's DataLoader.
    TypeError
        One is nobody's.
    """
    refuse_arguments("FeatureLoader", others, _INSTEAD, known)


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
