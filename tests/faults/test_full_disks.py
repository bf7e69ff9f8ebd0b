"""Commands on disks that are full, have no inodes left, or are read-only: an error of one line, and a rerun completes the work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.scenarios.command_runs import Commands, digests, ending
from tests.scenarios.conftest import Built

ROOT = Path(__file__).parents[2]
MOUNTS = ["unshare", "--map-root-user", "--mount"]


def may_mount() -> bool:
    """Return whether this user may mount a disk in a mount namespace."""
    if shutil.which("unshare") is None:
        return False
    command = [*MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(commands: Commands) -> Path:
    """Return a folder on which a disk can be mounted."""
    if not may_mount():
        pytest.skip("may not mount a disk in a namespace: unshare --map-root-user --mount fails here")
    path = commands.folder / "disk"
    path.mkdir()
    return path


def run(commands: Commands, disk: Path, *steps: str) -> list[tuple[int, str, str]]:
    """Run steps of `tests.faults.mounted_commands`."""
    path = os.pathsep.join(filter(None, [str(ROOT), commands.variables.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [*MOUNTS, sys.executable, "-m", "tests.faults.mounted_commands", str(disk), *steps],
        cwd=commands.folder,
        env={**commands.variables, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ending(process):
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return [tuple(one) for one in json.loads(out)]


LIMITS = [
    pytest.param("size=100k", "free some space", id="no space"),
    pytest.param("size=16m,nr_inodes=40", "free some space", id="no inodes"),
    pytest.param("size=16m,ro", "Read-only file system", id="read-only"),
]


def fails_and_resumes(
    commands: Commands, built: Built, disk: Path, command: str, limit: str, room: str
) -> tuple[int, str, str]:
    """Run a command with a limit, then again with more room; return the first result, and check the set of the second."""
    first, again, verified, shown = run(
        commands,
        disk,
        f"mount {limit}",
        command,
        f"mount remount,{room}",
        command,
        "verify --deep --store disk/store",
        "show demo:train --store disk/store --json",
    )
    assert first[0] == 1, first
    assert "Traceback" not in first[2]
    assert again[0] == 0, again
    assert verified[0] == 0, verified
    assert json.loads(shown[1])[0]["digest"] == digests(built.store, "demo")["train"]
    return first


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "words"), LIMITS)
def test_pull(commands: Commands, built: Built, disk: Path, limit: str, words: str) -> None:
    """One line names the cause; with more room, the same command completes the copy."""
    pull = f"pull demo --from {built.store} --store disk/store"
    first = fails_and_resumes(commands, built, disk, pull, limit, "rw,size=64m,nr_inodes=100000")
    (error,) = [line for line in first[2].splitlines() if line.startswith("spikestore: error")]
    assert words in error


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "words"), LIMITS[:2])
def test_preprocess(commands: Commands, built: Built, disk: Path, limit: str, words: str) -> None:
    """A build keeps its fragments; with more room, the same command completes it."""
    build = f"preprocess {built.recipe} --store disk/store --workers 0"
    first = fails_and_resumes(commands, built, disk, build, limit, "size=64m,nr_inodes=100000")
    assert words in first[2]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["hdf5", "zarr", "webdataset"])
def test_export(commands: Commands, built: Built, disk: Path, form: str) -> None:
    """One line names the cause, no file is left, and the process does not crash, as HDF5 by itself would at its next write."""
    export = f"export demo --to disk/out --form {form} --store {built.store}"
    first, again = run(commands, disk, "mount size=100k", export, "mount remount,size=64m", export)
    assert first[0] == 1, first
    (error,) = [line for line in first[2].splitlines() if line.startswith("spikestore: error")]
    assert error.endswith("disk/out: No space left on device: free some space and run the command again")
    assert "Traceback" not in first[2]
    assert again[0] == 0, again


@pytest.mark.slow
def test_recipe(commands: Commands, disk: Path) -> None:
    """A recipe is complete or absent, so that the same command can run again; the line names the file."""
    write, other = (f"recipe --dataset SHD --out disk/{name}.toml" for name in "ab")
    _, first, again = run(
        commands, disk, "mount size=4k,nr_inodes=9", other, write, "mount remount,size=64k", write
    )
    assert first[0] == 1, first
    assert "disk/a.toml: No space left on device: free some space" in first[2]
    assert again[0] == 0, again
