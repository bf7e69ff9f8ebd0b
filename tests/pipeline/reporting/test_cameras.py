"""Reports on frames with y: pixels, clipped counts, strips of frames."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.store.small_sets import memory_storage

from spikestore.pipeline.reporting.report import Report, make_report
from spikestore.store import Build, FeatureSet, SampleColumns
from spikestore.store.columns.event_counts import count_events
from spikestore.store_schemas import (
    Address,
    Source,
    SourceFile,
    ToFrame,
    Transform,
    layout_of,
    make_plan,
)
from spikestore.store_schemas.specs.operations import ClipCounts

SITES, BINS, SAMPLES, MOST = (2, 6, 80), 30, 8, 3
HOT, SILENT = (2, 70), (5, 1)
"""(y, x) of a pixel with many events, and of one without."""


def draw() -> npt.NDArray[np.int64]:
    """Return events of all samples: (sample, time, polarity, y, x)."""
    events = np.random.default_rng(0).poisson(0.05, (SAMPLES, BINS, *SITES))
    events[:, :, 1, *HOT] += 4
    events[:, :, :, *SILENT] = 0
    return events


def built(events: npt.NDArray[np.int64]) -> FeatureSet:
    """Return the set of these events, with counts up to `MOST`."""
    frame = ToFrame(sensor_size=SITES[::-1], n_time_bins=BINS)
    transform = Transform(operations=(frame, ClipCounts(max=MOST)))
    file = SourceFile(name="a", size=1, sha256="0" * 64)
    source = Source(reader="r", reader_version=1, dataset="D", split="train", files=(file,))
    layout = layout_of(
        transform, has_y=True, classes=("a", "b"), extras=("user", "n_events", "n_cropped", "n_dropped")
    )
    counts = np.minimum(events, MOST).reshape(SAMPLES, -1)
    total = events.reshape(SAMPLES, -1).sum(axis=1)
    columns = SampleColumns(
        index=np.concatenate([np.flatnonzero(one) for one in counts]),
        value=counts[counts > 0],
        nnz=(counts > 0).sum(axis=1),
        n_bins=np.full(SAMPLES, BINS),
        label=np.arange(SAMPLES) % 2,
        extras={
            "user": np.arange(SAMPLES) % 3,
            "n_events": total,
            "n_cropped": 0 * total,
            "n_dropped": 0 * total,
        },
    )
    plan = make_plan(transform, source.key, layout, total)
    build = Build.join_or_start(memory_storage(), Address(transform.key, source.key), lambda: plan)
    build.put_fragment(0, columns.as_stored(layout), skipped=[], events=count_events(columns))
    return build.commit(transform, source, {})


@pytest.fixture(scope="module")
def events() -> npt.NDArray[np.int64]:
    return draw()


@pytest.fixture(scope="module")
def features(events: npt.NDArray[np.int64]) -> FeatureSet:
    return built(events)


@pytest.fixture(scope="module")
def report(features: FeatureSet) -> Report:
    return make_report("cameras", {"train": features})


def test_pixels_of_both_polarities(report: Report, events: npt.NDArray[np.int64]) -> None:
    sites = report.document["sites"]
    counts = np.minimum(events, MOST)
    assert np.allclose(sites["mean_events"], counts.sum(axis=(0, 1)) / SAMPLES)
    by_pixel = counts.sum(axis=(0, 1, 2))
    assert sites["silent"] == (by_pixel == 0).sum() == 1
    [hot] = sites["listed"]
    assert (hot["y"], hot["x"]) == HOT
    assert hot["times_the_median"] == pytest.approx(by_pixel[HOT] / np.median(by_pixel[by_pixel > 0]))
    assert any("1 pixel without any event" in sentence for sentence in report.document["findings"])


def test_clipped_counts(report: Report, events: npt.NDArray[np.int64]) -> None:
    """Sums of clipped counts are not the counts of wider bins, so there is no sweep without recordings."""
    lost = report.document["losses"]["train"]
    assert lost["clipped"] == (events - np.minimum(events, MOST)).sum()
    assert lost["at_maximum"] == (events >= MOST).sum()
    assert lost["read"] == lost["clipped"] + lost["merged"] + lost["non_zeros"]
    assert report.document["bin_widths"]["results"] == []
    assert report.document["bin_widths"]["missing"].endswith("counts of wider bins")


def test_groups_of_one_split(report: Report) -> None:
    groups = report.document["groups"]
    assert (groups["column"], groups["groups"], groups["shared"]) == ("user", {"train": 3}, 0)
    assert [(one["group"], one["samples"]) for one in groups["samples"]] == [(0, 3), (1, 3), (2, 2)]


def test_a_strip_is_the_sum_of_bins_and_pixels(
    report: Report, features: FeatureSet, events: npt.NDArray[np.int64]
) -> None:
    image = pytest.importorskip("PIL.Image")
    from spikestore.pipeline.reporting.page.gallery import figures

    figure = figures(report.gallery, report.document["gallery"], features.layout, report.document["bin_ms"])[
        0
    ]
    data: Any = figure.frames.data.removeprefix("data:image/png;base64,")
    pixels = np.array(image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))[..., 3]
    counts = np.minimum(events[figure.about["row"]], MOST).sum(axis=1)  # (time, y, x)
    by_three = counts.reshape(10, 3, 6, 80).sum(axis=1)  # 12 frames at most
    by_pixels = by_three.reshape(10, 3, 2, 40, 2).sum(axis=(2, 4))  # 64 pixels at most
    assert np.array_equal(pixels > 0, by_pixels.reshape(30, 40) > 0)
    assert (figure.width, figure.height) == (40, 3)
    assert figure.strip[0] == "0 to 3 bins"
    assert len(figure.strip) == 10
