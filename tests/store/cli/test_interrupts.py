"""Ctrl-C that an import drops, and Ctrl-C at the end of an interrupted command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = "from spikestore.store.cli.program import program\nsys.exit(program())\n"
_ONE_LINE = "interrupted; run the same command again to resume\n"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return an empty store."""
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import signal, sys\n{code}{_PROGRAM}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_command_ends_if_an_import_dropped_ctrl_c(store: Path) -> None:
    """The import of torch does so in a twelfth of trials; the command then trained, or failed with modules that were not complete."""
    dropping = (
        "class Dropping:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name != 'spikestore.store.cli.commands.ls': return\n"
        "        try: signal.raise_signal(signal.SIGINT)\n"
        "        except KeyboardInterrupt: pass\n"
        "sys.meta_path.insert(0, Dropping())\n"
    )
    done = _run(dropping, "ls", "--store", str(store))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", _ONE_LINE)


def test_a_command_without_a_store_ends_if_an_import_dropped_ctrl_c(tmp_path: Path) -> None:
    """Only commands that open a store looked for a dropped Ctrl-C; `doctor`, whose checks import torch, said that there is no problem."""
    dropping = (
        "from spikestore.store.doctor import findings\n"
        "findings.findings_of = lambda checks: []\n"
        "findings.findings_of_entry_points = lambda: []\n"
        "class Dropping:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name not in ('spikestore.store.doctor.machine_checks', 'spikestore.pipeline.recipes.shipped'): return\n"
        "        try: signal.raise_signal(signal.SIGINT)\n"
        "        except KeyboardInterrupt: pass\n"
        "sys.meta_path.insert(0, Dropping())\n"
    )
    done = _run(dropping, "doctor", "--store", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", _ONE_LINE)
    done = _run(dropping, "recipes")
    assert (done.returncode, done.stderr) == (130, _ONE_LINE)


def test_ctrl_c_in_a_finaliser_ends_the_command() -> None:
    """Python drops exceptions there, and prints a traceback; the command went on."""
    dropping = (
        "import threading\n"
        "from spikestore.store.cli import main\n"
        "class Finalised:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "main._run = lambda *_: [Finalised() and None, threading.Event().wait(30)]\n"
    )
    done = _run(dropping)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", _ONE_LINE)


def test_other_exceptions_of_a_finaliser_are_reported_as_by_python() -> None:
    """Only Ctrl-C is repeated."""
    failing = (
        "from spikestore.store.cli import main\n"
        "class Finalised:\n"
        "    def __del__(self): raise ValueError('seen')\n"
        "main._run = lambda *_: Finalised() and 0\n"
    )
    done = _run(failing)
    assert done.returncode == 0
    assert "ValueError: seen" in done.stderr


def test_finalisers_that_fail_after_ctrl_c_print_nothing() -> None:
    """An interrupt inside of a constructor of llvmlite left an object whose finaliser failed, with a traceback after the one line."""
    interrupted = (
        "from spikestore.store.cli import main\n"
        "class Incomplete:\n"
        "    def __del__(self): raise AttributeError('never set')\n"
        "def run(*_):\n"
        "    kept = Incomplete()\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "main._run = run\n"
    )
    done = _run(interrupted)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", _ONE_LINE)


def test_a_second_ctrl_c_after_the_command_prints_no_traceback() -> None:
    """Functions that run when the interpreter ends, such as torch's, were interrupted."""
    twice = (
        "import atexit\n"
        "from spikestore.store.cli import main\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "main._run = lambda *_: signal.raise_signal(signal.SIGINT)\n"
    )
    done = _run(twice)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", _ONE_LINE)


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "print"])
def test_a_handler_of_the_user_stays(store: Path, handler: str) -> None:
    """Shells start background jobs with Ctrl-C ignored."""
    own = (
        f"signal.signal(signal.SIGINT, {handler})\n"
        "import atexit\n"
        f"atexit.register(lambda: print(signal.getsignal(signal.SIGINT) is {handler}))\n"
    )
    done = _run(own, "ls", "--store", str(store))
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["True"]), done.stderr


def test_python_s_own_handler_returns_before_a_command_works(store: Path) -> None:
    """Asyncio cancels its tasks at Ctrl-C only with this handler."""
    own = (
        "import atexit\n"
        "atexit.register(lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler))\n"
    )
    done = _run(own, "ls", "--store", str(store))
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["True"]), done.stderr
