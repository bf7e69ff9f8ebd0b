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

FRAMES = 12
"""Maximum number of frames in a strip of camera frames; more bins are summed in groups."""

SIDE = 64
"""Maximum width and height of a camera frame in pixels; neighbouring pixels are summed."""

COLUMNS, ROWS = 256, 128
"""Maximum number of time bins and channels of a picture without y; neighbours are summed."""

RASTER_COLUMNS = 400

LARGEST = 3_000_000
"""Maximum length of all pictures in bytes; further samples are left out, so that the page stays below 5 MB."""


@dataclass(frozen=True)
class Figure:
    """A sample of the gallery as the page shows it.

    Attributes
    ----------
    about : mapping
        What the report says about the sample.
    frames : str
        Data URI: time to the right and channels upwards; or, for a camera, one frame below the other.
    strip : tuple of str
        Times of the frames of a camera, such as "0 to 20 ms"; empty without y.
    height : int
        Height of the frames in pixels of the picture, for the ratio of sides.
    width : int
        Width of the frames.
    end : str
        End of the axis of time, with its unit.
    top : int
        Largest channel.
    raster : str, optional
        Data URI of the events: time to the right, channel or x upwards; None if the recordings are not at hand.
    raster_top : int
        Largest channel or x of the raster.
    raster_end : str
        End of the axis of time of the raster.
    note : str
        What was summed for the picture; empty if nothing.
    """

    about: Mapping[str, Any]
    frames: str
    strip: tuple[str, ...]
    height: int
    width: int
    end: str
    top: int
    raster: str | None
    raster_top: int
    raster_end: str
    note: str


def figures(
    gallery: Iterable[ShownSample],
    described: Iterable[Mapping[str, Any]],
    layout: Layout,
    bin_ms: float | None,
) -> list[Figure]:
    """Return the figures of the gallery, as many as fit the page.

    Parameters
    ----------
    gallery : iterable of ShownSample
        The samples.
    described : iterable of mapping
        What the report says about each.
    layout : Layout
        Axes and sites.
    bin_ms : float, optional
        Time from bin to bin in ms; None if it differs between samples.
    """
    shown = [*gallery]
    bins = max((one.sample.n_bins for one in shown), default=1)
    found: list[Figure] = []
    size = 0
    for one, about in zip(shown, described, strict=True):
        draw = _camera if "y" in layout.axes else _cochlea
        figure = draw(one, about, layout, bin_ms, bins)
        size += len(figure.frames) + len(figure.raster or "")
        if size > LARGEST:
            break
        found.append(figure)
    return found


def _cochlea(
    shown: ShownSample, about: Mapping[str, Any], layout: Layout, bin_ms: float | None, bins: int
) -> Figure:
    raster_ms = _raster_ms(shown.raster, bins, bin_ms)
    factor = -(-bins // COLUMNS)
    sample = coarser(shown.sample, factor, layout.site_count)
    polarities, channels = layout.sites
    dense = np.zeros((-(-bins // factor), polarities, channels))
    dense.reshape(-1)[sample.index] = sample.value
    side = -(-channels // ROWS)
    upwards = _summed(dense, side, axis=2).transpose(1, 2, 0)[:, ::-1]  # (polarity, channel, time)
    notes = [f"{factor} bins are summed"] if factor > 1 else []
    notes += [f"{side} channels are summed"] if side > 1 else []
    return Figure(
        about=about,
        frames=_both(upwards),
        strip=(),
        height=upwards.shape[1],
        width=upwards.shape[2],
        end=f"{bins:,} bins" if bin_ms is None else f"{bins * bin_ms:,.4g} ms",
        top=channels - 1,
        raster=None if shown.raster is None else _raster(shown.raster, raster_ms),
        raster_top=0 if shown.raster is None else int(shown.raster.x.max(initial=0)),
        raster_end=f"{raster_ms:,.4g} ms",
        note=", ".join(notes),
    )


def _camera(
    shown: ShownSample, about: Mapping[str, Any], layout: Layout, bin_ms: float | None, bins: int
) -> Figure:
    raster_ms = _raster_ms(shown.raster, bins, bin_ms)
    factor = max(1, -(-shown.sample.n_bins // FRAMES))
    sample = coarser(shown.sample, factor, layout.site_count)
    polarities, height, width = layout.sites
    dense = np.zeros((max(sample.n_bins, 1), polarities, height, width))
    dense.reshape(-1)[sample.index] = sample.value
    side = -(-max(height, width) // SIDE)
    frames = _summed(_summed(dense, side, axis=2), side, axis=3)
    column = frames.transpose(1, 0, 2, 3).reshape(polarities, -1, frames.shape[3])
    unit = "bins" if bin_ms is None else "ms"
    length = factor * (1.0 if bin_ms is None else bin_ms)
    notes = [f"each frame is the sum of {factor} bins"] if factor > 1 else []
    notes += [f"{side} × {side} pixels are summed"] if side > 1 else []
    return Figure(
        about=about,
        frames=_both(column),
        strip=tuple(f"{n * length:,.4g} to {(n + 1) * length:,.4g} {unit}" for n in range(len(frames))),
        height=frames.shape[2],
        width=frames.shape[3],
        end=f"{bins:,} bins" if bin_ms is None else f"{bins * bin_ms:,.4g} ms",
        top=width - 1,
        raster=None if shown.raster is None else _raster(shown.raster, raster_ms),
        raster_top=0 if shown.raster is None else int(shown.raster.x.max(initial=0)),
        raster_end=f"{raster_ms:,.4g} ms",
        note=", ".join(notes),
    )


def _both(counts: npt.NDArray[np.float64]) -> str:
    """Return the picture of counts of shape (polarity, rows, columns)."""
    return picture(counts[0]) if len(counts) == 1 else picture(counts[1], counts[0])


def _summed(counts: npt.NDArray[np.float64], side: int, axis: int) -> npt.NDArray[np.float64]:
    if side == 1:
        return counts
    sums: npt.NDArray[np.float64] = np.add.reduceat(counts, np.arange(0, counts.shape[axis], side), axis=axis)
    return sums


def _raster_ms(raster: Raster | None, bins: int, bin_ms: float | None) -> float:
    """Return the length of the raster's axis of time: that of the frames, or of the recording if bins have no common width."""
    if bin_ms is not None:
        return bins * bin_ms
    return 0.0 if raster is None else float(raster.ms.max(initial=0))


def _raster(raster: Raster, end: float) -> str:
    """Return the picture of the events from 0 to `end` ms."""
    inside = (raster.ms >= 0) & (raster.ms <= end)
    column = (
        np.floor(raster.ms / max(end, 1e-9) * RASTER_COLUMNS).clip(0, RASTER_COLUMNS - 1).astype(np.int64)
    )
    side = int(raster.x.max(initial=0)) // ROWS + 1
    rows = int(raster.x.max(initial=0)) // side + 1
    two = len(np.unique(raster.p)) > 1
    counts = np.zeros((2 if two else 1, rows, RASTER_COLUMNS))
    polarity = (raster.p > 0).astype(np.int64) if two else np.zeros(len(raster.p), np.int64)
    np.add.at(counts, (polarity[inside], raster.x[inside] // side, column[inside]), 1)
    return _both(counts[:, ::-1])
