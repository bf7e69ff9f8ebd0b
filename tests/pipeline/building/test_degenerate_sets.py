"""Feature sets that are valid but probably a mistake: an empty set is an error, others are reported in one warning each."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.event_files import write_nmnist
from tests.pipeline.small_builds import write_recipe

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.sources.item_sources import source_of_dataset
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store import FeatureSet, Store
from spikestore.store_schemas import (
    ClipCounts,
    CropTime,
    Decimation,
    Downsample,
    DropPixel,
    ToFrame,
    Transform,
)
from spikestore.store_schemas.errors import RecordingError, SourceError

FRAMES = ToFrame(sensor_size=(700, 1, 1), time_window=4000.0, include_incomplete=True)


def recordings(count: int = 70, *, seconds: float = 0.8, offset: float = 0.0, units: int = 700) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        (np.sort(rng.uniform(0, seconds, 40)) + offset, rng.integers(0, units, 40).astype(np.uint16))
        for _ in range(count)
    ]


def built(
    tmp_path: Path,
    data: list[Any],
    *operations: Any,
    frames: ToFrame = FRAMES,
    labels: list[int] | None = None,
    limit: int | None = None,
    **options: Any,
) -> FeatureSet:
    tmp_path.mkdir(exist_ok=True)
    write_file(tmp_path / "shd_train.h5", data, times_type=np.float64, labels=labels)
    located = make_source("SHD", "train", tmp_path, limit=limit)
    transform = Transform(operations=(*operations, frames))
    store = tmp_path / "store"
    return preprocess(located, transform, store=store, workers=0, options=BuildOptions(**options))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


def test_all_cropped_is_refused_and_stored_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If all events are cropped, because a clock began at 5 s, nothing is committed; the message has the times, unit, offset and what to set."""
    crop = CropTime(max=1e6)
    with pytest.raises(SourceError) as caught:
        built(tmp_path, recordings(offset=5.0), crop)
    assert re.fullmatch(
        r"SHD train is empty: all 2,800 events of 70 recordings are cropped: the times in 64 of the 70 recordings run "
        r"from 5,00\d,\d{3} to 5,79\d,\d{3} µs; crop_time keeps 0 to 1,000,000 µs\. If the times have an "
        r"offset, add it to min and max of crop_time; if their unit is not µs, set time_factor of a downsample before "
        r"crop_time\. To store the empty set, pass --allow-empty, or set allow_empty = true under \[build\]; "
        r"in Python, pass options=BuildOptions\(allow_empty=True\)",
        str(caught.value),
    )
    store = Store(tmp_path / "store")
    assert [*store.feature_sets()] == []
    features = built(tmp_path, recordings(offset=5.0), crop, allow_empty=True)
    assert (features.manifest.nnz, len(features)) == (0, 70)
    assert [one for one in warnings(caplog) if one.startswith("SHD train is empty: all 2,800 events")] != []
    with pytest.raises(
        SourceError, match="is empty"
    ):  # the set is in the store now, and still an error without the request
        built(tmp_path, recordings(offset=5.0), crop)


def test_the_message_says_which_value_of_to_frame_leaves_no_event_in_a_bin(
    tmp_path: Path,
) -> None:
    many = ToFrame(sensor_size=(700, 1, 1), n_event_bins=100)
    with pytest.raises(
        SourceError, match=r"to_frame has n_event_bins = 100\. Set a smaller n_event_bins\. To store"
    ):
        built(tmp_path, recordings(2), frames=many)
    late = ToFrame(sensor_size=(700, 1, 1), time_window=4000.0, start_time=2e6, end_time=3e6)
    with pytest.raises(
        SourceError,
        match=r"Set these values in µs\. If the times have an offset, add it to start_time and end_time\. To store",
    ):
        built(tmp_path, recordings(2), frames=late)


def test_a_filter_that_drops_everything_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The message names the filter and the field to change in it, and no crop_time, which this transform does not have."""
    with pytest.raises(SourceError) as caught:
        built(tmp_path, recordings(2), Decimation(n=1000))
    assert re.fullmatch(
        r"SHD train is empty: all 80 events of 2 recordings are dropped by decimation: the times in the recordings run "
        r"from [\d,]+ to [\d,]+ µs\. To keep more events, set a smaller n of decimation \(now 1,000\)\. "
        r"To store the empty set, pass --allow-empty, or set allow_empty = true under \[build\]; "
        r"in Python, pass options=BuildOptions\(allow_empty=True\)",
        str(caught.value),
    )
    with pytest.raises(
        SourceError, match=r"are cropped or dropped by decimation: .*; crop_time keeps .* To keep more"
    ):
        built(tmp_path, recordings(2), CropTime(max=1e6), Decimation(n=1000))
    write_nmnist(tmp_path)
    frames = ToFrame(sensor_size=(34, 34, 2), time_window=10_000.0, include_incomplete=True)
    pixels = DropPixel(coordinates=tuple((x, y) for x in range(34) for y in range(34)))
    with pytest.raises(
        SourceError, match=r"dropped by drop_pixel: .*fewer coordinates of drop_pixel \(now 1,156 pixels"
    ):
        preprocess(
            make_source("NMNIST", "train", tmp_path),
            Transform(operations=(pixels, frames)),
            store=tmp_path / "store",
            workers=0,
        )


def test_the_recipe_can_allow_it(tmp_path: Path) -> None:
    """`allow_empty` under ``[build]`` allows it, and is no part of the key."""
    for split in ("train", "valid", "test"):
        write_file(tmp_path / f"data/ssc_{split}.h5", recordings(offset=5.0), times_type=np.float64)
    recipe = write_recipe(tmp_path)
    store = Store(tmp_path / "store")
    with pytest.raises(SourceError, match="SSC train is empty"):
        preprocess(recipe, store=store, workers=0)
    keys = {*store.addresses()}
    assert (keys != set(), store.names()) == (True, [])
    recipe.write_text(recipe.read_text() + "\n[build]\nallow_empty = true\n")
    found = preprocess(recipe, store=store, workers=0)
    assert keys <= {one.address for one in found.values()}
    assert store.names() == ["speech"]


def test_all_skipped_and_no_events_at_all(tmp_path: Path) -> None:
    """Sets of skipped recordings and sets without events each have an error with their reason."""
    nothing = [(np.zeros(0), np.zeros(0, np.uint16))] * 3
    with pytest.raises(SourceError, match="empty: its 3 recordings have no events"):
        built(tmp_path, nothing)
    backwards = [(np.array([0.5, 0.1]), np.array([1, 2], np.uint16))] * 3
    write_file(tmp_path / "shd_train.h5", backwards, times_type=np.float64)
    located = make_source("SHD", "train", tmp_path, on_error="skip")
    with pytest.raises(SourceError, match="empty: all 3 recordings were skipped, the first because "):
        preprocess(located, Transform(operations=(FRAMES,)), store=tmp_path / "store", workers=0)


def test_a_single_recording_is_named_in_the_singular(tmp_path: Path) -> None:
    """So is a single event."""
    with pytest.raises(SourceError, match="SHD train is empty: its only recording has no events"):
        built(tmp_path, [(np.zeros(0), np.zeros(0, np.uint16))])
    with pytest.raises(SourceError, match="SHD train is empty: all 40 events of 1 recording are cropped: "):
        built(tmp_path, recordings(1, offset=5.0), CropTime(max=1e6))
    with pytest.raises(SourceError, match="SHD train is empty: its only event is cropped: "):
        built(tmp_path, [(np.array([5.0]), np.array([1], np.uint16))], CropTime(max=1e6))
    write_file(
        tmp_path / "shd_train.h5",
        [(np.array([0.5, 0.1]), np.array([1, 2], np.uint16))],
        times_type=np.float64,
    )
    located = make_source("SHD", "train", tmp_path, on_error="skip")
    with pytest.raises(SourceError, match="SHD train is empty: its only recording was skipped, because "):
        preprocess(located, Transform(operations=(FRAMES,)), store=tmp_path / "store", workers=0)


def test_nearly_all_cropped_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line has the times and the share that is kept."""
    built(tmp_path, recordings(), CropTime(max=20_000.0))
    (line,) = warnings(caplog)
    assert re.match(
        r"SHD train: 2,7\d\d of 2,800 events are cropped: the times in 64 of the 70 recordings", line
    )
    assert "crop_time keeps 0 to 20,000 µs" in line
    assert "offset" in line
    assert "unit" in line


def test_some_recordings_all_cropped_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Recordings that are cropped as a whole, because a clock ran on from one to the next, are reported."""
    late = recordings(30) + recordings(5, offset=2.0)
    built(tmp_path, late, CropTime(max=1e6))
    (line,) = warnings(caplog)
    assert line.startswith("SHD train: 5 of 35 recordings have events, but none in a time bin: the times in")


def test_one_time_bin_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Times in another unit than µs, which all lie in the first bin, are reported."""
    built(tmp_path, recordings(seconds=0.0008), CropTime(max=1e6))
    (line,) = warnings(caplog)
    assert line.startswith(
        "SHD train: no recording has more than one time bin of 4,000 µs: the times in 64 of the 70"
    )
    assert "If the unit of these times is not µs, scale them" in line


def test_one_label_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A single label, from a limit on a sorted file, is reported."""
    built(tmp_path, recordings(), labels=[1] * 30 + [2] * 40, limit=20)
    (line,) = warnings(caplog)
    assert line.startswith(
        "SHD train: all 20 recordings have the label 1 (one), of 3 classes: limit = 20 takes the"
    )


def parts_and_rest(tmp_path: Path, data: list[Any], parts: int, of: int, **options: Any) -> None:
    """Build some parts of a set of 140 recordings, each part in a run of its own, then the rest."""
    for part in range(1, parts + 1):
        assert built(tmp_path, data, part=(part, of), fragment_samples=64, **options) is None
    built(tmp_path, data, fragment_samples=64, **options)


def test_fragments_of_earlier_runs_are_reported_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last run builds no fragment (a job array), or some of them (after an interrupt): the warnings are about the whole set."""
    one_label = [1] * 140
    parts_and_rest(tmp_path / "array", recordings(140, units=1), 3, 3, labels=one_label)
    array = warnings(caplog)
    caplog.clear()
    parts_and_rest(tmp_path / "interrupted", recordings(140, units=1), 1, 3, labels=one_label)
    interrupted = warnings(caplog)
    caplog.clear()
    built(tmp_path / "whole", recordings(140, units=1), labels=one_label)
    assert array == interrupted == warnings(caplog)
    assert [line.split(" have ")[0].split(" are ")[0] for line in array] == [
        "SHD train: all 140 recordings",
        "SHD train: all events",
    ]


def test_a_resumed_build_does_not_report_its_last_fragment_as_the_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the last fragment all recordings have one label and one channel; in the set, which an earlier run began, they do not."""
    data = [*recordings(128), *recordings(12, units=1)]
    parts_and_rest(tmp_path, data, 2, 3, labels=[1] * 128 + [2] * 12)
    assert warnings(caplog) == []


def test_one_channel_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spatial factor that moves all channels into one of a hundred is reported."""
    frames = ToFrame(sensor_size=(100, 1, 1), time_window=4000.0, include_incomplete=True)
    built(tmp_path, recordings(), Downsample(spatial_factor=(1 / 700, 1.0)), frames=frames)
    (line,) = warnings(caplog)
    assert line.startswith(
        "SHD train: all events are at the same position (polarity 0, x 0), although frames have 100 positions: check that "
    )


def test_a_recipe_for_channels_says_so_to_recordings_of_a_camera(tmp_path: Path) -> None:
    """For recordings of a camera, the message says that the recipe is for channels, not that the recordings are wrong."""
    write_nmnist(tmp_path)
    with pytest.raises(
        RecordingError,
        match=r"y = \d+ is outside the sensor.*: these recordings have x and y, but sensor_size \(700, 1, 1\) of to_frame is for channels: use",
    ):
        preprocess(
            make_source("NMNIST", "train", tmp_path),
            Transform(operations=(FRAMES,)),
            store=tmp_path / "store",
            workers=0,
        )


@pytest.mark.parametrize(
    ("frames", "advice"),
    [
        (
            ToFrame(sensor_size=(9, 1, 1), time_window=4000.0),
            "if this x is right, change sensor_size, or the operations before to_frame; otherwise fix the recording, or set on_error",
        ),
        (
            ToFrame(sensor_size=(700, 1, 1), time_window=1e-3),
            "if this duration is right, use longer time bins or a larger max_bins; otherwise fix the recording, or set on_error",
        ),
    ],
)
def test_a_transform_that_does_not_fit_the_recordings_may_be_wrong(
    tmp_path: Path, frames: ToFrame, advice: str
) -> None:
    """The advice names the transform first: nothing is wrong with the recordings."""
    with pytest.raises(RecordingError, match=advice):
        built(tmp_path, recordings(), frames=frames)


def test_what_is_meant_is_not_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ordinary recordings, one requested bin, one requested channel and a mild crop are not reported."""
    built(tmp_path, recordings(), CropTime(max=5e5))
    built(tmp_path, recordings(), frames=ToFrame(sensor_size=(700, 1, 1), n_time_bins=1))
    one = ToFrame(sensor_size=(1, 1, 1), time_window=4000.0, include_incomplete=True)
    built(tmp_path, recordings(), Downsample(spatial_factor=(1 / 700, 1.0)), frames=one)
    write_nmnist(tmp_path)
    located = make_source("NMNIST", "train", tmp_path)
    frames = ToFrame(sensor_size=(34, 34, 2), time_window=10_000.0, include_incomplete=True)
    preprocess(
        located, Transform(operations=(frames, ClipCounts(max=1))), store=tmp_path / "store", workers=0
    )
    write_file(tmp_path / "shd_train.h5", draw(70))
    preprocess(
        make_source("SHD", "train", tmp_path),
        Transform(operations=(FRAMES,)),
        store=tmp_path / "store",
        workers=0,
    )
    assert warnings(caplog) == []


def test_times_of_objects_in_s_get_the_argument_that_sets_their_unit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Times are rounded to whole µs before the first operation, so no operation can scale times in s."""
    events = np.zeros(40, [("t", "f8"), ("x", "i4")])
    events["t"], events["x"] = np.linspace(0, 0.8, 40), np.arange(40)
    items = [(events, 0), (events, 1)]

    def build(crop: CropTime, **options: Any) -> FeatureSet:
        transform = Transform(operations=(crop, FRAMES))
        source = source_of_dataset(items, hash_events=True, **options)
        return preprocess(source, transform, store=tmp_path, workers=0)

    advice = r'pass time_unit= \("s", "ms" or "ns"\) to source_of_dataset, and pass the result to preprocess'
    build(CropTime(max=1e6))
    assert any(re.search(rf"one time bin.* from 0 to 1 µs\. .*{advice}$", one) for one in warnings(caplog))
    with pytest.raises(
        SourceError, match=rf"crop_time keeps .* to min and max of crop_time\. .*{advice}\. To"
    ):
        build(CropTime(min=1e3, max=1e6))
    caplog.clear()
    assert build(CropTime(max=1e6), time_unit="s").manifest.n_bins > 100
    assert warnings(caplog) == []
