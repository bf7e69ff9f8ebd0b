"""A build in unusual environments: the same digest, or one line that says what is missing; never a traceback."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.faults.effort import LONG
from tests.scenarios.command_runs import Commands, Done, digests, ending, write_recipe
from tests.scenarios.conftest import Built

from spikestore.store import Store, verify


class Environment(NamedTuple):
    """What is unusual: shell commands before the build, redirections, and variables (None: not set)."""

    before: str = ""
    redirections: str = ""
    variables: dict[str, str | None] = {}  # noqa: RUF012 - never changed
    may_fail: bool = False


ENVIRONMENTS = {
    "no HOME": Environment(variables={"HOME": None}),
    "HOME does not exist": Environment(variables={"HOME": "/nonexistent/home"}),
    "cache cannot be written": Environment(variables={"XDG_CACHE_HOME": "/dev/null/cache"}),
    "umask 000": Environment("umask 000"),
    "umask 077": Environment("umask 077"),
    "locale C": Environment(variables={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "locale POSIX": Environment(variables={"LC_ALL": "POSIX"}),
    "locale tr_TR": Environment(variables={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "stdin closed": Environment(redirections="<&-"),
    "stdout closed": Environment(redirections=">&-"),
    "stderr closed": Environment(redirections="2>&-"),
    "all streams closed": Environment(redirections="<&- >&- 2>&-"),
    "any processor": Environment(variables={"NUMBA_CPU_NAME": "generic"}),
    "64 open files": Environment("ulimit -n 64"),
    "24 open files": Environment("ulimit -n 24", may_fail=True),
    "2 GB of memory": Environment("ulimit -v 2000000", may_fail=True),
    "600 MB of memory": Environment("ulimit -v 600000", may_fail=True),
}

IN_CI = ("no HOME", "umask 077", "locale C", "all streams closed", "24 open files", "600 MB of memory")


def preprocess(commands: Commands, recipe: Path, environment: Environment) -> Done:
    """Build in an environment."""
    variables = {**commands.variables, **environment.variables}
    command = [
        sys.executable,
        "-m",
        "spikestore.store",
        "preprocess",
        str(recipe),
        "--store",
        "store",
        "--workers",
        "0",
    ]
    before = f"{environment.before}; " if environment.before else ""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"{before}exec {shlex.join(command)} {environment.redirections}"],
        cwd=commands.folder,
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with ending(process):
        out, err = process.communicate(timeout=300)
    return Done(process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS if LONG else IN_CI)
def test_build(commands: Commands, built: Built, demo: Path, name: str) -> None:
    """The build has the digest of an undisturbed build; a build that fails succeeds later in a usual environment."""
    environment = ENVIRONMENTS[name]
    recipe = write_recipe(commands.folder / "r.toml", source=f'data = "{demo}"\nsplits = ["valid"]')
    done = preprocess(commands, recipe, environment)
    assert "Traceback" not in done.err
    if environment.may_fail and done.status == 1:
        assert sum("error" in line for line in done.err.splitlines()) == 1, done
        assert "ulimit" in done.err, done
        done = preprocess(commands, recipe, Environment())
    assert done.status == 0, done
    assert digests(commands.folder / "store", "r") == {"valid": digests(built.store, "demo")["valid"]}
    assert verify(Store(commands.folder / "store")["r:valid"], depth="deep") == []
    modes = {path.stat().st_mode & 0o077 for path in (commands.folder / "store").rglob("*")}
    if name == "umask 077":
        assert modes == {0}
