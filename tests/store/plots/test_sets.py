"""Plots of feature sets: the data, labels and extent of the drawing, not its pixels."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store.plots.figures import plot_frames, plot_samples
from spikestore.store.plots.time_axis import BINS, TimeAxis
from spikestore.store_schemas.errors import MissingExtraError, UsageError

MS = TimeAxis("ms", 0.0, 20.0, "time (ms)")


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw without a display, and close all figures afterwards."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"plots need matplotlib: pip install 'spikestore\[plots\]'"):
        small_set().build(memory_storage()).plot(5)


@pytest.mark.slow
@pytest.mark.usefixtures("pyplot")
def test_a_row() -> None:
    """Counts, time in ms, channels, class name; also on given axes."""
    names = ("yes", "$\\frac{$ of & all")
    small = small_set()
    evil = replace(small, layout=small.layout.model_copy(update={"classes": names}))
    features = evil.build(memory_storage())
    row = int(np.flatnonzero(features.column("label") == 1)[3])
    frames = features.frames(row)
    axes = features.plot(row)
    (image,) = axes.images
    assert np.array_equal(np.asarray(image.get_array()), frames[:, 0].T)
    assert image.get_extent() == pytest.approx((0, 4 * len(frames), -0.5, 9.5))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time after the first event (ms)", "channel")
    assert axes.get_title() == f"row {row}: {names[1]}"
    axes.figure.canvas.draw()
    assert features.plot(5, axes=axes) is axes
    skipped = features.plot(3)
    like_a_tensor = type("Row", (), {"__index__": lambda _self: 3})()
    assert features.plot(like_a_tensor).get_title() == skipped.get_title()
    assert (skipped.get_title(), len(skipped.images)) == ("row 3: skipped", 0)
    with pytest.raises(UsageError, match="samples has no rows"):
        features.plot(1000)


@pytest.mark.slow
@pytest.mark.usefixtures("pyplot")
def test_classes() -> None:
    """The first row of each class is plotted, for as many classes as requested; a set of skipped rows has none."""
    features = small_set().build(memory_storage())
    axes = features.plot_classes()
    labels = features.column("label").tolist()
    assert [one.get_title() for one in axes] == [
        f"{name} (row {labels.index(label)})" for label, name in enumerate(features.classes)
    ]
    assert len(axes[0].figure.axes) == 2
    assert len(features.plot_classes(most=1)) == 1
    assert plot_samples([], BINS).shape == (0,)


@pytest.mark.slow
@pytest.mark.usefixtures("pyplot")
def test_cameras() -> None:
    """A strip has the times of each frame, pixels as its unit, and a legend of polarities."""
    frames = np.random.default_rng(0).poisson(1, (16, 2, 6, 4))
    axes = plot_frames(frames, MS, title="a")
    assert [text.get_text() for text in axes.get_xticklabels()][:2] == ["0 to 40", "40 to 80"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (ms)", "y (pixel)")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["polarity 0", "polarity 1"]
    assert axes.images[0].get_array().shape == (6, 8 * 4 + 7, 3)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.usefixtures("pyplot")
@pytest.mark.parametrize("shape", [(4, 1, 6), (4, 1, 5, 6)])
def test_signs_have_two_colours(shape: tuple[int, ...]) -> None:
    """The scale of negative values has 0 in its middle; values that are all above 0 are grey."""
    frames = np.random.default_rng(0).normal(-0.5, 1, shape).astype(np.float32)
    (image,) = plot_frames(frames, MS, title="a").images
    low, high = image.get_clim()
    assert low == -high == frames.min() < 0
    blue, white, red = (image.to_rgba(np.array(value))[:3] for value in (high, 0.0, low))
    assert blue[2] > blue[0]
    assert min(white) > 0.95
    assert red[0] > red[2]
    (grey,) = plot_frames(abs(frames), MS, title="a").images
    assert grey.get_clim()[0] == 0
    assert grey.to_rgba(np.array(0.0))[:3] == (1, 1, 1)
