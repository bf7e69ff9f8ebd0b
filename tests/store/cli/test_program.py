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


def test_a_short_command_collects_no_cycles() -> None:
    """No collection runs before its end; the interpreter skips what is alive; the first collection restores the rate."""
    done = _run(
        "import gc, sys\n"
        "from spikestore.store.cli.program import program\n"
        "sys.argv[1:] = ['--help']\n"
        "count = lambda: sum(one['collections'] for one in gc.get_stats())\n"
        "rate, before = gc.get_threshold(), count()\n"
        "status = program()\n"
        "assert status == 0 and count() == before, count() - before\n"
        "assert gc.get_freeze_count() > 10_000\n"
        "assert gc.get_threshold() != rate\n"
        "gc.collect()\n"
        "assert gc.get_threshold() == rate\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_command_with_torch_collects_at_its_end() -> None:
    """Triton prints a list of its objects that the interpreter does not collect, after every `spikestore train`."""
    done = _run(
        "import gc, sys\n"
        "from spikestore.store.cli.program import program\n"
        "sys.argv[1:] = ['--version']\n"
        "sys.modules['torch'] = type(sys)('torch')\n"
        "program()\n"
        "assert gc.get_freeze_count() == 0, gc.get_freeze_count()\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_chosen_rate_of_collections_stays() -> None:
    """A package that sets its own rate in a command keeps it after the first collection."""
    done = _run(
        "import gc, sys\n"
        "from spikestore.store.cli.program import program\n"
        "sys.argv[1:] = ['--version']\n"
        "program()\n"
        "gc.set_threshold(5000)\n"
        "gc.collect()\n"
        "assert gc.get_threshold()[0] == 5000\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_console_script_is_the_same_program() -> None:
    project = Path(spikestore.store.__file__).parents[3] / "pyproject.toml"
    module, _, name = tomllib.loads(project.read_text())["project"]["scripts"]["spikestore"].partition(":")
    used = import_module("spikestore.store.__main__").program
    assert getattr(import_module(module), name) is used
