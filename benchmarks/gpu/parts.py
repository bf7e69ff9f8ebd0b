"""The parts of ``benchmarks.gpu``, and a function that runs a part in a separate process, with a time limit and a log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SKIPPED = 77
"""Exit status of a part that can't run on this machine and prints the reason, as in Automake's tests."""
PYTEST_NO_TESTS = 5
DRY = 4
"""Factor for the time limits of a dry run, which is without a GPU."""
_TAIL = 12
"""Lines of a log that are repeated on the page."""


@dataclass(frozen=True)
class Part:
    """A command with a time limit.

    Attributes
    ----------
    name : str
        Name of the part on the page, and of its files.
    what : str
        One line for the page.
    arguments : tuple of str
        Arguments of the interpreter.
    limit_s : float
        Seconds after which the part is stopped.
    has_json : bool
        Whether the part accepts ``--json FILE`` and writes a benchmark's document to this file.
    measures : bool
        Whether the part measures time, so that nothing else may run at the same time.
    """

    name: str
    what: str
    arguments: tuple[str, ...]
    limit_s: float
    has_json: bool = False
    measures: bool = False


@dataclass
class Outcome:
    """Result of a part.

    Attributes
    ----------
    name, what : str
        Name and description of the part.
    status : {"waiting", "ok", "failed", "out of time", "skipped"}
        ``skipped``: the part can't run on this machine.
    reason : str
        Reason of a failure, one line; empty without a failure.
    seconds : float
        Time that the part took.
    command : str
        Command that runs only this part.
    tail : list of str
        The last lines of the part's output.
    document : dict, optional
        The JSON that the part wrote.
    """

    name: str
    what: str
    status: str = "waiting"
    reason: str = ""
    seconds: float = 0.0
    command: str = ""
    tail: list[str] = field(default_factory=list)
    document: dict[str, Any] | None = None


def all_parts(device: str) -> list[Part]:
    """Return all parts.

    The caller first runs, in parallel, the parts that measure no time; then the other parts one by one. ``exodus`` measures no time, but it runs with
    the other parts, because it needs the result of ``exodus-build``.

    Parameters
    ----------
    device : {"cuda", "cpu"}
        With ``cpu``, the parts run in small sizes without a GPU, and pytest only collects the GPU tests.
    """
    on, size = ("--device", device), ("--size", "full" if device == "cuda" else "small")
    dry = device == "cpu"
    # In a dry run the GPU tests are collected, which imports all that they import.
    collect = ("--collect-only", "-q") if dry else ("--durations=0",)
    iaf = ("--rounds", "1") if dry else ()
    loading = ("--size", "small", "--rows", "host,stream,device", *(("--samples", "256") if dry else ()))
    augmentation = ("--rows", "TimeShift(5)")
    seed = ("--samples", "16", "--batch", "8", "--rounds", "1", "--rows", "host_fused")
    parts = [
        Part(
            "exodus-build",
            "EXODUS from its source, against this torch and CUDA",
            ("-m", "benchmarks.gpu.exodus", "build", *on),
            110,
        ),
        Part(
            "sanity",
            "outputs, gradients and states against the CPU; half precision; two ranks",
            ("-m", "benchmarks.gpu.sanity", *on),
            75,
            has_json=True,
        ),
        Part(
            "tests",
            "`pytest -m gpu`",
            ("-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *collect, "tests/train"),
            110,
        ),
        Part(
            "exodus",
            "EXODUS against Sinabs: outputs and gradients",
            ("-m", "benchmarks.gpu.exodus", "compare", *on),
            30,
            has_json=True,
        ),
        Part(
            "iaf",
            "neurons against peers",
            ("-m", "benchmarks.iaf", *on, *size, *iaf),
            130,
            has_json=True,
            measures=True,
        ),
        Part(
            "loading",
            "loading onto the device",
            ("-m", "benchmarks.loading", *on, *loading),
            40,
            has_json=True,
            measures=True,
        ),
        Part(
            "augmentation",
            "each augmentation against none, on the device",
            ("-m", "benchmarks.augmentation", *on, *size, *(augmentation if dry else ())),
            60,
            has_json=True,
            measures=True,
        ),
        Part(
            "seed",
            "the seed's experiment",
            ("-m", "benchmarks.seed", *on, *(seed if dry else ("--samples", "256", "--rounds", "3"))),
            100,
            has_json=True,
            measures=True,
        ),
    ]
    # A dry run may be on a slow machine, where others work too.
    return [replace(part, limit_s=DRY * part.limit_s) for part in parts] if dry else parts


def run_part(part: Part, folder: Path, limit_s: float, environment: dict[str, str]) -> Outcome:
    """Run a part to its end or its time limit, whichever comes first.

    Parameters
    ----------
    part : Part
        The part.
    folder : Path
        Folder for its log and its JSON: ``NAME.log``, ``NAME.json``.
    limit_s : float
        Seconds that the part may take; the part's own limit applies if it is shorter.
    environment : dict of str to str
        Environment variables of the process.
    """
    result, log = folder / f"{part.name}.json", folder / f"{part.name}.log"
    more = ("--json", str(result)) if part.has_json else ()
    outcome = Outcome(part.name, part.what, command=" ".join(["python3", *part.arguments]))
    limit = min(part.limit_s, limit_s)
    if limit <= 0:
        outcome.status, outcome.reason = "out of time", "no time was left for it"
        return outcome
    result.unlink(missing_ok=True)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *part.arguments, *more],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its children end with it
        )
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
    outcome.seconds = time.monotonic() - began
    outcome.tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    with contextlib.suppress(OSError, ValueError):
        outcome.document = json.loads(result.read_text(encoding="utf-8"))
    outcome.status, outcome.reason = _judge(status, limit, outcome.tail)
    return outcome


def _judge(status: int | None, limit: float, tail: list[str]) -> tuple[str, str]:
    last = next((line.strip() for line in reversed(tail) if line.strip()), "it said nothing")
    if status is None:
        return "out of time", f"ended after {limit:.0f} s; its last line: {last}"
    if status == 0:
        return "ok", ""
    if status in (SKIPPED, PYTEST_NO_TESTS):
        return "skipped", last
    return "failed", f"exit status {status}: {last}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all processes that it started, if they still run."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
