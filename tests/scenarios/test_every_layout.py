"""For each file layout, the store has the same samples as Tonic's data set.

Tonic reads the same files with its own class and its own transforms. Rows are matched by file if Tonic's order is that of
the file system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.event_files import tonic_dataset, write_dvsgesture, write_nmnist
from tests.pipeline.small_builds import built
from tonic import transforms

from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.store_schemas.specs.operations import ClipCounts
from spikestore.store_schemas.specs.transform import Transform

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """Properties of a data set that transforms need."""

    name: str
    sensor: Sizes
    window: int
    """About a tenth of a recording, µs."""

    @property
    def small(self) -> Sizes:
        """A sensor of a quarter of the size."""
        x, y, p = self.sensor
        return -(-x // 4), -(-y // 4), p


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("SHD", (700, 1, 1), 100_000),
        Layout("NMNIST", (34, 34, 2), 9_000),
        Layout("DVSGesture", (128, 128, 2), 9_000),
    )
}


def frames(layout: Layout, sensor: Sizes | None = None, **slicing: Any) -> Any:
    return transforms.ToFrame(sensor_size=sensor or layout.sensor, **slicing)


def quarter(layout: Layout, **more: Any) -> Any:
    return transforms.Downsample(spatial_factor=0.25, **more)


CHAINS: dict[str, Callable[[Layout], list[Any]]] = {
    "windows": lambda one: [frames(one, time_window=one.window)],
    "windows, last one too": lambda one: [frames(one, time_window=one.window, include_incomplete=True)],
    "windows that overlap": lambda one: [
        frames(one, time_window=one.window, overlap=one.window / 3, include_incomplete=True)
    ],
    "windows of a fixed span": lambda one: [
        frames(one, time_window=one.window, start_time=one.window / 2, end_time=6.5 * one.window)
    ],
    "time bins": lambda one: [frames(one, n_time_bins=7)],
    "time bins that overlap": lambda one: [frames(one, n_time_bins=5, overlap=0.2)],
    "event counts": lambda one: [frames(one, event_count=9, include_incomplete=True)],
    "event counts that overlap": lambda one: [frames(one, event_count=9, overlap=4)],
    "event bins": lambda one: [frames(one, n_event_bins=6)],
    "fewer pixels": lambda one: [quarter(one), frames(one, one.small, time_window=one.window)],
    "fewer pixels, slower": lambda one: [
        quarter(one, time_factor=1e-3),
        frames(one, one.small, time_window=one.window / 1000, include_incomplete=True),
    ],
    "fewer pixels of a target size": lambda one: [
        transforms.Downsample(sensor_size=one.sensor, target_size=one.small[:2]),
        frames(one, one.small, n_time_bins=4),
    ],
    "cut": lambda one: [
        transforms.CropTime(min=one.window, max=5.5 * one.window),
        frames(one, time_window=one.window, include_incomplete=True),
    ],
    "fewer pixels, cut": lambda one: [
        quarter(one),
        transforms.CropTime(max=6 * one.window),
        frames(one, one.small, time_window=one.window / 2, include_incomplete=True),
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return Tonic's ``save_to`` with three data sets of 6 to 10 recordings each; no crop leaves a recording empty.

    Tonic's frames of an empty recording have another shape; ours are tested elsewhere.
    """
    folder = tmp_path_factory.mktemp("layouts")
    write_nmnist(folder, per_class=1)
    write_dvsgesture(folder)
    recordings = [
        (np.linspace(0, 0.99, len(times)).astype(np.float16), units)
        for times, units in draw(12, seed=5, longest=90)
        if len(times) > 20
    ]
    assert len(recordings) > 5
    path = write_file(folder / "SHD/shd_train.h5", recordings)
    path.with_name(path.name + ".zip").touch()
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def opened(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that opens a data set as a script with Tonic does."""

    def open_one(name: str, transform: Any) -> Any:
        if name == "SHD":
            return tonic.datasets.SHD(str(data), train=True, transform=transform)
        return tonic_dataset(name, "train", data, monkeypatch, transform=transform)

    return open_one


def rows_of(dataset: Any) -> list[int]:
    """Return the indices of Tonic's items in the order of our rows, which is that of the file names."""
    if isinstance(dataset, tonic.datasets.SHD):
        return list(range(len(dataset)))
    return sorted(range(len(dataset)), key=lambda place: dataset.data[place])


def assert_equal_to_tonic(features: Any, dataset: Any, *, most: int | None = None) -> None:
    assert len(features) == len(dataset) > 5
    labels = features.read(0, len(features)).label
    for row, place in enumerate(rows_of(dataset)):
        expected, label = dataset[place]
        expected = expected if most is None else expected.clip(max=most)
        found = features.frames(row)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
        assert labels[row] == label


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_sample_is_tonics(tmp_path: Path, opened: Callable[..., Any], name: str, chain: str) -> None:
    """Shape, every count and the label, of every recording; frames are not all empty."""
    dataset = opened(name, transforms.Compose(CHAINS[chain](LAYOUTS[name])))
    features = built(dataset, tmp_path / "store")
    assert_equal_to_tonic(features, dataset)
    assert features.manifest.nnz > 20 * len(dataset)
    assert features.manifest.layout.classes == tuple(
        one.decode() if isinstance(one, bytes) else one for one in dataset.classes
    )


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("most", [1, 2])
def test_clipped_frames_are_tonics_clipped(
    tmp_path: Path, opened: Callable[..., Any], name: str, most: int
) -> None:
    """Counts up to 1, and up to 2, are Tonic's frames after NumPy's clip: Tonic has no such transform."""
    layout = LAYOUTS[name]
    x, y, p = layout.sensor
    coarse = (-(-x // 32), -(-y // 32), p)
    chain = [
        transforms.Downsample(spatial_factor=1 / 32),
        transforms.ToFrame(sensor_size=coarse, time_window=5 * layout.window, include_incomplete=True),
    ]
    dataset = opened(name, transforms.Compose(chain))
    spec = transform_from_tonic(dataset.transform)
    clipped = Transform(operations=(*spec.operations, ClipCounts(max=most)))
    features = built(opened(name, None), tmp_path / "store", clipped)
    assert_equal_to_tonic(features, dataset, most=most)
    assert features.manifest.max_value == most


@pytest.mark.parametrize("name", ["NMNIST", "DVSGesture"])
def test_one_polarity_of_two_is_refused_not_merged(
    tmp_path: Path, opened: Callable[..., Any], name: str
) -> None:
    """Tonic overwrites the caller's polarities where the sensor has one; here the recording is named instead."""
    x, y, _ = LAYOUTS[name].sensor
    dataset = opened(name, transforms.ToFrame(sensor_size=(x, y, 1), time_window=9000))
    with pytest.raises(
        ValueError, match=r"^(Train/0|ibmGestureTrain/user02\S+)/\S+, event \d+: p = \d differs"
    ):
        built(dataset, tmp_path / "store")


def test_a_file_that_cannot_be_read_is_skipped_by_its_name(tmp_path: Path) -> None:
    """The row stays; the manifest has the reason, without a path of this machine."""
    root = write_nmnist(tmp_path / "data")
    (root / "Test/4/00000.bin").write_bytes(b"short")
    (root / "Test/4/00007.bin").write_bytes(b"shorter")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "digits"\n[source]\ndataset = "NMNIST"\ndata = "data"\nsplits = ["test"]\non_error = "skip"\n'
        '[[transform]]\nop = "to_frame"\nsensor_size = [34, 34, 2]\ntime_window = 9000\n'
    )
    features = built(recipe, tmp_path / "store")["test"]
    reasons = {skipped.row: skipped.reason for skipped in features.manifest.skipped}
    assert reasons.keys() == {8, 9}
    assert reasons[8].startswith("Test/4/00000.bin: event 0 is at x = 115, y = 104")
    assert reasons[9].startswith("Test/4/00007.bin: 7 bytes are not a whole number of events")
    assert len(features) == 20
