"""Demo data: Tonic loads them, their statistics resemble those of speech, and they are always the same."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tonic
from tonic.transforms import Compose, CropTime, Downsample, ToFrame

from spikestore.pipeline.demo import demo_data
from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.pipeline.demo.demo_voices import WORDS, draw_recording, draw_voice
from spikestore.store.cli.main import main
from spikestore.store_schemas.errors import ReadOnlyStoreError, StorageFullError, StoreError, UsageError

pytestmark = pytest.mark.bits

COUNTS = {"train": 210, "valid": 35, "test": 35}


def write_small(
    folder: Path, *, train: int = 3, valid: int = 2, test: int = 1, seed: int = 0
) -> dict[str, Path]:
    """Write a small set."""
    return write_demo_data(folder, train=train, valid=valid, test=test, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small set."""
    path = tmp_path_factory.mktemp("demo")
    write_small(path, **COUNTS)
    return path


def durations(path: Path) -> list[float]:
    """Return the time of each recording's last event, in s; it is one of the first numbers that are drawn."""
    with h5py.File(path) as file:
        return [float(times[-1]) for times in file["spikes/times"]]


def contents(path: Path) -> dict[str, bytes]:
    """Return name and bytes of every file below a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("split", COUNTS)
def test_tonic_loads_every_split_as_ssc(folder: Path, split: str) -> None:
    dataset = tonic.datasets.SSC(str(folder), split=split)
    assert len(dataset) == COUNTS[split]
    assert [word.decode() for word in dataset.classes] == sorted(WORDS)
    labels = []
    for i in range(len(dataset)):
        events, label = dataset[i]
        labels.append(int(label))
        assert np.all(np.diff(events["t"]) >= 0)
        assert 0 <= events["x"].min() <= events["x"].max() < 700
    assert set(labels) == set(range(35))


def test_types_are_those_of_the_real_files(folder: Path) -> None:
    with h5py.File(folder / "SSC" / "ssc_train.h5") as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
        assert file["labels"].dtype == np.uint16
        assert file["extra/speaker"].dtype == np.uint16
        assert file["extra/keys"].dtype.kind == "S"
    assert (folder / "SSC" / "ssc_train.h5.zip").stat().st_size == 0


def test_statistics_are_those_of_speech(folder: Path) -> None:
    """Statistics are pinned, so that no benchmark gets easier by a change of the data."""
    transform = Compose(
        [
            Downsample(spatial_factor=100 / 700),
            CropTime(max=1e6),
            ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
        ]
    )
    dataset = tonic.datasets.SSC(str(folder), split="train")
    recordings = [dataset[i][0] for i in range(105)]
    n_events = np.array([len(events) for events in recordings])
    lasts = np.array([events["t"][-1] for events in recordings]) / 1e6
    counts = [frames[frames > 0] for frames in map(transform, recordings)]

    assert 7_000 < n_events.mean() < 9_000
    assert 2_000 < n_events.min() < 5_000
    assert 12_000 < n_events.max() < 20_000
    assert 0.8 <= lasts.min() < 0.85
    assert 1.15 < lasts.max() <= 1.2
    assert 4_000 <= np.mean([len(values) for values in counts]) <= 6_500
    share = np.unique_counts(np.concatenate(counts)).counts / sum(map(len, counts))
    assert -(share * np.log2(share)).sum() / 8 >= 0.2


def test_mirrored_words_differ_only_in_order() -> None:
    """Only a network with memory can tell these words apart: a read-out of summed spikes can't."""
    mirrored = {word for word, sounds in WORDS.items() if sounds[::-1] in set(WORDS.values()) - {sounds}}
    assert len(mirrored) == 20

    def draw(word: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the share of events by place: in all, and in the first half minus the second half."""
        total, change = np.zeros(70), np.zeros(70)
        for seed in range(40):
            rng = np.random.default_rng(seed)
            recording = draw_recording(rng, word, draw_voice(rng))
            place = recording.units // 10
            late = np.arange(len(place)) >= len(place) // 2
            total += np.bincount(place, minlength=70) / len(place)
            change += np.bincount(place, np.where(late, -1.0, 1.0), minlength=70) / len(place)
        return total / 40, change / 40

    (left, left_change), (right, right_change) = draw("left"), draw("right")
    assert np.abs(left - right).sum() < 0.1  # summed over time: of 2
    assert np.abs(left_change - right_change).sum() > 0.5
    assert np.abs(left - draw("learn")[0]).sum() > 0.4


def test_speakers_of_splits_are_different_people(folder: Path) -> None:
    speakers = []
    for split in COUNTS:
        with h5py.File(folder / "SSC" / f"ssc_{split}.h5") as file:
            speakers.append(set(file["extra/speaker"][:].tolist()))
    assert all(len(some) > 10 for some in speakers)
    assert len(set.union(*speakers)) == sum(map(len, speakers))


def test_same_arguments_give_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_small(tmp_path, **COUNTS)
    assert contents(tmp_path) == contents(folder)


def test_another_seed_results_in_other_recordings(folder: Path, tmp_path: Path) -> None:
    path = write_small(tmp_path, seed=1)["train"]
    assert not set(durations(path)) & set(durations(folder / "SSC" / "ssc_train.h5")[:3])


def test_recordings_of_splits_differ(folder: Path) -> None:
    first = [durations(folder / "SSC" / f"ssc_{split}.h5")[:3] for split in COUNTS]
    assert len({*first[0], *first[1], *first[2]}) == 9


def test_a_smaller_set_is_the_beginning_of_a_larger_one(folder: Path, tmp_path: Path) -> None:
    paths = write_demo_data(tmp_path, train=41, valid=7, test=36)
    for split, path in paths.items():
        with h5py.File(path) as small, h5py.File(folder / "SSC" / f"ssc_{split}.h5") as large:
            size = min(len(small["labels"]), len(large["labels"]))
            for name in ("labels", "extra/speaker"):
                assert np.array_equal(small[name][:size], large[name][:size])
            for name in ("spikes/times", "spikes/units"):
                assert all(map(np.array_equal, small[name][:size], large[name][:size]))


def test_recordings_do_not_change_without_a_new_version(folder: Path) -> None:
    """After an intended change: raise `VERSION` in demo_data.py, then change the digest here."""
    digest = hashlib.sha256()
    with h5py.File(folder / "SSC" / "ssc_train.h5") as file:
        for i in range(35):
            digest.update(file["spikes/times"][i].astype("<f2").tobytes())
            digest.update(file["spikes/units"][i].astype("<u2").tobytes())
    assert (demo_data.VERSION, digest.hexdigest()[:16]) == (1, "d42bc7cd47d999cf")


def test_progress_ends_with_all(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_demo_data(
        tmp_path, train=3, valid=2, test=1, progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (6, 6)
    assert [done for done, _ in calls] == [3, 5, 6]


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    paths = write_small(tmp_path)
    before = {split: path.stat().st_mtime_ns for split, path in paths.items()}
    assert {split: p.stat().st_mtime_ns for split, p in write_small(tmp_path).items()} == before


@pytest.mark.parametrize("other", [{"train": 5}, {"test": 2}, {"seed": 3}])
def test_other_arguments_replace_the_files(tmp_path: Path, other: dict[str, int]) -> None:
    write_small(tmp_path / "a")
    for name in ("a", "b"):
        write_small(tmp_path / name, **other)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_missing_archive_is_made_again(tmp_path: Path) -> None:
    path = write_small(tmp_path)["valid"]
    archive = path.with_name("ssc_valid.h5.zip")
    archive.unlink()
    write_small(tmp_path)
    assert archive.stat().st_size == 0


@pytest.mark.parametrize("name", ["ssc_train.h5", "ssc_test.h5", "ssc_valid.h5.zip"])
def test_files_of_others_are_never_touched(tmp_path: Path, name: str) -> None:
    path = tmp_path / "SSC" / name
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["labels"] = [1, 2, 3]
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"{name} is not demo data"):
        write_small(tmp_path)
    assert contents(tmp_path) == before


def test_a_damaged_file_is_not_demo_data(tmp_path: Path) -> None:
    path = write_small(tmp_path)["train"]
    os.truncate(path, 100)
    with pytest.raises(UsageError, match="not demo data"):
        write_small(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": 0}, "train must be at least 1 recording, got 0"),
        ({"valid": -1}, "valid must be at least 1 recording, got -1"),
        ({"test": 0}, "test must be at least 1 recording, got 0"),
        ({"seed": -1}, "seed must be from 0 .*, got -1"),
        ({"seed": 2**63}, "seed must be from 0 .*, got 9223372036854775808"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        write_small(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, or below a file: choose another folder"):
        write_small(tmp_path / "file")
    (tmp_path / "SSC").touch()
    with pytest.raises(UsageError, match="is a file, or below a file: choose another folder"):
        write_small(tmp_path)


def test_too_little_space_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=10**8))
    with pytest.raises(StorageFullError, match="need about 100\\.8 MB, but only 100\\.0 MB are free"):
        write_demo_data(tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(28, "No space left on device"), StorageFullError),
        (OSError("Can't write data (file write failed: No space left on device)"), StorageFullError),
        (PermissionError(13, "Permission denied"), ReadOnlyStoreError),
        (OSError(30, "Read-only file system"), ReadOnlyStoreError),
        (OSError(5, "Input/output error"), StoreError),
    ],
)
def test_failures_are_spikestore_errors_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: OSError, expected: type[StoreError]
) -> None:
    def fail(_: object) -> None:
        raise raised

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="SSC") as caught:
        write_small(tmp_path)
    assert type(caught.value) is expected
    if expected is ReadOnlyStoreError:
        assert str(caught.value).endswith(f"SSC ({raised.strerror}): choose another folder")
    assert contents(tmp_path) == {}


def test_an_interrupted_call_leaves_only_complete_files(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_in_valid(done: int, _: int) -> None:
        if done == 3 + 100:
            raise Stop

    with pytest.raises(Stop):
        write_demo_data(tmp_path, train=3, valid=101, test=1, progress=stop_in_valid)
    assert sorted(contents(tmp_path)) == ["SSC/ssc_train.h5", "SSC/ssc_train.h5.zip"]


def test_the_command_says_which_files_it_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("demo-data", str(tmp_path), "--valid", "1", "--test", "1", "--train")
    assert main([*flags, "1"]) == 0
    assert capsys.readouterr().err.count("wrote ") == 3
    assert main([*flags, "2"]) == 0
    shown = capsys.readouterr().err
    assert (shown.count("kept "), shown.count("wrote "), "ssc_train.h5" in shown.split("wrote ")[1]) == (
        2,
        1,
        True,
    )
