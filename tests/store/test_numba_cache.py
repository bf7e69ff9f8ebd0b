"""Cached machine code belongs to the current sources, and a fault of the cache costs only time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

INNER = """
import numba
STEP = {step}
@numba.njit
def inner(x):
    return x + STEP
"""
OUTER = """
from numba import types
from spikestore.probe.inner import inner
from spikestore.store.numba_cache import cached_cfunc, cached_njit

def add(x):
    return inner(x)

def callback(x):
    return inner(x)

added = cached_njit(add, nogil=True)
called = cached_cfunc(types.int64(types.int64), callback)
"""
RUN = """
import logging, sys
logging.basicConfig(format="%(message)s")
{first}
import spikestore
spikestore.__path__.append({folder!r})
from spikestore.probe import outer
print(outer.added(1), outer.called.ctypes(1), sum(outer.added.stats.cache_hits.values()) + outer.called.cache_hits)
"""
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))"


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """Return a folder with a module that has compiled functions, and one that it imports."""
    folder = tmp_path / "spikestore" / "probe"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "inner.py").write_text(INNER.format(step=1))
    (folder / "outer.py").write_text(OUTER)
    return folder


def run(probe: Path, *, first: str = "") -> tuple[list[int], str]:
    """Call the compiled functions in another process; return results and number of cache hits, and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(first=first, folder=str(probe.parent))],
        # Python would use the former bytecode of a source that is written twice within a second.
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(probe.parents[1] / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in done.stdout.split()], done.stderr


@pytest.mark.slow
def test_code_follows_all_sources_that_it_is_made_of(probe: Path) -> None:
    assert run(probe) == ([2, 2, 0], "")
    assert run(probe) == ([2, 2, 2], "")
    (probe / "inner.py").write_text(INNER.format(step=5))
    assert run(probe) == ([6, 6, 0], "")
    (folder,) = (probe.parents[1] / "cache").glob("*/outer-*")  # the code of the former sources is gone
    assert len(list(folder.glob("*.nbc"))) == 2


@pytest.mark.slow
def test_damaged_code_is_dropped_with_a_warning_that_names_it(probe: Path) -> None:
    """Damage of the index, or of the code."""
    run(probe)
    for name in ("outer.add-*.nbi", "outer.callback-*.nbc"):
        (file,) = (probe.parents[1] / "cache").rglob(name)
        file.write_bytes(file.read_bytes()[:-20])
    numbers, said = run(probe)
    assert numbers == [2, 2, 0]
    assert "outer.add-" in said
    assert "outer.callback-" in said
    assert said.count("cannot load compiled code") == 2
    assert run(probe) == ([2, 2, 2], "")  # written again


def damage(file: Path, how: str) -> None:
    """Damage a file of the cache, or replace it by something else."""
    content = file.read_bytes()
    if how == "flipped":  # one bit of the code, which nothing else would notice
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "former":  # as numba writes them
        file.write_bytes(content[32:])
    else:
        file.unlink()
        os.mkfifo(file)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "empty", "former", "pipe"])
def test_a_changed_code_file_is_never_run(probe: Path, how: str) -> None:
    """After a change of index or code, functions are compiled again, with one warning that names the file."""
    run(probe)
    cache = probe.parents[1] / "cache"
    damaged = [next(cache.rglob(name)) for name in ("outer.add-*.nbc", "outer.callback-*.nbi")]
    for file in damaged:
        damage(file, how)
    numbers, said = run(probe)
    assert numbers == [2, 2, 0]
    for file in damaged:
        assert said.count(str(file)) == 1
    assert len(said.splitlines()) == 2
    assert run(probe) == ([2, 2, 2], "")  # written again


def test_code_that_cannot_be_written_is_compiled_and_one_warning_says_so(probe: Path) -> None:
    """On a full disk, for example: the folder can be created, its files can't."""
    numbers, said = run(probe, first=SMALL_FILES)
    assert numbers == [2, 2, 0]
    assert said.count("cannot write compiled code to") == 1
    assert "set NUMBA_CACHE_DIR" in said
