"""Functions for the tests of scenarios: they run the real command line in processes of its own, and inspect the store."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tests.seeds_recipe import SEEDS_TRANSFORM

from spikestore.store.store import Store

PATIENCE = 120.0
"""Seconds after which something that should have happened counts as never happening; machines may be busy."""

RECIPE = (
    """
name = "{name}"
{top}

[source]
dataset = "{dataset}"
{source}
"""
    + SEEDS_TRANSFORM
    + """
[build]
{build}
"""
)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote to stdout, parsed."""
        return json.loads(self.out)


class Commands:
    """Runs ``spikestore`` in a folder, without the user's settings.

    Parameters
    ----------
    folder : Path
        Working directory.
    environment : dict of str to str
        Variables in addition to those of the tests.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.variables = {**os.environ, **environment}

    def start(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[str]:
        """Start a command in a session of its own, as from a terminal of its own."""
        return self.start_python("-m", "spikestore.store", *map(str, arguments), **more)

    def start_python(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.variables, **more.pop("environment", {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        )

    def run(self, *arguments: str | Path, **more: Any) -> Done:
        """Run a command to its end."""
        with ending(self.start(*arguments, **more)) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return Done(process.returncode, out, err)

    def run_python(self, *arguments: str) -> Done:
        """Run Python with these arguments to its end."""
        with ending(self.start_python(*arguments)) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return Done(process.returncode, out, err)

    def well(self, *arguments: str | Path, **more: Any) -> Done:
        """Run a command that must succeed."""
        done = self.run(*arguments, **more)
        assert done.status == 0, done.err
        return done


@contextlib.contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a process, and all that it started, at the end of the ``with`` block."""
    try:
        yield process
    finally:
        for one in family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return a process and all processes that it started, directly or not."""
    try:
        first = psutil.Process(process.pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run; a zombie does not."""
    found = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def wait_until(holds: Callable[[], bool], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Poll until a condition holds; fail if a process ends first, or after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        if process is not None and process.poll() is not None and not holds():
            raise AssertionError(f"{what}: the process ended first\n{process.communicate()[1]}")
        time.sleep(0.002)


def write_recipe(
    path: Path,
    *,
    dataset: str = "SSC",
    name: str | None = None,
    source: str = "",
    top: str = "",
    build: str = "",
) -> Path:
    """Write a recipe with the seed's transform."""
    path.write_text(
        RECIPE.format(name=name or path.stem, dataset=dataset, source=source, top=top, build=build)
    )
    return path


def records(store: Path) -> list[Path]:
    """Return the records of all builds in a store."""
    return sorted(store.glob("features/*/*/builds/*/records/*.json"))


def manifests(store: Path) -> list[Path]:
    """Return all manifests in a store."""
    return sorted(store.glob("features/*/*/manifest.json"))


def identities(paths: list[Path]) -> dict[Path, tuple[int, int]]:
    """Return values that change if a file is written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def digests(store: Path, name: str) -> dict[str, str]:
    """Return the digest of each split of a name."""
    return {split: features.digest for split, features in Store(store).splits(name).items()}
