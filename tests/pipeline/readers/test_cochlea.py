"""The cochlea reader: Tonic's events to the bit, in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
from tests.hypothesis_profiles import examples
from tests.pipeline.cochlea_files import CLASSES, SPLITS, draw, good, write_dataset, write_file

from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap
from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock
from spikestore.pipeline.readers.recording import Recording
from spikestore.store_schemas.errors import RecordingError


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
    assert_block_is(reader.read_block(0, len(reader)), recordings)


def assert_block_is(block: EventBlock, items: Sequence[Recording | RecordingError]) -> None:
    """Assert that the columns have these recordings, and nothing of ill-formed ones."""
    assert (len(block), block.y, block.p) == (len(items), None, None)
    assert block.offsets.dtype == block.labels.dtype == np.int64
    assert block.offsets[0] == 0
    assert block.offsets[-1] == len(block.t) == len(block.x)
    for row, (item, start, stop) in enumerate(
        zip(items, block.offsets, block.offsets[1:], strict=False), block.first_row
    ):
        if isinstance(item, RecordingError):
            assert (str(block.errors[row]), block.errors[row].details) == (str(item), item.details)
            assert start == stop
            continue
        assert row not in block.errors
        t = block.t[start:stop]
        np.testing.assert_array_equal(
            t if block.time_table is None else block.time_table[t], item.events["t"]
        )
        np.testing.assert_array_equal(block.x[start:stop], item.events["x"])
        assert block.labels[row - block.first_row] == item.label
        extras = {name: int(column[row - block.first_row]) for name, column in block.extras.items()}
        assert extras == item.extras


# ------------------------------------------------------------------------------------- events as Tonic returns them


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
    """Strategy for recordings: finite float16 times, also negative and subnormal ones, in any order; any unit."""
    return [
        (
            draw_from(hnp.arrays(np.uint16, n, elements=finite_times)).view(np.float16),
            draw_from(hnp.arrays(np.uint16, n, elements=st.integers(0, 699))),
        )
        for n in draw_from(lengths)
    ]


@given(recordings=recording_lists(), chunks=st.sampled_from([None, (1,), (5,)]))
@settings(max_examples=examples(40))
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


def test_the_time_table_is_tonics_arithmetic(shared_file: Path) -> None:
    with CochleaReader(shared_file) as reader:
        block = reader.read_block(3, 9)
    assert block.time_table is not None
    assert block.t.dtype == np.uint16
    seconds = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(seconds)
    np.testing.assert_array_equal(
        block.time_table[finite], (seconds[finite].astype(np.float64) * 1e6).astype(np.int64)
    )
    assert (block.time_table[~finite] == NO_TIME).all()
    assert not block.time_table.flags.writeable


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
@settings(max_examples=examples(30))
def test_a_block_is_its_rows(data: st.DataObject, shared_file: Path) -> None:
    with CochleaReader(shared_file) as reader:
        start = data.draw(st.integers(0, len(reader)))
        stop = data.draw(st.integers(start, len(reader)))
        assert_block_is(reader.read_block(start, stop), reader.read(start, stop))
        block = [good(item) for item in reader.read(start, stop)]
        assert [recording.row for recording in block] == list(range(start, stop))
        for recording in block:
            one = good(reader.read(recording.row, recording.row + 1)[0])
            np.testing.assert_array_equal(recording.events, one.events)
            assert (recording.label, recording.extras) == (one.label, one.extras)


def test_a_block_is_one_read_of_each_dataset(shared_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dataset is read once for a block, through h5py, as for a file of an unknown layout."""
    monkeypatch.setattr(VlenHeap, "read", lambda *_: None)
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


@given(data=st.data(), wide=st.booleans())
@settings(max_examples=examples(40))
def test_a_block_has_the_errors_of_its_rows(data: st.DataObject, wide: bool) -> None:
    """Any mixture of good and ill-formed recordings; several faults in one, in any order."""
    times_type = np.float32 if wide else np.float16
    times = st.sampled_from([0.0, 0.5, -0.25, np.nan, np.inf, -np.inf, 1e30 if wide else 60000.0])
    channels = st.sampled_from([0, 5, 699, 700, 65535])
    healthy = data.draw(st.lists(st.booleans(), min_size=1, max_size=8))
    recordings, labels = [], []
    for fine in healthy:
        n = data.draw(st.integers(0, 4))
        other = n if fine else data.draw(st.sampled_from([n, n, n + 1]))
        drawn = [0.5] * n if fine else data.draw(st.lists(times, min_size=n, max_size=n))
        units = [9] * other if fine else data.draw(st.lists(channels, min_size=other, max_size=other))
        recordings.append((np.array(drawn, times_type), np.array(units, np.uint16)))
        labels.append(1 if fine else data.draw(st.sampled_from([0, 2, 3, -1])))
    with tempfile.TemporaryDirectory() as name:
        path = write_file(
            Path(name) / "a.h5", recordings, labels=np.array(labels, np.int32), times_type=times_type
        )
        with CochleaReader(path) as reader:
            found = reader.read(0, len(healthy))
            assert_block_is(reader.read_block(0, len(healthy)), found)
            for row, fine in enumerate(healthy):
                alone = reader.read(row, row + 1)
                assert_block_is(reader.read_block(row, row + 1), alone)
                assert str(alone[0]) == str(found[row]) if isinstance(found[row], RecordingError) else True
                assert not (fine and isinstance(found[row], RecordingError))


@pytest.mark.parametrize("rows", [(-1, 2), (3, 2), (0, 26)])
def test_rows_that_do_not_exist(shared_file: Path, rows: tuple[int, int]) -> None:
    with CochleaReader(shared_file) as reader, pytest.raises(IndexError, match="there are 25 recordings"):
        reader.read(*rows)
    with CochleaReader(shared_file) as reader, pytest.raises(IndexError, match="there are 25 recordings"):
        reader.read_block(*rows)


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
