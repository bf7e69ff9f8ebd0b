"""Sums of a fine set's cells equal the coarse set, or `rebinning_of` returns the reason why they may differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.fused_cases import block_of, name_of

from spikestore.pipeline.deriving.nesting import rebinning_of
from spikestore.pipeline.transforms.choose import OneByOne
from spikestore.pipeline.transforms.fused import FusedSamples
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.rebinning.rebinning import Rebinning, has_whole_times, uniform_sites
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.operations import (
    ClipCounts,
    CropTime,
    Decimation,
    Downsample,
    MergePolarities,
    ToFrame,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

EXTRAS = ("n_events", "n_cropped", "n_dropped")


@dataclass
class Case:
    fine: Transform
    coarse: Transform
    has_y: bool
    recordings: list[Any]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw two transforms that often nest, and recordings with few different times, so that many lie on edges."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    has_y, polarities = draw(st.booleans()), draw(st.sampled_from([1, 2]))
    x_size, y_size = draw(st.sampled_from([6, 10, 12])), draw(st.sampled_from([1, 4])) if has_y else 1
    window, bins = draw(st.sampled_from([1, 2, 5, 7])), draw(st.integers(1, 4))
    fine_incomplete, incomplete = draw(st.sampled_from([(True, True), (True, False), (False, False)]))
    start = draw(st.none() | st.integers(-3, 9))
    end = draw(st.none() | st.integers(9, 60)) if fine_incomplete == incomplete else None
    divided = draw(st.sampled_from([1, 2, 3, 5]))
    scale = draw(st.sampled_from([1.0, 0.5, 3.0]))
    shared: list[Any] = [Decimation(n=2)] if draw(st.booleans()) else []
    crop = (
        [CropTime(min=draw(st.integers(-2, 5)), max=draw(st.integers(10, 70)))] if draw(st.booleans()) else []
    )
    before = [Downsample(time_factor=scale, spatial_factor=(1.0, 1.0)), *crop] if scale != 1 else [*crop]
    merged = [MergePolarities()] if draw(st.booleans()) else []

    def frame(factor: int, width: int, planes: int, incomplete: bool) -> ToFrame:
        size = (-(-x_size // factor), -(-y_size // factor), planes)
        return ToFrame(
            sensor_size=size, time_window=width, include_incomplete=incomplete, start_time=start, end_time=end
        )

    fine_factor = draw(st.sampled_from([1, 2]))
    spatial = [Downsample(spatial_factor=(1 / divided, 1 / divided))] if draw(st.booleans()) else []
    factor = divided if spatial else fine_factor
    shrunk = [Downsample(spatial_factor=(1 / fine_factor, 1 / fine_factor))] if fine_factor > 1 else []
    coarse_shrunk = spatial or shrunk
    clip = [ClipCounts(max=2)] if draw(st.booleans()) else []
    return Case(
        Transform(
            operations=(*shared, *shrunk, *before, frame(fine_factor, window, polarities, fine_incomplete))
        ),
        Transform(
            operations=(
                *shared,
                *before,
                *merged,
                *coarse_shrunk,
                frame(factor, window * bins, 1 if merged else polarities, incomplete),
                *clip,
            )
        ),
        has_y,
        [recording(rng, x_size, y_size, polarities, has_y=has_y) for _ in range(12)],
    )


def recording(rng: np.random.Generator, x_size: int, y_size: int, polarities: int, *, has_y: bool) -> Any:
    count = rng.integers(0, 12)
    fields = ["t", "x", "y", "p"] if has_y else ["t", "x", "p"]
    events = np.zeros(count, [(field, np.int64) for field in fields])
    events["t"] = np.sort(rng.integers(-5, rng.choice([0, 9, 60]), count))
    for field, size in zip(
        fields[1:], (x_size, y_size, polarities) if has_y else (x_size, polarities), strict=True
    ):
        events[field] = rng.integers(0, size, count)
    return events


def rows_of(transform: Transform, case: Case) -> SampleColumns:
    samples: FusedSamples = OneByOne(NumpyChain(transform, has_y=case.has_y))(
        block_of(case.recordings), name_of=name_of
    )
    assert not samples.errors
    layout = layout_of(transform, has_y=case.has_y, classes=["a"], extras=EXTRAS)
    return SampleColumns(
        index=samples.index,
        value=samples.value,
        nnz=samples.nnz,
        n_bins=samples.n_bins,
        label=np.zeros(len(case.recordings), np.int64),
        extras={name: getattr(samples, name) for name in EXTRAS},
    ).as_stored(layout)


@given(cases())
@settings(max_examples=examples(80), deadline=None)
def test_sums_of_fine_rows_are_the_coarse_rows(case: Case) -> None:
    rebinning = rebinning_of(case.fine, case.coarse, has_y=case.has_y)
    event(rebinning if isinstance(rebinning, str) else "nested")
    if isinstance(rebinning, str):
        return
    fine, coarse = rows_of(case.fine, case), rows_of(case.coarse, case)
    layout = layout_of(case.coarse, has_y=case.has_y, classes=["a"], extras=EXTRAS)
    determined = rebinning.has_all_events(fine.n_bins, fine.extras["n_dropped"])
    for compiled in (True, False):
        rows = rebinning.rows(fine, layout, compiled=compiled)
        for row in np.flatnonzero(determined).tolist():
            found, wanted = (dict(each.rows(row, row + 1).in_order(layout)) for each in (rows, coarse))
            for name in wanted:
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
                assert found[name].dtype == wanted[name].dtype
    if (fine.extras["n_dropped"] == 0).all():
        assert determined.all()


@pytest.mark.parametrize(("size", "factor"), [(700, 7), (700, 5), (700, 2), (128, 2), (346, 4), (34, 3)])
def test_factors_of_a_loader_are_those_of_downsample(size: int, factor: int) -> None:
    coarse = -(-size // factor)
    rebinning = rebinning_of(
        Transform(operations=(ToFrame(sensor_size=(size, size, 2), time_window=1),)),
        Transform(
            operations=(
                Downsample(spatial_factor=(1 / factor, 1 / factor)),
                ToFrame(sensor_size=(coarse, coarse, 2), time_window=3),
            )
        ),
        has_y=True,
    )
    assert isinstance(rebinning, Rebinning)
    assert np.array_equal(rebinning.site_of, uniform_sites((2, size, size), (1, factor, factor)))


@pytest.mark.parametrize(
    ("fine", "coarse", "reason"),
    [
        (
            {"event_count": 5},
            {"event_count": 10},
            "its time bins are made with event_count, not with time_window",
        ),
        (
            {"n_time_bins": 8},
            {"n_time_bins": 4},
            "its time bins are made with n_time_bins, not with time_window",
        ),
        (
            {"time_window": 4.0},
            {"time_window": 6.0},
            "the coarse time_window is not a multiple of the fine time_window",
        ),
        ({"time_window": 4.0}, {"time_window": 8.0, "overlap": 4.0}, "its time bins overlap"),
        ({"time_window": 4.0}, {"time_window": 8.0, "start_time": 0.0}, "start_time or end_time differs"),
    ],
)
def test_bins_that_do_not_nest(fine: dict[str, Any], coarse: dict[str, Any], reason: str) -> None:
    first, second = (
        Transform(operations=(ToFrame(sensor_size=(10, 1, 1), **each),)) for each in (fine, coarse)
    )
    assert rebinning_of(first, second, has_y=False) == reason


@pytest.mark.parametrize(
    ("fine", "coarse", "reason"),
    [
        ([CropTime(max=50)], [], "crop_time or a time_factor differs"),
        ([Decimation(n=2)], [], "decimation, or an operation before it, differs"),
        (
            [Downsample(spatial_factor=(0.5, 0.5))],
            [Downsample(spatial_factor=(0.2, 0.2))],
            "along x, a channel or pixel of the coarse set",
        ),
        ([], [Downsample(spatial_factor=(2.0, 2.0))], "a spatial_factor above 1 differs"),
        ([MergePolarities()], [], "the polarities differ"),
    ],
)
def test_operations_that_differ(fine: list[Any], coarse: list[Any], reason: str) -> None:
    frame = ToFrame(sensor_size=(10, 1, 2), time_window=5)
    found = rebinning_of(
        Transform(operations=(*fine, frame)), Transform(operations=(*coarse, frame)), has_y=False
    )
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_times_that_may_not_be_whole() -> None:
    mapping = {"reader": "cochlea-hdf5", "reader_version": 1, "dataset": "SSC", "split": "train"}
    files = [{"name": "a.h5", "size": 1, "sha256": "0" * 64}]
    version = [{"kind": "version", "name": "a.B", "version": "1", "length": 2}]
    assert has_whole_times(Source.from_mapping(mapping | {"files": files}, origin="test"))
    package = mapping | {"reader": "wand-lab.wand-bin", "files": files}
    assert not has_whole_times(Source.from_mapping(package, origin="test"))
    items = {"classes": ["a"], "fields": ["t", "x"], "parts": version}
    assert not has_whole_times(Source.from_mapping(mapping | {"files": [], "items": items}, origin="test"))
