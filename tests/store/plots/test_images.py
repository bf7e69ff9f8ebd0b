"""Images of frames: the place and the colour of each count."""

from __future__ import annotations

import numpy as np

from spikestore.store.plots.images import (
    COLOURS,
    GAP_COLOUR,
    MOST_FRAMES,
    centres_of_frames,
    image_of_channels,
    strip_of_frames,
)


def test_channels() -> None:
    """There is a row for each channel and a column for each bin; two polarities have two colours, more are summed."""
    frames = np.random.default_rng(0).poisson(1, (5, 1, 3))
    assert np.array_equal(image_of_channels(frames), frames[:, 0].T)
    three = np.random.default_rng(0).poisson(1, (5, 3, 4))
    assert np.array_equal(image_of_channels(three), three.sum(axis=1).T)
    both = np.zeros((4, 2, 3), int)
    both[0, 0, 1], both[1, 1, 2], both[2, :, 0] = 2, 1, 2
    image = image_of_channels(both)
    assert image.shape == (3, 4, 3)
    assert np.allclose(image[1, 0], COLOURS[0])
    assert np.allclose(image[2, 1], (1 + COLOURS[1]) / 2)  # half of the largest count
    assert np.allclose(image[0, 2], (COLOURS.sum(axis=0) - 1).clip(0))
    assert np.allclose(image[:, 3], 1)


def test_strips() -> None:
    """Bins are summed in order, each in one frame; a tick is at the middle of its frame."""
    frames = np.random.default_rng(0).poisson(1, (21, 1, 3, 5))
    image, spans = strip_of_frames(frames)
    assert len(spans) == MOST_FRAMES
    assert [bin_ for start, stop in spans for bin_ in range(start, stop)] == [*range(21)]
    for centre, (start, stop) in zip(centres_of_frames(5, len(spans)), spans, strict=True):
        part = image[:, int(centre) - 2 : int(centre) + 3]
        assert np.array_equal(part, frames[start:stop, 0].sum(axis=0))
    assert np.isnan(image[:, 5]).all()
    short, spans = strip_of_frames(np.repeat(frames[:2], 2, axis=1))
    assert spans == [(0, 1), (1, 2)]
    assert short.shape == (3, 11, 3)
    assert np.allclose(short[:, 5], GAP_COLOUR)
    assert np.isfinite(short).all()
