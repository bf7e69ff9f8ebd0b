"""Bad recordings on the command line: one line names file, recording and event; the exit status is 1; nothing is committed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.scenarios.command_runs import manifests, write_recipe
from tests.scenarios.refusals import Run, build, refused

from spikestore.store.store import Store


def other_layout(path: Path) -> str:
    with h5py.File(path, "r+") as file:
        del file["spikes/units"]
    return "no dataset spikes/units"


def truncated(path: Path) -> str:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "truncated"


def no_hdf5(path: Path) -> str:
    path.write_text("<html>404</html>")
    return "is not HDF5"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "is empty"


def no_recordings(path: Path) -> str:
    write_file(path, [])
    return "has no recordings"


@pytest.mark.parametrize("spoil", [other_layout, truncated, no_hdf5, empty, no_recordings])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_with_other_content_than_expected(
    run: Run, tmp_path: Path, data: Path, spoil: Callable[[Path], str], split: str
) -> None:
    """The file and what is wrong are named before any split is built; with the good file the next run succeeds."""
    path = data / "SSC" / f"ssc_{split}.h5"
    good = path.read_bytes()
    recipe = write_recipe(tmp_path / "r.toml")
    words = spoil(path)
    refused(build(run, recipe), 1, str(path), words)
    path.write_bytes(good)
    assert build(run, recipe).status == 0
    assert len(manifests(tmp_path / "store")) == 3


def spoiled(how: str, row: int = 2) -> tuple[list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], list[int]]:
    """Return 70 recordings, of which one is invalid, and their labels."""
    recordings, labels = draw(70), [0] * 70
    times, units = np.linspace(0, 0.9, 50).astype(np.float16), np.arange(50, dtype=np.uint16)
    if how == "unsorted":
        times[[10, 20]] = times[[20, 10]]
    elif how == "unit":
        units[7] = 700
    elif how == "nan":
        times[3] = np.nan
    elif how == "negative":
        times[0] = -0.5
    elif how == "label":
        labels[row] = 9
    recordings[row] = (times, units)
    return recordings, labels


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unsorted", ["event 11", "not sorted", "sort = true"]),
        ("unit", ["event 7", "channel 700", "0 to 699"]),
        ("nan", ["event 3", "nan"]),
        ("label", ["label 9", "3 classes"]),
    ],
)
@pytest.mark.parametrize("row", [2, 66])
def test_a_bad_recording(run: Run, tmp_path: Path, data: Path, how: str, words: list[str], row: int) -> None:
    """File, recording and event are named, in the first fragment and in the last; no set is listed; a corrected file is built."""
    path = data / "SSC" / "ssc_train.h5"
    recordings, labels = spoiled(how, row)
    write_file(path, recordings, labels=labels)
    recipe = write_recipe(tmp_path / "r.toml", source='splits = ["train"]')
    refused(build(run, recipe), 1, "ssc_train.h5", f"recording {row}", *words)
    listed = run("ls", "--store", "store", "--json")
    assert (listed.status, '"feature_sets": []' in listed.out) == (0, True)
    write_file(path, draw(70))
    assert build(run, recipe).status == 0


def test_too_many_bins(run: Run, tmp_path: Path, data: Path) -> None:
    """A recording of more than max_bins bins is named."""
    recipe = write_recipe(tmp_path / "r.toml", top="max_bins = 20")
    refused(build(run, recipe), 1, "ssc_train.h5", "recording ", "max_bins", "20")


def test_a_failure_leaves_a_name_and_its_sets_as_they_were(run: Run, tmp_path: Path, data: Path) -> None:
    """If the valid split is invalid, the name and the lock stay unchanged; the new train set may stay in the store."""
    recipe = write_recipe(tmp_path / "r.toml")
    assert build(run, recipe).status == 0
    refs = {path: path.read_bytes() for path in (tmp_path / "store/refs").rglob("*.json")}
    lock = (tmp_path / "r.lock").read_text()
    write_file(data / "SSC" / "ssc_train.h5", draw(5, seed=9))
    recordings, labels = spoiled("unit")
    write_file(data / "SSC" / "ssc_valid.h5", recordings, labels=labels)
    answer = build(run, recipe, "--move")
    assert answer.status == 1
    assert "ssc_valid.h5: recording 2" in answer.err
    assert {path: path.read_bytes() for path in (tmp_path / "store/refs").rglob("*.json")} == refs
    assert (tmp_path / "r.lock").read_text() == lock
    assert run("verify", "--deep", "--store", "store").status == 0


def test_skip_lists_the_rows_that_it_leaves_out(run: Run, tmp_path: Path, data: Path) -> None:
    """on_error = "skip" keeps the row, with label -1 and the reason, warns once, and names no path."""
    recordings, labels = spoiled("unsorted")
    recordings[68] = (np.array([np.inf], np.float16), np.array([1], np.uint16))
    write_file(data / "SSC" / "ssc_train.h5", recordings, labels=labels)
    recipe = write_recipe(tmp_path / "r.toml", source='splits = ["train"]\non_error = "skip"')
    answer = build(run, recipe)
    assert answer.status == 0
    assert "warning: SSC train: 2 of 70 recordings were skipped, the first because " in answer.err
    features = Store(tmp_path / "store")["r"]
    assert [one.row for one in features.manifest.skipped] == [2, 68]
    assert "event 11" in features.manifest.skipped[0].reason
    assert not any(str(tmp_path) in one.reason for one in features.manifest.skipped)
    assert "  skipped     2 recordings:\n" in run("show", "r", "--store", "store").out
    columns = features.read()
    assert (columns.label[2], columns.n_bins[2], columns.nnz[2]) == (-1, 0, 0)
    shown = run("show", "r", "--store", "store").out
    assert "skipped     2 recordings" in shown
    assert "times are not sorted" in shown


def test_sort_equals_sorted_files(run: Run, tmp_path: Path, data: Path) -> None:
    """``sort = true`` on shuffled events gives the digest of the sorted events, under another key."""
    recordings, labels = spoiled("unsorted")
    times, units = recordings[2]
    path = data / "SSC" / "ssc_train.h5"
    write_file(path, recordings, labels=labels)
    assert (
        build(run, write_recipe(tmp_path / "shuffled.toml", source='splits = ["train"]\nsort = true')).status
        == 0
    )
    order = np.argsort(times, kind="stable")
    recordings[2] = (times[order], units[order])
    write_file(path, recordings, labels=labels)
    assert build(run, write_recipe(tmp_path / "ordered.toml", source='splits = ["train"]')).status == 0
    shuffled, ordered = (Store(tmp_path / "store")[name] for name in ("shuffled", "ordered"))
    assert shuffled.digest == ordered.digest
    assert shuffled.address.source_key != ordered.address.source_key
