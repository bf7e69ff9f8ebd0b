"""Stores that cannot be read or written: one clear line, exit status 1; after a repair of the cause, the same command succeeds."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.scenarios.command_runs import Commands, Done, digests, manifests, records, write_recipe
from tests.scenarios.conftest import Built
from tests.scenarios.refusals import Run, build, well

from spikestore.store import Store
from spikestore.store_schemas.specs.canonical import seal, unseal

# Runs the command line with limits that the process sets for itself before it imports spikestore.
LIMITED = """
import ctypes, os, resource, sys
if sys.argv[1] == "small":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
else:
    for capability in (1, 2, 3):  # those that let root write where it must not
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "spikestore.store", *sys.argv[3:]])
"""


def limited(commands: Commands, how: str, *arguments: str | Path, size: int = 0) -> Done:
    """Run a command with files of at most `size` bytes (``small``), or without the rights of root (``plain``)."""
    return commands.run_python("-c", LIMITED, how, str(size), *map(str, arguments))


def one_line(done: Done, *words: str) -> None:
    """Assert that the work failed with one line that has these words."""
    assert done.status == 1, done.err
    said = [line for line in done.err.splitlines() if " samples" not in line]
    assert len(said) == 1, done.err
    assert said[0].startswith("spikestore: error: ")
    assert all(word in said[0] for word in words), said


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_no_space(commands: Commands, run: Run, demo: Path, built: Built, workers: str) -> None:
    """A limit of file sizes ends the build, in this process or in a worker; without it, the build resumes and has the same digest."""
    recipe = write_recipe(commands.folder / "r.toml", source=f'data = "{demo}"\nsplits = ["train"]')
    command = ("preprocess", recipe, "--store", "store", "--workers", workers)
    one_line(
        limited(commands, "small", *command, size=50_000), "larger than the largest file", "raise the limit"
    )
    assert manifests(commands.folder / "store") == []
    assert well(run, "ls", "--store", "store", "--json").json["feature_sets"] == []
    well(run, *command)
    assert digests(commands.folder / "store", "r")["train"] == digests(built.store, "demo")["train"]
    # A worker may be ended in the middle of its next write, which is that of a whole fragment.
    objects = len(Store(commands.folder / "store")["r:train"].layout.array_names)
    assert len(list((commands.folder / "store" / ".tmp").iterdir())) <= int(workers) * objects


def writable(folder: Path, *, yes: bool) -> None:
    """Make all folders below one writable, or read-only."""
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o200 if yes else 0o555)


def test_a_read_only_store(commands: Commands, run: Run, data: Path) -> None:
    """In a read-only store nothing changes and existing sets are found; after it becomes writable, the build succeeds."""
    folder = commands.folder
    store = folder / "store"
    small = write_recipe(folder / "small.toml", source='data = "data"\nsplits = ["test"]')
    command = ("--store", "store", "--workers", "0")
    well(run, "preprocess", small, *command)
    before = sorted(store.rglob("*"))
    writable(store, yes=False)
    try:
        large = write_recipe(folder / "large.toml", source='data = "data"\nsplits = ["train"]')
        one_line(
            limited(commands, "plain", "preprocess", large, *command), str(store), "cannot write to the store"
        )
        assert sorted(store.rglob("*")) == before
        done = limited(commands, "plain", "preprocess", small, *command)
        assert (done.status, "nothing to compute" in done.err) == (0, True)
        assert limited(commands, "plain", "verify", "--deep", "--store", "store").status == 0
    finally:
        writable(store, yes=True)
    well(run, "preprocess", large, *command)


def test_a_lock_that_cannot_be_written_only_warns(commands: Commands, data: Path) -> None:
    """A recipe in a read-only folder is built, with one warning that names the lock."""
    recipes = commands.folder / "recipes"
    recipes.mkdir()
    recipe = write_recipe(recipes / "r.toml", source='data = "../data"\nsplits = ["test"]')
    writable(recipes, yes=False)
    try:
        done = limited(commands, "plain", "preprocess", recipe, "--store", "store", "--workers", "0")
    finally:
        writable(recipes, yes=True)
    assert done.status == 0
    (warning,) = (line for line in done.err.splitlines() if line.startswith("warning: "))
    assert f"cannot write the lock {recipes / 'r.lock'}: " in warning
    assert list(recipes.iterdir()) == [recipe]
    assert set(digests(commands.folder / "store", "r")) == {"test"}


def test_a_store_that_is_a_file(run: Run, data: Path, tmp_path: Path) -> None:
    """The message says that a store is a folder."""
    (tmp_path / "store").write_text("")
    for answer in (build(run, write_recipe(tmp_path / "r.toml")), run("ls", "--store", "store")):
        assert answer.status == 1
        assert answer.said == [
            f"spikestore: error: {tmp_path / 'store'} is a file, but a store must be a folder"
        ]


@pytest.mark.parametrize("place", ["features/*/*/manifest.json", "refs/r/00000001.json"])
def test_a_store_of_a_newer_format(run: Run, data: Path, tmp_path: Path, place: str) -> None:
    """If a manifest or a name has format 2, the message says what to install, nothing changes, and `ls` works."""
    recipe = write_recipe(tmp_path / "r.toml", source='splits = ["test"]')
    assert build(run, recipe).status == 0
    (path,) = (tmp_path / "store").glob(place)
    path.write_bytes(seal({**unseal(path.read_bytes(), path=str(path)), "format": 2, "news": {"a": [1]}}))
    before = {one: one.read_bytes() for one in (tmp_path / "store").rglob("*") if one.is_file()}
    answer = build(run, recipe)
    assert answer.status == 1
    assert all(word in answer.said[-1] for word in (path.name, "format 2", "pip install --upgrade "))
    assert sum("error" in line for line in answer.said) == 1
    answer = run("show", "r", "--store", "store")
    assert (answer.status, "format 2" in answer.err) == (1, True)
    assert run("verify", "--store", "store").status == 1
    listed = run("ls", "--store", "store", "--json")
    assert listed.status == 1
    assert "format 2" in listed.out + listed.err
    assert {one: one.read_bytes() for one in (tmp_path / "store").rglob("*") if one.is_file()} == before


def test_a_plan_of_a_newer_format(run: Run, data: Path, tmp_path: Path) -> None:
    """A build that a newer version began is not continued by this version."""
    recipe = write_recipe(tmp_path / "r.toml", source='splits = ["train"]')
    recordings = draw(70)
    recordings[69] = (np.array([0.5, 0.25], np.float16), np.array([1, 2], np.uint16))
    write_file(data / "SSC" / "ssc_train.h5", recordings)
    assert build(run, recipe).status == 1  # times not sorted: the first fragment and the plan stay
    assert len(records(tmp_path / "store")) == 1
    (path,) = (tmp_path / "store").glob("features/*/*/plan.json")
    path.write_bytes(seal({**unseal(path.read_bytes(), path=str(path)), "format": 2}))
    answer = build(run, recipe)
    assert answer.status == 1
    assert "format 2" in answer.err
    assert manifests(tmp_path / "store") == []


@pytest.mark.slow
def test_a_worker_reports_a_bad_recording_as_this_process_would(
    commands: Commands, data: Path, run: Run, tmp_path: Path
) -> None:
    """With local workers, stderr has the same line, and nothing from Dask."""
    recordings = draw(70)
    recordings[3] = (np.array([0.5, 0.25], np.float16), np.array([1, 2], np.uint16))
    write_file(data / "SSC" / "ssc_train.h5", recordings)
    recipe = write_recipe(tmp_path / "r.toml", source='data = "data"\nsplits = ["train"]')
    done = commands.run("preprocess", recipe, "--store", "store", "--workers", "1")
    one_line(done, "ssc_train.h5: recording 3", "not sorted")
    assert done.err.splitlines()[-1] == build(run, recipe).said[-1]
    assert manifests(tmp_path / "store") == []


def test_no_scheduler_answers(commands: Commands, data: Path) -> None:
    """An invalid address is named in one line."""
    recipe = write_recipe(commands.folder / "r.toml", source='data = "data"')
    done = commands.run("preprocess", recipe, "--store", "store", "--scheduler", "nonsense://x")
    one_line(done, "nonsense://x", "scheduler")
