"""The methods `Batch._repr_html_` and `Batch.plot`: a batch as a table, and on matplotlib axes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.store.feature_set import FeatureSet
from spikestore.store.notebook.tables import html_table
from spikestore.store.plots.figures import plot_samples
from spikestore.store.plots.time_axis import BINS, time_axis
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import whole_number

_SHOWN = 8
"""Number of labels, and of rows, that a table shows."""


class ShownBatch(Protocol):
    """The attributes that tables and plots read from a batch; `Batch` has all of them."""

    @property
    def frames(self) -> Tensor: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def lengths(self) -> Tensor: ...  # noqa: D102
    @property
    def samples(self) -> Tensor: ...  # noqa: D102


def table_of_batch(batch: ShownBatch) -> str:
    """Return an HTML table with shapes, dtypes and the first labels, for notebooks."""
    frames = batch.frames
    dtype = str(frames.dtype).removeprefix("torch.")
    stored = frames.coalesce().values() if frames.is_sparse else frames
    share = int(torch.count_nonzero(stored)) / max(frames.numel(), 1)
    kind = "sparse" if frames.is_sparse else "dense"
    rows = [("frames", f"{dtype} {tuple(frames.shape)}, {kind}, on {frames.device}; {share:.2%} are not 0")]
    if len(batch.lengths):
        rows.append(("lengths", f"{int(batch.lengths.min())} to {int(batch.lengths.max())} time bins"))
    labels = (
        f"weights of {plural(batch.labels.shape[1], 'class')}"
        if batch.labels.ndim == 2
        else _first(batch.labels)
    )
    rows += [("labels", labels), ("samples", f"rows {_first(batch.samples)}")]
    return html_table(f"batch of {plural(len(batch.labels), 'sample')}", ("", ""), rows)


def plot_batch(
    batch: ShownBatch, features: FeatureSet | None = None, *, most: int = 12
) -> npt.NDArray[np.object_]:
    """Plot samples of a batch, as `Batch.plot` documents it."""
    shown = torch.arange(min(whole_number("most", most, 1), len(batch.labels)), device=batch.frames.device)
    chosen = batch.frames.index_select(0, shown)
    frames = (chosen.to_dense() if chosen.is_sparse else chosen).detach().cpu().numpy()
    classes = None if features is None else features.classes
    samples = [
        (
            frames[place, : int(batch.lengths[place])],
            f"row {int(batch.samples[place])}: {label_text(label, classes)}",
        )
        for place, label in enumerate(batch.labels[: len(frames)])
    ]
    return plot_samples(samples, BINS if features is None else time_axis(features.manifest.transform))


def label_text(label: Tensor, classes: tuple[str, ...] | None) -> str:
    """Return the name of a class, or the weights and names of a mixed label, such as ``0.70 yes + 0.30 no``; without `classes`, names are ``class 0``, ``class 1`` and so on."""
    names = classes or tuple(
        f"class {number}" for number in range(int(label) + 1 if label.ndim == 0 else len(label))
    )
    if not label.is_floating_point():
        return names[int(label)]
    parts = [(float(weight), name) for weight, name in zip(label, names, strict=True) if weight > 0]
    return " + ".join(f"{weight:.2f} {name}" for weight, name in sorted(parts, reverse=True))


def _first(column: Tensor) -> str:
    return ", ".join(map(str, column[:_SHOWN].tolist())) + (", …" if len(column) > _SHOWN else "")
