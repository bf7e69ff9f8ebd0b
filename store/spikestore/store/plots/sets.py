"""The methods `FeatureSet.plot` and `FeatureSet.plot_classes`. NumPy and the drawing are imported when a plot is made."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from spikestore.store.columns.samples import SampleColumns
    from spikestore.store_schemas.documents.manifest import Manifest


class PlottedSet(Protocol):
    """The attributes and methods of `FeatureSet` that plots use."""

    manifest: Manifest

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    def read(self, start: int, stop: int) -> SampleColumns: ...  # noqa: D102
    def column(self, name: str) -> npt.NDArray[Any]: ...  # noqa: D102
    def frames(self, row: int) -> npt.NDArray[Any]: ...  # noqa: D102


def plot_row(features: PlottedSet, row: int, *, axes: Axes | None = None) -> Axes:
    """Plot the frames of one row on matplotlib axes, and return the axes.

    Frames without y are one image: a row per channel, with time to the right. Frames with y are a strip of at most 8 pictures;
    each picture is the sum of some consecutive time bins. The time axis is in ms if the transform gives all bins the same
    length in time; otherwise the axis counts bins (or, with ``to_averaged_timesurface``, cells of the sensor).

    Parameters
    ----------
    features : FeatureSet
        The set.
    row : int
        Number of the row.
    axes : matplotlib.axes.Axes, optional
        Axes to draw on; by default the axes of a new figure.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed: ``pip install 'spikestore[plots]'``.
    UsageError
        The row is not in the set, or its frames are larger than the limit of `FeatureSet.frames`.
    DamagedError
        A stored object differs from what was committed.
    """
    from spikestore.store.plots.figures import plot_frames
    from spikestore.store.plots.time_axis import time_axis

    row = operator.index(row)
    label = int(features.read(row, row + 1).label[0])
    title = f"row {row}: {features.classes[label] if label >= 0 else 'skipped'}"
    return plot_frames(features.frames(row), time_axis(features.manifest.transform), title=title, axes=axes)


def plot_classes(features: PlottedSet, *, most: int = 12) -> npt.NDArray[np.object_]:
    """Plot the first row of each class that has rows, and return the axes: shape (plotted classes,).

    Parameters
    ----------
    features : FeatureSet
        The set.
    most : int
        Maximum number of classes that are plotted; further classes are left out.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed: ``pip install 'spikestore[plots]'``.
    UsageError
        The frames of a row are larger than the limit of `FeatureSet.frames`.
    DamagedError
        A stored object differs from what was committed.
    """
    import numpy as np

    from spikestore.store.plots.figures import plot_samples
    from spikestore.store.plots.time_axis import time_axis

    labels, rows = np.unique(features.column("label"), return_index=True)
    first = [(label, row) for label, row in zip(labels.tolist(), rows.tolist(), strict=True) if label >= 0]
    samples = [
        (features.frames(row), f"{features.classes[label]} (row {row})") for label, row in first[:most]
    ]
    return plot_samples(samples, time_axis(features.manifest.transform))
