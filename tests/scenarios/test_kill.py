"""Builds that are killed, interrupted or concurrent: no incomplete set is listed, and no fragment is computed twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.scenarios.command_runs import (
    Commands,
    alive,
    digests,
    ending,
    family,
    identities,
    manifests,
    records,
    wait_until,
    write_recipe,
)
from tests.scenarios.conftest import Built
from tests.scenarios.refusals import Run, well

from spikestore.store import Store, verify

FRAGMENTS = 7
"""Fragments of 64 rows in the train split."""


@pytest.fixture
def recipe(commands: Commands, demo: Path) -> Path:
    """Return a recipe of the training split."""
    return write_recipe(commands.folder / "r.toml", source=f'data = "{demo}"\nsplits = ["train"]')


def build(recipe: Path, workers: int, *more: str) -> tuple[str | Path, ...]:
    return ("preprocess", recipe, "--store", "store", "--workers", str(workers), *more)


def kill_at_once(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, the oldest first, and wait until they are gone."""
    members = family(process)
    for one in members:
        one.kill()
    process.wait()
    wait_until(lambda: not alive(members), "the end of all processes")


def started(commands: Commands, command: tuple[str | Path, ...], count: int) -> subprocess.Popen[str]:
    """Start a build that pauses when `count` records exist."""
    gate = commands.folder / "gate"
    gate.touch()
    return commands.start(*command, environment={"TESTS_GATE": f"{gate}:{count}"})


def wait_until_held(commands: Commands, how_many: int, process: subprocess.Popen[str]) -> None:
    """Wait until this many processes are paused."""
    wait_until(
        lambda: len(list(commands.folder.glob("gate.*"))) >= how_many, f"{how_many} held back", process
    )


def started_to(commands: Commands, recipe: Path, workers: int, count: int) -> subprocess.Popen[str]:
    """Start a build; return when all its processes are paused, with `count` records or one more."""
    for old in commands.folder.glob("gate.*"):
        old.unlink()
    process = started(commands, build(recipe, workers), count)
    wait_until_held(commands, max(workers, 1), process)
    assert count <= len(records(commands.folder / "store")) < count + max(workers, 1)
    return process


def read_until(process: subprocess.Popen[str], text: str, times: int) -> str:
    """Wait until a process has written a text this many times to stderr; return its output so far."""
    assert process.stderr is not None
    said, stderr = bytearray(), process.stderr.fileno()

    def is_there() -> bool:
        with contextlib.suppress(BlockingIOError):
            said.extend(os.read(stderr, 2**16))
        return said.decode().count(text) >= times

    os.set_blocking(stderr, False)
    wait_until(is_there, f"{text!r} on stderr", process)
    os.set_blocking(stderr, True)
    return said.decode()


def nothing_is_listed(commands: Commands) -> None:
    store = commands.folder / "store"
    assert manifests(store) == []
    assert len(records(store)) < FRAGMENTS
    assert list(Store(store).feature_sets()) == []


def goes_on_to_the_same(commands: Commands, run: Run, built: Built, command: tuple[str | Path, ...]) -> None:
    """Run the command; assert that it reuses all existing records, and ends as an undisturbed build."""
    store = commands.folder / "store"
    there = records(store)
    before = identities(there)
    done = well(run, *command)
    assert identities(there) == before
    features = Store(store)["r:train"]
    assert features.digest == digests(built.store, "demo")["train"]
    assert features.manifest.provenance["reused_fragments"] == len(there)
    assert len(records(store)) == FRAGMENTS
    assert ("the build resumes" in done.err) == bool(there)
    stored = sum(json.loads(record.read_text())["samples"] for record in there)
    assert f"{stored} of 400 samples are stored already" in done.err or not there


@pytest.mark.parametrize(
    ("count", "workers", "then", "more"),
    [
        pytest.param(0, 0, 0, (), id="plan-only", marks=pytest.mark.slow),
        pytest.param(
            1,
            0,
            0,
            ("--fragment-samples", "128"),
            id="one-record-then-other-fragments",
            marks=pytest.mark.slow,
        ),
        pytest.param(3, 2, 0, (), id="workers-then-none", marks=pytest.mark.slow),
        pytest.param(5, 0, 2, ("--fragment-samples", "256"), id="late-then-workers", marks=pytest.mark.slow),
        pytest.param(0, 2, 1, (), id="workers-plan-only", marks=pytest.mark.slow),
    ],
)
def test_kill_in_mid_build(
    commands: Commands,
    run: Run,
    built: Built,
    recipe: Path,
    count: int,
    workers: int,
    then: int,
    more: tuple[str, ...],
) -> None:
    """After SIGKILL of all processes, no set is listed; the next run reuses finished fragments, also with other options."""
    with ending(started_to(commands, recipe, workers, count)) as process:
        kill_at_once(process)
    nothing_is_listed(commands)
    assert len(records(commands.folder / "store")) >= count
    goes_on_to_the_same(commands, run, built, build(recipe, then, *more))


@pytest.mark.slow
def test_killed_again_and_again(commands: Commands, run: Run, built: Built, recipe: Path) -> None:
    """A build that is killed after each of its first records ends correctly, with every record written once."""
    seen: dict[Path, tuple[int, int]] = {}
    for count in range(1, 5):
        with ending(started_to(commands, recipe, 0, count)) as process:
            kill_at_once(process)
        nothing_is_listed(commands)
        now = identities(records(commands.folder / "store"))
        assert now | seen == now
        seen = now
    goes_on_to_the_same(commands, run, built, build(recipe, 0))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 2])
def test_killed_workers_are_replaced(commands: Commands, built: Built, recipe: Path, killed: int) -> None:
    """If one or both of two workers are killed, the run continues and ends with the right digest."""
    with ending(started_to(commands, recipe, 2, 1)) as process:
        workers = [
            one for one in family(process) if "spikestore.pipeline.execution.local_cluster" in one.cmdline()
        ]
        assert len(workers) == 2
        for victim in workers[:killed]:
            victim.kill()
        said = read_until(
            process, "a worker ended unexpectedly (signal 9: out of memory?) and is replaced\n", killed
        )
        (commands.folder / "gate").unlink()
        _, err = process.communicate(timeout=120)
    err = said + err
    assert process.returncode == 0, err
    assert err.count("ended unexpectedly") == killed
    assert "Traceback" not in err
    assert "distributed" not in err
    assert Store(commands.folder / "store")["r:train"].digest == digests(built.store, "demo")["train"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c(commands: Commands, run: Run, built: Built, recipe: Path, workers: int) -> None:
    """SIGINT to the whole group, as a terminal sends it: exit 130, one line, no process left, and a run resumes."""
    with ending(started_to(commands, recipe, workers, 1)) as process:
        members = family(process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
        wait_until(lambda: not alive(members), "the end of all workers")
    assert (process.returncode, out) == (130, "")
    said = [line for line in err.splitlines() if " samples" not in line]
    assert said == ["interrupted; run the same command again to resume"]
    assert len(members) == (1 if workers == 0 else 1 + workers)
    nothing_is_listed(commands)
    goes_on_to_the_same(commands, run, built, build(recipe, 0))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(
    commands: Commands, run: Run, built: Built, recipe: Path, number: signal.Signals
) -> None:
    """However the main process ends, its workers end soon after; the next run reuses finished fragments."""
    with ending(started_to(commands, recipe, 2, 1)) as process:
        members = family(process)
        psutil.Process(process.pid).send_signal(number)
        assert process.wait(timeout=60) == -number
        wait_until(lambda: not alive(members), "the end of all workers")
    nothing_is_listed(commands)
    goes_on_to_the_same(commands, run, built, build(recipe, 0))


def test_two_builders_at_once(commands: Commands, built: Built, recipe: Path) -> None:
    """Two builders that request different fragment sizes both succeed, with one plan, one manifest and the right digest."""
    store = commands.folder / "store"
    with (
        ending(started(commands, build(recipe, 0, "--fragment-samples", "64"), 1)) as first,
        ending(started(commands, build(recipe, 0, "--fragment-samples", "128"), 1)) as second,
    ):
        wait_until_held(commands, 2, first)  # from here on they run side by side
        (commands.folder / "gate").unlink()
        said = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert len(manifests(store)) == 1
    (features,) = Store(store).splits("r").values()
    assert features.digest == digests(built.store, "demo")["train"]
    assert len(records(store)) in {FRAGMENTS, 4}
    assert len(list(store.glob("refs/r/*.json"))) == 1
    for err in said:
        assert "Traceback" not in err
        assert features.digest[:12] in err
    assert verify(features, depth="deep") == []


@pytest.mark.slow
def test_two_builders_of_which_one_is_killed(commands: Commands, built: Built, recipe: Path) -> None:
    """If one builder is killed, the other continues and commits."""
    with (
        ending(started(commands, build(recipe, 0), 1)) as first,
        ending(started(commands, build(recipe, 0, "--fragment-samples", "128"), 1)) as second,
    ):
        wait_until_held(commands, 2, first)
        kill_at_once(first)
        (commands.folder / "gate").unlink()
        _, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert digests(commands.folder / "store", "r")["train"] == digests(built.store, "demo")["train"]
