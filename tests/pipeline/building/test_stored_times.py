"""Rules of SpikingJelly on the float16 times of SHD and SSC, for parts of these data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.small_builds import ssc, write_ssc
from torch.utils.data import ConcatDataset, Subset

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.building.source_look import refuse_mixed_times
from spikestore.pipeline.readers.event_block import TimeType
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

DURATION = {"op": "fixed_duration", "sensor_size": [700, 1, 1], "duration": 10_000}
BY_TIME = {"op": "fixed_frames_number", "sensor_size": [700, 1, 1], "frames_number": 7, "split_by": "time"}


def build(dataset: Any, operation: dict[str, Any], store: Path, **options: Any) -> FeatureSet:
    transform = Transform.from_mapping({"operations": [operation]}, origin="test")
    features = preprocess(dataset, transform, store=store, workers=0, **options)
    assert isinstance(features, FeatureSet)
    return features


@pytest.mark.parametrize("operation", [DURATION, BY_TIME], ids=lambda operation: str(operation["op"]))
def test_frames_of_a_recording_do_not_depend_on_the_rows_beside_it(
    tmp_path: Path, operation: dict[str, Any]
) -> None:
    dataset = ssc(write_ssc(tmp_path), transform=None)
    whole = build(dataset, operation, tmp_path / "whole")
    # Rows in disorder, twice, and between rows of another file.
    rows = [*np.random.default_rng(0).permutation(len(dataset)).tolist(), 3, 3]
    other = ssc(tmp_path, split="valid", transform=None)
    parts: Any = ConcatDataset([Subset(dataset, rows), Subset(other, [2, 1])])
    some = build(parts, operation, tmp_path / "some")
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(some.frames(place), whole.frames(row))


def two_files(folder: Path, *types: Any) -> list[Any]:
    """Return two training splits of SSC of 150 recordings each, whose files have times of these types."""
    datasets = []
    for seed, element in enumerate(types):
        write_ssc(folder / str(seed))
        write_file(folder / f"{seed}/SSC/ssc_train.h5", draw(150, seed), times_type=element)
        datasets.append(ssc(folder / str(seed), transform=None))
    return datasets


@pytest.mark.parametrize("operation", [DURATION, BY_TIME], ids=lambda operation: str(operation["op"]))
def test_files_with_float16_and_other_times_are_not_mixed(tmp_path: Path, operation: dict[str, Any]) -> None:
    """In a block with rows of both files, frames of the first would come from times in µs, and in other blocks from float16 times.

    So such a set is refused in every order of its rows. Files of one type, and a Subset of one of the files, are not refused.
    """
    both: Any = ConcatDataset(two_files(tmp_path, np.float16, np.float64))
    rows = np.arange(300).reshape(2, 150)
    for order in (rows.ravel(), rows.T.ravel(), [1, 151], rows[::-1].ravel()):
        with pytest.raises(UsageError, match=f"{operation['op']} uses the float16 times of SHD and SSC"):
            build(Subset(both, [*order]), operation, tmp_path / "store")
    own = build(both.datasets[1], operation, tmp_path / "store")
    for only in (Subset(both, [151, 153]), Subset(ConcatDataset([both.datasets[1]]), [1, 3])):
        some = build(only, operation, tmp_path / "store")
        for place, row in enumerate((1, 3)):
            np.testing.assert_array_equal(some.frames(place), own.frames(row))


def test_files_with_other_times_may_be_mixed_if_frames_do_not_need_float16(tmp_path: Path) -> None:
    """Frames are the same alone, in order, and beside rows of the other file."""
    counts = {"op": "to_frame", "sensor_size": [700, 1, 1], "time_window": 10_000, "include_incomplete": True}
    both: Any = ConcatDataset(two_files(tmp_path, np.float16, np.float64))
    alone = [build(part, counts, tmp_path / "store") for part in both.datasets]
    order = np.arange(300).reshape(2, 150).T.ravel()
    beside = build(Subset(both, [*order]), counts, tmp_path / "store")
    for place in range(40):
        np.testing.assert_array_equal(beside.frames(place), alone[place % 2].frames(place // 2))
    floats: Any = ConcatDataset(two_files(tmp_path / "floats", np.float64, np.float32))
    for operation in (DURATION, BY_TIME):
        alone = [build(part, operation, tmp_path / "store") for part in floats.datasets]
        beside = build(Subset(floats, [*order]), operation, tmp_path / "store")
        for place in range(40):
            np.testing.assert_array_equal(beside.frames(place), alone[place % 2].frames(place // 2))


def test_types_of_times_that_are_never_mixed() -> None:
    """Floating-point times, which only readers of other packages have, are not mixed with any others, whatever makes the frames."""
    counts = ToFrame(sensor_size=(700, 1, 1), time_window=10_000)
    mixed: tuple[set[TimeType], ...] = ({"floating-point", "integer"}, {"floating-point", "float16"})
    for types in mixed:
        with pytest.raises(
            UsageError,
            match="some recordings have floating-point times, but others have integer or float16 times",
        ):
            refuse_mixed_times(types, counts)
    accepted: tuple[set[TimeType], ...] = ({"float16", "integer"}, {"floating-point"}, {"float16"}, set())
    for types in accepted:
        refuse_mixed_times(types, counts)


def test_stored_times_and_others_are_not_mixed(tmp_path: Path) -> None:
    dataset = ssc(write_ssc(tmp_path), transform=None)
    events = np.array([(0, 1, 1), (5_000, 2, 1)], [("t", "i8"), ("x", "i2"), ("p", "i2")])
    own: Any = [(events, 0)]
    mixed: Any = ConcatDataset([dataset, own])
    with pytest.raises(UsageError, match="fixed_duration uses the float16 times of SHD and SSC"):
        build(mixed, DURATION, tmp_path / "store", version="1")
    by_number = BY_TIME | {"split_by": "number"}
    assert len(build(mixed, by_number, tmp_path / "store", version="1")) == len(dataset) + 1
