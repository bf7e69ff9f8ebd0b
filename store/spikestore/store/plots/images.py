"""Images of frames as arrays: channels over time, and strips of camera frames."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float64]
"""Counts or real numbers, shape (height, width), NaN in gaps; or colours from 0 to 1, shape (height, width, 3)."""

COLOURS = np.array([(31, 119, 180), (255, 127, 14)]) / 255
"""Colours of the polarities 0 and 1: tab:blue and tab:orange of matplotlib, which colour-blind people can tell apart."""

GAP_COLOUR = 0.85
"""Grey of the gaps between the frames of a strip."""

MOST_FRAMES = 8
"""Maximum number of frames of a strip; with more time bins, each frame is the sum of several bins."""

_GAP = 1
"""Width of a gap, in pixels of a frame."""


def image_of_channels(frames: npt.NDArray[Any]) -> Image:
    """Return an image of frames that have no axis y: time to the right, a row for each channel.

    Parameters
    ----------
    frames : array, shape (time, polarity, x)
        Counts.

    Returns
    -------
    array, shape (x, time) or (x, time, 3)
        Counts; with two polarities, colours.
    """
    return _coloured(frames.transpose(1, 2, 0).astype(np.float64))


def strip_of_frames(frames: npt.NDArray[Any]) -> tuple[Image, list[tuple[int, int]]]:
    """Return an image of a camera's frames side by side, and the time bins of each frame; a frame is the sum of its time bins.

    Parameters
    ----------
    frames : array, shape (time, polarity, y, x)
        Counts of at least one time bin.

    Returns
    -------
    image : array, shape (y, width) or (y, width, 3)
        Counts, NaN in the gaps; with two polarities, colours.
    spans : list of (int, int)
        First time bin of each frame, and the end (exclusive) of its time bins.
    """
    edges = np.linspace(0, len(frames), min(len(frames), MOST_FRAMES) + 1).astype(int).tolist()
    spans = [*itertools.pairwise(edges)]
    gap = np.full((*frames.shape[1:3], _GAP), np.nan)
    parts = [part for start, stop in spans for part in (frames[start:stop].sum(axis=0), gap)]
    return _coloured(np.concatenate(parts[:-1], axis=2)), spans


def centres_of_frames(width: int, frames: int) -> list[float]:
    """Return the x of each frame's centre, if frames of `width` pixels stand side by side."""
    return [number * (width + _GAP) + (width - 1) / 2 for number in range(frames)]


def _coloured(counts: Image) -> Image:
    """Return counts of shape (polarity, height, width) as an image in colour; if there are not two polarities, return the sum over the polarities."""
    if len(counts) != len(COLOURS):
        added: Image = counts.sum(axis=0)
        return added
    largest = np.nanmax(counts, initial=0)
    shares = counts / largest if largest else counts
    image = 1 - np.tensordot(shares, 1 - COLOURS, axes=(0, 0))
    return np.where(np.isnan(image), GAP_COLOUR, image.clip(0, 1))
