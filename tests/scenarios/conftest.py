"""Fixtures: one set of demo recordings, and one uninterrupted build of it, for all tests of scenarios."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from tests.pipeline.cochlea_files import write_dataset
from tests.scenarios.command_runs import Commands, Done, write_recipe
from tests.scenarios.refusals import Answer, Run

from spikestore.store.cli.main import main

# Makes a process wait before it stores a record, while a file exists and a number of records is reached: the build is
# then certainly incomplete, on a machine of any speed. The process reports that it waits with a second file.
GATE = """
import os

if "TESTS_GATE" in os.environ:
    import time

    gate, _, count = os.environ["TESTS_GATE"].rpartition(":")
    link = os.link

    def held(source, target, **more):
        folder = os.path.dirname(target)
        if os.path.basename(folder) == "records" and len(os.listdir(folder)) >= int(count):
            open(f"{gate}.{os.getpid()}", "w").close()
            while os.path.exists(gate):
                time.sleep(0.002)
        return link(source, target, **more)

    os.link = held
"""

_PATH = os.environ.get("PYTHONPATH", "")  # the code, if it is not installed

COUNTS = {"train": 400, "valid": 70, "test": 70}
"""Recordings of each split: seven fragments of 64 rows, two, and two; the last of each is short."""


@dataclass(frozen=True)
class Built:
    """An uninterrupted build."""

    recipe: Path
    store: Path
    done: Done


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables for commands: no cache of the user's, and no torch.

    Tonic imports torch if it is installed, which takes 1 s in each worker, and works without it. Preprocessing needs no torch, so
    a module torch that can't be imported is first on the path. The same folder has the `GATE`.
    """
    folder = tmp_path_factory.mktemp("no-torch")
    (folder / "torch.py").write_text('raise ModuleNotFoundError("no torch in these tests", name="torch")\n')
    (folder / "sitecustomize.py").write_text(GATE)
    home = str(tmp_path_factory.mktemp("home"))
    path = os.pathsep.join(filter(None, [str(folder), _PATH]))
    return {"PYTHONPATH": path, "XDG_CACHE_HOME": home, "XDG_DATA_HOME": home}


@pytest.fixture
def commands(tmp_path: Path, environment: dict[str, str]) -> Commands:
    """Return the command line in an empty folder."""
    return Commands(tmp_path, environment)


@pytest.fixture
def with_torch(environment: dict[str, str]) -> dict[str, str]:
    """Return variables for commands that may import torch."""
    return {**environment, "PYTHONPATH": _PATH, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def with_torch_commands(tmp_path: Path, with_torch: dict[str, str]) -> Commands:
    """Return the command line in an empty folder."""
    return Commands(tmp_path, with_torch)


def made_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled: one for all workers of pytest-xdist, because it takes seconds."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = temporary.mktemp(name)
        make(folder)
        return folder
    folder = temporary.getbasetemp().parent / name
    complete = folder.with_suffix(".complete")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """Return a folder with demo recordings, made by the command; not to be changed."""
    counts = [f"--{split}={count}" for split, count in COUNTS.items()]

    def make(folder: Path) -> None:
        Commands(folder, environment).well("demo-data", "data", *counts)

    return made_once(tmp_path_factory, "demo", make) / "data"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], demo: Path) -> Built:
    """Return a build by two workers, by the command and a recipe without any options; not to be changed."""

    def make(folder: Path) -> None:
        recipe = write_recipe(folder / "demo.toml", source=f'data = "{demo}"')
        done = Commands(folder, environment).well("preprocess", recipe, "--store", "store", "--workers", "2")
        (folder / "done.json").write_text(json.dumps(asdict(done)))

    folder = made_once(tmp_path_factory, "built", make)
    return Built(
        folder / "demo.toml", folder / "store", Done(**json.loads((folder / "done.json").read_text()))
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return the command line, run in this process and an empty folder, as a function."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        answer = Answer(status, *capsys.readouterr())
        assert "Traceback" not in answer.err
        assert "fault in spikestore" not in answer.err
        return answer

    return command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with a small SSC: 7, 8 and 9 recordings."""
    write_dataset(tmp_path / "data", "SSC")
    return tmp_path / "data"
