"""Figures of the gallery: frames of a sample, and the events of its recording on the same axis of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.bin_widths import coarser
from spikestore.pipeline.reporting.page.pictures import picture
from spikestore.pipeline.reporting.recordings import Raster
from spikestore.pipeline.reporting.report import ShownSample
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.wording import plural

FRAMES = 12
"""Maximum number of frames in a strip of camera frames; more bins are summed in groups."""

SIDE = 64
"""Maximum width and height of a camera frame in pixels; neighbouring pixels are summed."""

COLUMNS, ROWS = 256, 128
"""Maximum number of time bins and channels of a picture without y; neighbours are summed."""

RASTER_COLUMNS = 400

LARGEST = 3_000_000
"""Maximum size of all pictures together, in bytes; further samples are left out, so that the page stays below 5 MB."""


@dataclass(frozen=True)
class Picture:
    """A picture with its axes: time to the right, channels or x upwards. The frames of a camera are shown without axes.

    Attributes
    ----------
    data : str
        Data URI of a PNG. For a camera, the frames are one below the other.
    top : int
        Largest channel or x; the axis begins at 0.
    end : str
        End of the axis of time, with its unit; the axis begins at 0.
    """

    data: str
    top: int
    end: str


@dataclass(frozen=True)
class Figure:
    """A sample of the gallery as the page shows it.

    Attributes
    ----------
    about : mapping
        What the report says about the sample.
    frames : Picture
        The frames.
    strip : tuple of str
        If the sensor has y: for each frame in the picture, a text with its times, such as "0 to 20 ms". If the bins have no
        common length in ms, the text has their numbers, such as "0 to 3 bins". Empty if the sensor has no y.
    width, height : int
        Size of one frame in the picture, in pixels; size of the whole picture if the sensor has no y.
    raster : Picture, optional
        The events; None if the recordings are not available.
    note : str
        What was summed for the picture; empty if nothing was summed.
    """

    about: Mapping[str, Any]
    frames: Picture
    strip: tuple[str, ...]
    width: int
    height: int
    raster: Picture | None
    note: str


def figures(
    gallery: Iterable[ShownSample],
    described: Iterable[Mapping[str, Any]],
    layout: Layout,
    bin_ms: float | None,
    *,
    unit: str = "bins",
    is_real: bool = False,
) -> list[Figure]:
    """Return the figures of the gallery; if the page would be too large with all figures, the last figures are left out.

    Parameters
    ----------
    gallery : iterable of ShownSample
        The samples.
    described : iterable of mapping
        What the report says about each sample.
    layout : Layout
        Axes and sites.
    bin_ms : float, optional
        Time from bin to bin in ms; None if this time differs between samples.
    unit : str
        What the first axis counts, if `bin_ms` is None.
    is_real : bool
        Whether the values are real numbers.
    """
    shown = [*gallery]
    bins = max((one.sample.n_bins for one in shown), default=1)
    found: list[Figure] = []
    size = 0
    for one, about in zip(shown, described, strict=True):
        if "y" in layout.axes:
            figure = _camera(one, about, layout, bin_ms, bins, unit, is_real=is_real)
        else:
            figure = _cochlea(one, about, layout, bin_ms, bins)
        size += len(figure.frames.data) + (0 if figure.raster is None else len(figure.raster.data))
        if size > LARGEST:
            break
        found.append(figure)
    return found


def _cochlea(
    shown: ShownSample, about: Mapping[str, Any], layout: Layout, bin_ms: float | None, bins: int
) -> Figure:
    factor = -(-bins // COLUMNS)
    sample = coarser(shown.sample, factor, layout.site_count)
    polarities, channels = layout.sites
    dense = np.zeros((-(-bins // factor), polarities, channels))
    dense.reshape(-1)[sample.index] = sample.value
    side = -(-channels // ROWS)
    upwards = _summed(dense, side, axis=2).transpose(1, 2, 0)[:, ::-1]  # (polarity, channel, time)
    notes = [f"each column is the sum of {factor} bins"] if factor > 1 else []
    notes += [f"each row is the sum of {side} channels"] if side > 1 else []
    return Figure(
        about=about,
        frames=Picture(_both(upwards), channels - 1, _end(bins, bin_ms)),
        strip=(),
        width=upwards.shape[2],
        height=upwards.shape[1],
        raster=_raster(shown.raster, bins, bin_ms),
        note=", ".join(notes),
    )


def _camera(
    shown: ShownSample,
    about: Mapping[str, Any],
    layout: Layout,
    bin_ms: float | None,
    bins: int,
    unit: str,
    *,
    is_real: bool,
) -> Figure:
    factor = max(1, -(-shown.sample.n_bins // FRAMES))
    sample = coarser(shown.sample, factor, layout.site_count)
    polarities, height, width = layout.sites
    dense = np.zeros((max(sample.n_bins, 1), polarities, height, width))
    dense.reshape(-1)[sample.index] = sample.value
    side = -(-max(height, width) // SIDE)
    frames = _summed(_summed(dense, side, axis=2), side, axis=3)
    column = frames.transpose(1, 0, 2, 3).reshape(polarities, -1, frames.shape[3])
    length = factor * (1.0 if bin_ms is None else bin_ms)
    notes = [f"each frame is the sum of {factor} {unit}"] if factor > 1 else []
    notes += [f"{side} × {side} pixels are summed"] if side > 1 else []
    return Figure(
        about=about,
        frames=Picture(_signed(column) if is_real else _both(column), width - 1, _end(bins, bin_ms)),
        strip=tuple(
            f"{n * length:,.4g} to {(n + 1) * length:,.4g} {unit if bin_ms is None else 'ms'}"
            for n in range(len(frames))
        ),
        width=frames.shape[3],
        height=frames.shape[2],
        raster=_raster(shown.raster, bins, bin_ms),
        note=", ".join(notes),
    )


def _end(bins: int, bin_ms: float | None) -> str:
    return plural(bins, "bin") if bin_ms is None else f"{bins * bin_ms:,.4g} ms"


def _both(counts: npt.NDArray[np.float64]) -> str:
    """Return one picture of the counts of all polarities; `counts` has the shape (polarity, rows, columns)."""
    return picture(counts[0]) if len(counts) == 1 else picture(counts[1], counts[0])


def _signed(values: npt.NDArray[np.float64]) -> str:
    """Return the picture of real numbers of shape (polarity, rows, columns).

    If no number is negative, each polarity has a colour. Otherwise, the numbers are summed over the polarities, and the colours show the signs of the sums.
    """
    if (values < 0).any():
        total = values.sum(axis=0)
        return picture(np.maximum(total, 0), np.maximum(-total, 0), is_real=True)
    return (
        picture(values[0], is_real=True) if len(values) == 1 else picture(values[1], values[0], is_real=True)
    )


def _summed(counts: npt.NDArray[np.float64], side: int, axis: int) -> npt.NDArray[np.float64]:
    if side == 1:
        return counts
    sums: npt.NDArray[np.float64] = np.add.reduceat(counts, np.arange(0, counts.shape[axis], side), axis=axis)
    return sums


def _raster(raster: Raster | None, bins: int, bin_ms: float | None) -> Picture | None:
    """Return a picture of the events; None if `raster` is None.

    If all bins have the same width, the axis of time is that of the frames. Otherwise, it ends at the last event of the
    recording.
    """
    if raster is None:
        return None
    end = float(raster.ms.max(initial=0)) if bin_ms is None else bins * bin_ms
    inside = (raster.ms >= 0) & (raster.ms <= end)
    column = np.floor(raster.ms / max(end, 1e-9) * RASTER_COLUMNS).clip(0, RASTER_COLUMNS - 1)
    top = int(raster.x.max(initial=0))
    side = top // ROWS + 1
    polarities = 2 if len(np.unique(raster.p)) > 1 else 1
    counts = np.zeros((polarities, top // side + 1, RASTER_COLUMNS))
    polarity = (raster.p > 0).astype(np.int64) * (polarities - 1)
    np.add.at(counts, (polarity[inside], raster.x[inside] // side, column[inside].astype(np.int64)), 1)
    return Picture(_both(counts[:, ::-1]), top, f"{end:,.4g} ms")
