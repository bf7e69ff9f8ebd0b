"""Frames on matplotlib axes. This module imports matplotlib only to create axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spikestore.store.plots.images import (
    COLOURS,
    GAP_COLOUR,
    Image,
    centres_of_frames,
    image_of_channels,
    strip_of_frames,
)
from spikestore.store.plots.time_axis import TimeAxis
from spikestore.store_schemas.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_COLUMNS = 4
"""Maximum number of axes beside each other."""


def plot_frames(frames: npt.NDArray[Any], axis: TimeAxis, *, title: str, axes: Axes | None = None) -> Axes:
    """Plot the frames of one sample, and return the axes.

    Frames without y are one image: a row per channel, with time to the right. Frames with y are a strip of at most 8 pictures;
    each picture is the sum of some consecutive time bins. If frames have one polarity and negative values, values above 0 are
    blue and values below 0 are red.

    Parameters
    ----------
    frames : array, shape (time, polarity, [y,] x)
        Counts or real numbers.
    axis : TimeAxis
        Time axis of the frames.
    title : str
        Title of the axes.
    axes : matplotlib.axes.Axes, optional
        Axes to draw on; by default the axes of a new figure.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    if axes is None:
        axes = _new_axes(1, 1, size=(9, 3))[0]
        image = _draw(frames, axis, axes)
        if image is not None and frames.shape[1] != len(COLOURS):
            axes.figure.colorbar(image, ax=axes, label="events" if frames.dtype.kind in "iu" else "value")
    else:
        _draw(frames, axis, axes)
    # Class names may come from anybody, and matplotlib would read `$` as mathematics.
    axes.set_title(title, parse_math=False)
    return axes


def _draw(frames: npt.NDArray[Any], axis: TimeAxis, axes: Axes) -> AxesImage | None:
    """Draw frames and the labels of the axes; return the image, or None if there are no time bins."""
    axes.set_xlabel(axis.label)
    axes.set_ylabel("channel" if frames.ndim == 3 else "y (pixel)")
    if not frames.size:
        axes.text(0.5, 0.5, "no time bins", ha="center", va="center", transform=axes.transAxes)
        return None
    if frames.shape[1] == len(COLOURS):
        for polarity, colour in enumerate(COLOURS):
            axes.plot([], [], "s", color=tuple(colour), label=f"polarity {polarity}")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    if frames.ndim == 3:
        extent = (axis.at(0), axis.at(len(frames)), -0.5, frames.shape[2] - 0.5)
        image = image_of_channels(frames)
        return axes.imshow(image, origin="lower", aspect="auto", extent=extent, **_scale(image))
    strip, spans = strip_of_frames(frames)
    axes.set_facecolor(str(GAP_COLOUR))
    labels = [f"{axis.at(start):.4g} to {axis.at(stop):.4g}" for start, stop in spans]
    axes.set_xticks(centres_of_frames(frames.shape[3], len(spans)), labels, rotation=30, ha="right")
    return axes.imshow(strip, **_scale(strip))


def _scale(image: Image) -> dict[str, Any]:
    """Return matplotlib's options for the colours of an image: 0 is white or almost white. Matplotlib ignores the options if the pixels are colours already."""
    lowest = np.nanmin(image, initial=0)
    if lowest == 0:
        return {"cmap": "gray_r", "vmin": 0}
    largest = max(-lowest, np.nanmax(image, initial=0))
    return {"cmap": "RdBu", "vmin": -largest, "vmax": largest}


def plot_samples(samples: Sequence[tuple[npt.NDArray[Any], str]], axis: TimeAxis) -> npt.NDArray[np.object_]:
    """Plot several samples on axes of a new figure, and return the axes: shape (samples,).

    Parameters
    ----------
    samples : sequence of (array, str)
        Frames and title of each sample.
    axis : TimeAxis
        Time axis of all frames.
    """
    if not samples:
        return np.empty(0, np.object_)
    is_strip = samples[0][0].ndim == 4
    columns = 1 if is_strip else min(_COLUMNS, len(samples))
    rows = math.ceil(len(samples) / columns)
    size = (9, 2 * rows) if is_strip else (3.5 * columns, 2.5 * rows)
    axes = _new_axes(rows, columns, size=size)
    for number, (frames, title) in enumerate(samples):
        plot_frames(frames, axis, title=title, axes=axes[number])
    for unused in axes[len(samples) :]:
        unused.remove()
    return axes[: len(samples)]


def _new_axes(rows: int, columns: int, *, size: tuple[float, float]) -> npt.NDArray[np.object_]:
    """Return the axes of a new figure of `size` inches: shape (rows · columns,)."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "plots need matplotlib: pip install 'spikestore[plots]'", extra="plots", module="matplotlib"
        ) from error
    _, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return axes.ravel()
