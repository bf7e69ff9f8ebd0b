"""The task of one fragment: its result does not depend on the block size, a repetition costs nothing, and errors name the recording."""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_dataset, write_file

from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.execution import fragment_task, transformed_rows
from spikestore.pipeline.execution.fragment_task import FragmentJob, build_fragment
from spikestore.pipeline.execution.transformed_rows import transform_rows, transformed_blocks
from spikestore.pipeline.readers.registry import open_reader
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store.build import Build
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.storage.folder import FolderStorage
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import RecordingError, SourceChangedError, UsageError
from spikestore.store_schemas.specs.operations import CropTime, ToFrame
from spikestore.store_schemas.specs.transform import Transform

FRAMES = ToFrame(sensor_size=(700, 1, 1), time_window=1e4, include_incomplete=True)
TRANSFORM = Transform(operations=(CropTime(max=8e5), FRAMES))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a training split of 100 recordings."""
    write_dataset(tmp_path / "data", "SSC")
    return write_file(tmp_path / "data/SSC/ssc_train.h5", draw(100))


def job(tmp_path: Path, transform: Transform = TRANSFORM, **source: str) -> tuple[FragmentJob, Build]:
    """Return the job of a build with fragments of 64 rows."""
    located = make_source("SSC", "train", tmp_path / "data", cache=tmp_path / "cache", **source)  # type: ignore[arg-type]
    build = open_build(
        FolderStorage(tmp_path / "store"), located, transform, BuildRequest(fragment_samples=64)
    )
    return FragmentJob(build, located, transform), build


def transformed(job: FragmentJob, rows: range) -> tuple[SampleColumns, list[SkippedRow], EventCounts]:
    with open_reader(job.located.source, job.located.root) as reader:
        return transform_rows(job, reader, rows)


def spoil(file: Path, *rows: int) -> None:
    recordings = draw(100)
    for row in rows:
        recordings[row] = (np.array([0.5, 0.25], np.float16), np.array([1, 2], np.uint16))
    write_file(file, recordings)


def test_a_fragment_is_stored_with_its_record(tmp_path: Path, file: Path) -> None:
    """The report counts what the record holds; the build then lists the other fragment only."""
    one, build = job(tmp_path)
    report = build_fragment(one, 1)
    assert (report.fragment, report.samples) == (1, 36)
    assert report.nnz > 0
    assert report.seconds > 0
    assert build.unfinished() == [0]


def test_a_fragment_that_has_its_record_is_not_read_again(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call opens neither files nor Tonic, and its report counts 0 non-zeros."""
    one, _ = job(tmp_path)
    build_fragment(one, 0)
    monkeypatch.setattr(LocatedSource, "open", None)
    assert build_fragment(one, 0)[:3] == (0, 64, 0)


def test_blocks_of_reading_do_not_show(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns are the same for any number of recordings that are read at once."""
    one, _ = job(tmp_path)
    whole, _, events = transformed(one, range(3, 90))
    for block in (1, 7, 64):
        monkeypatch.setattr(transformed_rows, "READ_BLOCK", block)
        columns, _, same = transformed(one, range(3, 90))
        assert same == events
        for (name, left), (_, right) in zip(
            whole.in_order(one.plan.layout), columns.in_order(one.plan.layout), strict=True
        ):
            np.testing.assert_array_equal(left, right, err_msg=name)


def test_columns_equal_the_file(tmp_path: Path, file: Path) -> None:
    """Label, speaker and event counts of each row are those of the recording, an empty one included."""
    one, _ = job(tmp_path)
    columns, skipped, events = transformed(one, range(64, 100))
    with open_reader(one.located.source, one.located.root) as reader:
        counts = reader.n_events()[64:]
        found = reader.read(64, 100)
    np.testing.assert_array_equal(columns.extras["n_events"], counts)
    for row, recording in enumerate(found):
        assert not isinstance(recording, RecordingError)
        assert columns.label[row] == recording.label
        assert columns.extras["speaker"][row] == recording.extras["speaker"]
        assert columns.extras["n_cropped"][row] == np.count_nonzero(recording.events["t"] > 8e5)
    assert skipped == []
    assert events.n_events == counts.sum()
    assert events.n_cropped == columns.extras["n_cropped"].sum()


def test_a_bad_recording_is_named(tmp_path: Path, file: Path) -> None:
    """By the file's name and its row in the whole file; neither record nor object is stored."""
    spoil(file, 70)
    one, build = job(tmp_path)
    with pytest.raises(RecordingError, match=r"ssc_train\.h5: recording 70\b"):
        build_fragment(one, 1)
    assert build.unfinished() == [0, 1]


@pytest.mark.parametrize("block", [5, 256])
def test_skipped_rows_are_empty_and_have_a_reason(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """With on_error = "skip": label -1, no bins, extras 0; the reason has no path."""
    monkeypatch.setattr(transformed_rows, "READ_BLOCK", block)
    spoil(file, 70, 99)
    one, build = job(tmp_path, on_error="skip")
    columns, skipped, _ = transformed(one, range(64, 100))
    assert [row.row for row in skipped] == [70, 99]
    for row in skipped:
        assert row.reason.startswith(f"ssc_train.h5: recording {row.row}")
        assert str(tmp_path) not in row.reason
        assert columns.label[row.row - 64] == -1
        assert [columns.nnz[row.row - 64], columns.n_bins[row.row - 64]] == [0, 0]
        assert {int(column[row.row - 64]) for column in columns.extras.values()} == {0}
    build_fragment(one, 1)
    assert build.unfinished() == [0]


def test_a_changed_file_is_not_read(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a task opens the file, it checks that the file is the one that was hashed."""
    one, build = job(tmp_path)
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    monkeypatch.setattr(LocatedSource, "open", None)
    with pytest.raises(SourceChangedError):
        build_fragment(one, 0)
    assert build.unfinished() == [0, 1]


@pytest.mark.parametrize("error", [None, UsageError("too many"), RecordingError("invalid")])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """The events may be a mixture of two files, so they are not stored, and an error may come from the mixture."""
    one, build = job(tmp_path)
    original = transformed_blocks

    def meanwhile(*arguments: Any) -> Generator[Any]:
        yield from original(*arguments)
        file.touch()
        if error is not None:
            raise error

    monkeypatch.setattr(fragment_task, "transformed_blocks", meanwhile)
    with pytest.raises(SourceChangedError):
        build_fragment(one, 0)
    assert build.unfinished() == [0, 1]


@pytest.mark.parametrize(("late", "lossy"), [(5, 0), (6, 1)])
def test_lossy_is_more_than_five_percent(tmp_path: Path, file: Path, late: int, lossy: int) -> None:
    """5 of 100 events in no bin are not worth a warning, 6 are."""
    times = np.concatenate([np.linspace(0, 0.09, 100 - late), np.full(late, 0.15)]).astype(np.float16)
    write_file(file, [(times, np.zeros(100, np.uint16))])
    frames = replace_window(FRAMES, 1e5)
    one, _ = job(tmp_path, Transform(operations=(frames,)))
    columns, _, events = transformed(one, range(1))
    assert columns.extras["n_dropped"][0] == late
    assert events.lossy_samples == lossy


def replace_window(frames: ToFrame, window: float) -> ToFrame:
    return frames.model_copy(update={"time_window": window, "include_incomplete": False})


def test_a_job_travels_and_is_small(tmp_path: Path, file: Path) -> None:
    """Pickled for a worker, a job is a few kilobytes, and builds the same fragment there."""
    one, build = job(tmp_path)
    data = pickle.dumps(one)
    assert len(data) < 20_000
    there = pickle.loads(data)  # noqa: S301 - our own bytes
    assert (there.plan, there.located, there.transform) == (one.plan, one.located, one.transform)
    build_fragment(there, 0)
    assert build.unfinished() == [1]
