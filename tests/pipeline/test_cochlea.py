"""The cochlea reader: Tonic's events to the bit, in blocks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tonic
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.pipeline.cochlea_files import CLASSES, SPLITS, draw, good, write_dataset, write_file

from spikestore.pipeline.readers.cochlea import CochleaReader


def tonic_dataset(dataset: str, split: str, folder: Path) -> Any:
    if dataset == "SSC":
        return tonic.datasets.SSC(str(folder), split=split)
    return tonic.datasets.SHD(str(folder), train=split == "train")


def assert_equal_to_tonic(reader: CochleaReader, theirs: Any) -> None:
    recordings = [good(item) for item in reader.read(0, len(reader))]
    assert len(recordings) == len(theirs)
    for row, recording in enumerate(recordings):
        events, label = theirs[row]
        assert recording.row == row
        assert recording.label == label
        assert recording.events.dtype == events.dtype
        np.testing.assert_array_equal(recording.events, events)


# ------------------------------------------------------------------------------------- as Tonic has it


@pytest.mark.parametrize(
    ("dataset", "split"), [(dataset, split) for dataset, splits in SPLITS.items() for split in splits]
)
def test_recordings_classes_and_speakers_are_tonics(tmp_path: Path, dataset: str, split: str) -> None:
    root = write_dataset(tmp_path, dataset)
    theirs = tonic_dataset(dataset, split, tmp_path)
    with CochleaReader(root / f"{dataset.lower()}_{split}.h5") as reader:
        assert_equal_to_tonic(reader, theirs)
        assert reader.classes == tuple(name.decode() for name in theirs.classes) == CLASSES
        speakers = [good(item).extras["speaker"] for item in reader.read(0, len(reader))]
        assert speakers == theirs._speaker.tolist()
        assert reader.extras == ("speaker",)
        assert reader.sensor_size == theirs.sensor_size
        assert not reader.has_y


lengths = st.lists(st.integers(0, 40), min_size=1, max_size=12)
finite_times = st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7C00 != 0x7C00)


@st.composite
def recording_lists(draw_from: st.DrawFn) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Any finite float16, negative and subnormal ones too, in any order; any unit."""
    return [
        (
            draw_from(hnp.arrays(np.uint16, n, elements=finite_times)).view(np.float16),
            draw_from(hnp.arrays(np.uint16, n, elements=st.integers(0, 699))),
        )
        for n in draw_from(lengths)
    ]


@given(recordings=recording_lists(), chunks=st.sampled_from([None, (1,), (5,)]))
@settings(max_examples=40)
def test_any_finite_times_are_tonics(
    recordings: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], chunks: tuple[int] | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "SSC" / "ssc_train.h5"
        write_file(path, recordings, chunks=chunks, maxshape=(None,) if chunks else None)
        path.with_name(path.name + ".zip").touch()
        with CochleaReader(path) as reader:
            assert_equal_to_tonic(reader, tonic_dataset("SSC", "train", Path(name)))
            assert reader.n_events().tolist() == [len(times) for times, _ in recordings]


def test_all_finite_float16_times_are_tonics(tmp_path: Path) -> None:
    times = np.arange(2**16, dtype=np.uint16).view(np.float16)
    times = times[np.isfinite(times)]
    path = write_file(tmp_path / "SSC" / "ssc_train.h5", [(times, np.zeros(len(times), np.uint16))])
    path.with_name(path.name + ".zip").touch()
    with CochleaReader(path) as reader:
        assert_equal_to_tonic(reader, tonic_dataset("SSC", "train", tmp_path))


@pytest.mark.parametrize("times_type", [np.float32, np.float64])
@pytest.mark.parametrize("units_type", [np.uint8, np.int32, np.uint64])
def test_other_widths_are_read_as_tonic_reads_them(tmp_path: Path, times_type: Any, units_type: Any) -> None:
    rng = np.random.default_rng(1)
    recordings = [
        (rng.random(n).astype(times_type), rng.integers(0, 256, n).astype(units_type)) for n in (0, 9, 30)
    ]
    path = tmp_path / "SSC" / "ssc_train.h5"
    write_file(path, recordings, times_type=times_type, units_type=units_type)
    path.with_name(path.name + ".zip").touch()
    with CochleaReader(path) as reader:
        assert_equal_to_tonic(reader, tonic_dataset("SSC", "train", tmp_path))


@given(data=st.data())
@settings(max_examples=30)
def test_a_block_is_its_rows(data: st.DataObject, shared_file: Path) -> None:
    with CochleaReader(shared_file) as reader:
        start = data.draw(st.integers(0, len(reader)))
        stop = data.draw(st.integers(start, len(reader)))
        block = [good(item) for item in reader.read(start, stop)]
        assert [recording.row for recording in block] == list(range(start, stop))
        for recording in block:
            one = good(reader.read(recording.row, recording.row + 1)[0])
            np.testing.assert_array_equal(recording.events, one.events)
            assert (recording.label, recording.extras) == (one.label, one.extras)


def test_a_block_is_one_read_of_each_dataset(shared_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = h5py.Dataset.__getitem__

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self.name)
        return original(self, *args, **kwargs)

    with CochleaReader(shared_file) as reader:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
        reader.read(2, 20)
    assert sorted(calls) == ["/spikes/times", "/spikes/units"]


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_file(tmp_path_factory.mktemp("shared") / "ssc_train.h5", draw(25))


@pytest.mark.parametrize("rows", [(-1, 2), (3, 2), (0, 26)])
def test_rows_that_do_not_exist(shared_file: Path, rows: tuple[int, int]) -> None:
    with CochleaReader(shared_file) as reader, pytest.raises(IndexError, match="of 25 recordings"):
        reader.read(*rows)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (25, 25), (1000, 25), (None, 25)])
def test_limit(shared_file: Path, limit: int | None, expected: int) -> None:
    with CochleaReader(shared_file, limit=limit) as reader:
        assert len(reader) == expected
        assert reader.n_events().shape == (expected,)
        assert len(reader.read(0, expected)) == expected
        with pytest.raises(IndexError):
            reader.read(0, expected + 1)


def test_without_speakers(tmp_path: Path) -> None:
    with CochleaReader(write_file(tmp_path / "ssc_train.h5", draw(2), speakers=None)) as reader:
        assert reader.extras == ()
        assert good(reader.read(1, 2)[0]).extras == {}


def test_class_names_as_unicode_strings(tmp_path: Path) -> None:
    keys = np.array(["a", "ü"], dtype=h5py.string_dtype())
    with CochleaReader(write_file(tmp_path / "ssc_train.h5", draw(2), keys=keys)) as reader:
        assert reader.classes == ("a", "ü")


def test_closing_twice_and_reading_after(shared_file: Path) -> None:
    with CochleaReader(shared_file) as reader:
        pass
    reader.close()
