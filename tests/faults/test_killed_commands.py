"""Commands that are killed with all their processes at a random time: the store stays intact, and a rerun completes the work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.faults.effort import SEED, cases
from tests.scenarios.command_runs import Commands, alive, ending, family, wait_until
from tests.store.damage import NAME, OTHER_SOURCE, SMALL, make_store

from spikestore.store import Store, verify

# Lets a command begin its work on a signal: imports take most of its time, and nothing can break there.
STARTED = """
import os

if "TESTS_STARTED" in os.environ:
    import spikestore.store.storage.folder as folder

    place = folder.FolderStorage.place

    def first(self, *arguments, **more):
        open(os.environ["TESTS_STARTED"], "a").close()
        return place(self, *arguments, **more)

    folder.FolderStorage.place = first
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three named sets, and one that nobody named."""
    root = tmp_path_factory.mktemp("whole")
    make_store(root)
    return root


COMMANDS = {
    "push": ["push", NAME, "--store", "store", "--to", "other"],
    "pull": ["pull", NAME, "--from", "store", "--store", "other"],
    "gc": ["gc", "--unreferenced", "--older-than", "0", "--store", "store"],
    "repair": ["repair", NAME, "--store", "store", "--from", "whole"],
    "verify": ["verify", "--deep", "--store", "store"],
    "tag": ["tag", NAME, "second", "--store", "store"],
    "rm": ["rm", "third", "--store", "store"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed(command: str, commands: Commands, whole: Path) -> None:
    """After SIGKILL to the whole group no set is damaged, and the same command succeeds."""
    (commands.folder / "site").mkdir()
    (commands.folder / "site/sitecustomize.py").write_text(STARTED)
    shutil.copytree(whole, commands.folder / "whole")
    for case in range(cases(1, 40)):
        rng = random.Random(f"{SEED} {command} {case}")  # noqa: S311 - no secret
        prepare(commands.folder, command)
        kill(commands, command, rng.random() ** 2 * 0.2)
        check(commands.folder, damaged=command == "repair")
        done = commands.run(*COMMANDS[command])
        assert done.status == 0 or (command == "rm" and "no 'third'" in done.err), (SEED, case, done)
        check(commands.folder, damaged=False)


def prepare(folder: Path, command: str) -> None:
    """Make the stores that a command works on."""
    for name in ("store", "other"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(folder / "whole", folder / "store")
    if command == "gc":
        Store(folder / "store").forget("third")
    elif command == "repair":
        for path in (folder / "store" / SMALL.address.folder).glob("builds/*/data.zarr/*/c/0"):
            path.unlink()


def kill(commands: Commands, command: str, seconds: float) -> None:
    """Start a command, and kill it with all its processes some time after its first access to a store."""
    started = commands.folder / "started"
    started.unlink(missing_ok=True)
    path = os.pathsep.join([str(commands.folder / "site"), os.environ.get("PYTHONPATH", "")])
    environment = {"TESTS_STARTED": str(started), "PYTHONPATH": path}
    with ending(commands.start(*COMMANDS[command], environment=environment)) as process:
        wait_until(lambda: started.exists() or process.poll() is not None, "the first look into a store")
        members = family(process)
        end_group(process, seconds)
        wait_until(lambda: not alive(members), "the end of all processes")


def end_group(process: subprocess.Popen[str], seconds: float) -> None:
    """Kill a process and its group after some time, unless it has ended by itself."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check(folder: Path, *, damaged: bool) -> None:
    """Assert that all committed sets are intact, and that names still refer to the same sets."""
    for name in ("store", "other"):
        store = Store(folder / name)
        for features in store.feature_sets():
            if damaged and features.address == SMALL.address and name == "store":
                continue
            assert verify(features, depth="deep") == []
        for called in store.names():
            assert store.splits(called)
    kept = {features.address for features in Store(folder / "store").feature_sets()}
    assert {SMALL.address, OTHER_SOURCE.address} <= kept
