"""The command line as users see it, with commands of a package that exists only for these tests."""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from spikestore.store.cli.main import main

COMMANDS = '''
import logging
from pathlib import Path
from typing import Annotated
import typer
from spikestore.store_schemas.errors import DamagedError, Problem, SpecError, UsageError

def fake_greet(name: Annotated[str, typer.Argument(help="Whom.")], times: int = 1) -> None:
    """Greet somebody.

    Parameters
    ----------
    name : str
        For readers of the code.

    Examples
    --------
    spikestore fake-greet Ada  --times 2
    """
    logging.getLogger("spikestore.fake").debug("a detail")
    logging.getLogger("spikestore.fake").info("about to greet")
    logging.getLogger("spikestore.fake").warning("a doubt")
    for _ in range(times):
        typer.echo(f"hello {name}")

def fake_fail(how: str, restart: bool = False) -> int:
    """Fail."""
    if how == "store":
        raise DamagedError("object x is not what was committed", objects=["x"])
    if how == "spec":
        raise SpecError("r.toml: 2 problems", problems=[Problem("a[0].b", "is wrong"), Problem("c", "is odd")])
    if how == "listed":
        raise SpecError("r.toml: 1 problem\\n  a: is wrong", problems=[Problem("a", "is wrong")])
    if how == "bug":
        raise ZeroDivisionError("two\\nlines")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "late":
        import dask_that_is_not_there
    if how == "late-extra":
        raise ModuleNotFoundError("No module named 'h5py.h5d'", name="h5py.h5d")
    if how == "late-numba":
        raise ModuleNotFoundError("No module named 'numba.core'", name="numba.core")
    if how == "exit":
        raise typer.Exit(1)
    if how == "abort":
        raise typer.Abort
    if how == "parameter":
        raise typer.BadParameter("not that one")
    if how == "socket":
        raise BrokenPipeError(32, "a worker has gone")
    return 7

def fake_loud(quiet: Annotated[int, typer.Option("-q")] = 3) -> None:
    """Mean something else by -q."""
    typer.echo(f"{quiet}")

def fake_flood(how: str) -> None:
    """Write much, line by line or through the buffer."""
    for number in range(200_000):
        typer.echo(f"line {number}") if how == "lines" else print(f"line {number}")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a distribution with commands on the path of this process and of those it starts."""
    (tmp_path / "fake_commands.py").write_text(COMMANDS)
    (tmp_path / "fake_no_h5py.py").write_text(
        "raise ModuleNotFoundError('No module named h5py', name='h5py')\n"
    )
    (tmp_path / "fake_broken.py").write_text("import surely_no_such_module\n")
    (tmp_path / "fake_other.py").write_text("def command() -> None:\n    pass\n")
    metadata = tmp_path / "fake-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[spikestore.commands]\n"
        "fake-greet = fake_commands:fake_greet\n"
        "fake-fail = fake_commands:fake_fail\n"
        "fake-flood = fake_commands:fake_flood\n"
        "fake-loud = fake_commands:fake_loud\n"
        "fake-extra = fake_no_h5py:command\n"
        "fake-broken = fake_broken:command\n"
        "fake-other = fake_other:command\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


def test_commands_of_this_package_are_found_without_a_look_at_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the metadata of every installed package takes longer than the command."""

    def never(**_: str) -> None:
        raise AssertionError("other packages were looked at")

    monkeypatch.setattr(importlib.metadata, "entry_points", never)
    status, output, errors = run(capsys, "ls", "--help")
    assert (status, errors) == (0, [])
    assert "--store" in output


def spikestore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spikestore.store", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


@pytest.mark.parametrize("program", ["script", "module"])
def test_script_and_module_are_one_command(program: str, folder: Path) -> None:
    start = (
        [sys.executable, "-m", "spikestore.store"]
        if program == "module"
        else [str(Path(sys.executable).with_name("spikestore"))]
    )
    done = subprocess.run(
        [*start, "fake-greet", "Ada", "--times", "2"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "hello Ada\nhello Ada\n")
    assert done.stderr == "about to greet\nwarning: a doubt\n"
    assert subprocess.run([*start, "fake-fail", "store"], capture_output=True, check=False).returncode == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"spikestore {version('spikestore')}\n", [])


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_commands_with_their_first_line(
    arguments: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *arguments)
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("│ fake-")}
    assert status == 0
    assert err == []
    assert "Greet somebody." in lines["fake-greet"]
    assert "needs the extra 'pipeline'" in lines["fake-extra"]
    assert "This command cannot be loaded: No module named 'surely_no_such_module'" in lines["fake-broken"]


def test_help_of_a_command_keeps_its_example_as_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "fake-greet", "--help")
    assert status == 0
    assert "spikestore fake-greet Ada  --times 2" in out
    assert "Whom." in out
    assert "readers of the code" not in out


def test_help_is_quick() -> None:
    """It imports nothing that is slow: less than half a second on the slowest machines is the result."""
    heavy = (
        "numpy",
        "zarr",
        "numcodecs",
        "pydantic",
        "h5py",
        "numba",
        "dask",
        "distributed",
        "torch",
        "tonic",
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "spikestore.store", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded.isdisjoint(heavy)


def test_only_the_named_command_is_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "fake-greet", "Ada")
    assert "fake_commands" in sys.modules
    assert "fake_other" not in sys.modules
    run(capsys, "--help")
    assert "fake_other" in sys.modules


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ((), ["about to greet", "warning: a doubt"]),
        (("--verbose",), ["debug: a detail", "about to greet", "warning: a doubt"]),
        (("-q",), ["warning: a doubt"]),
    ],
)
def test_logs_go_to_stderr_by_level(
    flags: tuple[str, ...], shown: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("spikestore")
    before = (logger.level, list(logger.handlers), logger.propagate)
    assert run(capsys, *flags, "fake-greet", "Ada") == (0, "hello Ada\n", shown)
    assert run(capsys, "fake-greet", *flags, "Ada", "--times", "1") == (0, "hello Ada\n", shown)
    assert (logger.level, list(logger.handlers), logger.propagate) == before


def test_a_command_may_mean_something_else_by_the_flags(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "-q", "fake-loud", "-q", "5") == (0, "5\n", [])


@pytest.mark.parametrize(
    ("how", "status", "lines"),
    [
        ("store", 1, ["spikestore: error: object x is not what was committed"]),
        ("spec", 2, ["spikestore: error: r.toml: 2 problems", "  a[0].b: is wrong", "  c: is odd"]),
        ("listed", 2, ["spikestore: error: r.toml: 1 problem", "  a: is wrong"]),
        (
            "bug",
            1,
            [
                "spikestore: unexpected error: ZeroDivisionError: two lines",
                "  this is a bug in spikestore: set SPIKESTORE_DEBUG=1 for the traceback, and please report it",
            ],
        ),
        ("interrupt", 130, ["interrupted; run the same command again to resume"]),
        (
            "late-extra",
            2,
            [
                "spikestore: error: spikestore fake-fail needs the extra 'pipeline': pip install 'spikestore[pipeline]'"
            ],
        ),
        (
            "late-numba",
            2,
            [
                "spikestore: error: spikestore fake-fail needs the extra 'pipeline': pip install 'spikestore[pipeline]'"
            ],
        ),
        ("exit", 1, []),
        ("abort", 1, ["aborted"]),
        ("status", 7, []),
    ],
)
def test_failures_are_a_line_and_a_status(
    how: str, status: int, lines: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "fake-fail", how) == (status, "", lines)


def test_an_interrupted_restart_does_not_say_that_it_resumes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again starts from the beginning; without the option, it goes on with what is stored, which may be older."""
    line = (
        "interrupted; run the same command again to start over, or without --restart to resume what is stored"
    )
    assert run(capsys, "fake-fail", "interrupt", "--restart") == (130, "", [line])


@pytest.mark.parametrize(("how", "name"), [("late", "ModuleNotFoundError"), ("socket", "BrokenPipeError")])
def test_other_failures_are_unexpected_errors(
    how: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "fake-fail", how)
    assert status == 1
    assert err[0].startswith(f"spikestore: unexpected error: {name}: ")


def test_debug_shows_the_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKESTORE_DEBUG", "1")
    status, _, err = run(capsys, "fake-fail", "bug")
    assert status == 1
    assert err[0].startswith("Traceback")
    assert any("fake_commands.py" in line for line in err)


def test_a_missing_extra_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "fake-extra") == (
        2,
        "",
        [
            "spikestore: error: spikestore fake-extra needs the extra 'pipeline': pip install 'spikestore[pipeline]'"
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "message", "see"),
    [
        (
            ("fake-grete", "Ada"),
            "No such command 'fake-grete'. Did you mean 'fake-greet'",
            "spikestore --help",
        ),
        (("--verbos", "fake-greet"), "No such option: --verbos", "spikestore fake-greet --help"),
        (("fake-greet",), "Missing argument", "spikestore fake-greet --help"),
        (("fake-greet", "Ada", "--tims", "2"), "No such option: --tims", "spikestore fake-greet --help"),
        (("fake-fail", "parameter"), "not that one", "spikestore fake-fail --help"),
        (("-v", "-q", "fake-greet", "Ada"), "cannot be combined: pass one", "spikestore fake-greet --help"),
        (("fake-greet", "Ada", "-q", "-v"), "cannot be combined: pass one", "spikestore fake-greet --help"),
    ],
)
def test_wrong_use_is_status_2(
    arguments: tuple[str, ...],
    message: str,
    see: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err[0].startswith("spikestore: error: ")
    assert message in err[0]
    assert err[1:] == [f"  see: {see}"]


@pytest.mark.parametrize("how", ["lines", "buffer"])
def test_a_reader_that_leaves_is_no_drama(how: str, folder: Path) -> None:
    flood = subprocess.Popen(
        [sys.executable, "-m", "spikestore.store", "fake-flood", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert flood.stdout is not None
    assert flood.stderr is not None
    with flood:
        assert flood.stdout.readline() == "line 0\n"
        flood.stdout.close()
        assert flood.stderr.read() == ""
    assert flood.returncode == 1


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, spikestore.store.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"dask", "distributed", "h5py", "numpy", "obstore", "tonic", "torch", "zarr"}
    assert not heavy & set(done.stdout.split())
