"""The process of the command line: its start, its end, and Ctrl-C before a command runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import spikestore.store


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["typing", "importlib.metadata", "typer"])
def test_ctrl_c_during_the_imports_is_one_line(module: str) -> None:
    """A third of a second passes before a command runs, and a traceback of imports tells a user nothing."""
    code = (
        "import sys\n"
        "class Waiting:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: print(flush=True); sys.stdin.read()\n"
        "sys.meta_path.insert(0, Waiting())\n"
        "from spikestore.store.cli.program import program\n"
        "sys.exit(program())\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "\n"
        run.send_signal(signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (130, "")
    assert stderr == "interrupted; run the same command again to resume\n"


def test_nearly_nothing_is_imported_before_ctrl_c_is_handled() -> None:
    """The console script imports the program before it calls it: an import there, as of `typing`, has no handler yet."""
    done = _run(
        "import sys\n"
        "before = {*sys.modules}\n"
        "from spikestore.store.cli.program import program\n"
        "print(*sorted({*sys.modules} - before))\n"
    )
    names = done.stdout.split()
    assert not {"collections", "contextlib", "enum", "functools", "re", "typing"} & {*names}
    assert len([name for name in names if name.startswith("spikestore.")]) <= 5


def test_imports_before_a_command_collect_no_cycles() -> None:
    """Collections begin with the command, and skip what the imports created; the interpreter skips all that is alive at its end."""
    done = _run(
        "import gc, sys\n"
        "from spikestore.store.cli.program import program\n"
        "seen = []\n"
        "class Watching:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'typer': seen.append(gc.isenabled())\n"
        "sys.meta_path.insert(0, Watching())\n"
        "sys.argv[1:] = ['--version']\n"
        "assert program() == 0\n"
        "assert seen == [False]\n"
        "assert gc.isenabled()\n"
        "assert gc.get_freeze_count() > 10_000\n"
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_during_a_collection_of_cycles_is_not_lost() -> None:
    """Python drops exceptions of functions that a collection calls: a command went on if Ctrl-C arrived in one.

    The signal and the collection happen in one call of C code, so that no other Python code can receive the signal.
    """
    done = _run(
        "import collections, ctypes, functools, gc, operator, signal, sys\n"
        "from spikestore.store.cli import main\n"
        "from spikestore.store.cli.program import program\n"
        "calls = [functools.partial(ctypes.CDLL(None)['raise'], int(signal.SIGINT)), gc.collect]\n"
        "def command():\n"
        "    collections.deque(map(operator.call, calls), 0)\n"
        "    return 0\n"
        "main.main = command\n"
        "sys.exit(program())\n"
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted; run the same command again to resume\n"


@pytest.mark.parametrize("module", ["torch", "another"])
def test_only_a_command_with_torch_collects_at_its_end(module: str) -> None:
    """Triton prints a list of its objects that the interpreter does not collect, after every `spikestore train`."""
    done = _run(
        "import gc, sys\n"
        "from spikestore.store.cli import main\n"
        "from spikestore.store.cli.program import program\n"
        "kept = []\n"
        "def command():\n"
        f"    sys.modules[{module!r}] = type(sys)({module!r})\n"
        "    kept.append([])\n"
        "    return 0\n"
        "main.main = command\n"
        "program()\n"
        "print(any(one is kept[0] for one in gc.get_objects()))\n"
    )
    assert done.stdout == f"{module == 'torch'}\n", done.stderr


def test_the_console_script_is_the_same_program() -> None:
    project = Path(spikestore.store.__file__).parents[3] / "pyproject.toml"
    module, _, name = tomllib.loads(project.read_text())["project"]["scripts"]["spikestore"].partition(":")
    used = import_module("spikestore.store.__main__").program
    assert getattr(import_module(module), name) is used
