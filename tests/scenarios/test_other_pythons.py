"""Digests and stored reasons are the same for every Python version and every executor.

`digests.json` pins them, so each Python that runs the test suite is compared with all others. In addition, other Pythons of
this machine that have the packages of the extra ``pipeline`` run the same script. ``TEST_PYTHONS`` names such interpreters,
separated as in ``PATH``; for example, that of a virtual environment with ``pip install '.[pipeline]'``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.scenarios import digests_of_this_python
from tests.scenarios.digests_of_this_python import digests

SCRIPT = Path(digests_of_this_python.__file__)
EXPECTED = json.loads(SCRIPT.with_name("digests.json").read_text(encoding="utf-8"))
ROOT = SCRIPT.parents[2]


def imports(python: str, modules: str) -> bool:
    """Return whether an interpreter has these modules."""
    command = [python, "-c", f"import {modules}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    except OSError:
        return False


def other_pythons() -> dict[str, str]:
    """Return the interpreters of other versions that have the packages, by version."""
    named = [path for path in os.environ.get("TEST_PYTHONS", "").split(os.pathsep) if path]
    on_path = [shutil.which(f"python3.{minor}") for minor in range(11, 20) if minor != sys.version_info.minor]
    pythons: dict[str, str] = {}
    for path in [*named, *filter(None, on_path)]:
        if imports(
            path, "dask, distributed, h5py, numba, numcodecs, obstore, pcodec, pydantic, xxhash, zarr"
        ):
            command = [path, "-c", "import platform; print(platform.python_version())"]
            version = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
            pythons.setdefault(version.strip(), path)
        else:
            assert path not in named, f"TEST_PYTHONS: {path} lacks packages: pip install '.[pipeline]' there"
    return pythons


@pytest.mark.parametrize("executor", ["auto", "tonic"])
def test_digests_of_this_python_are_the_pinned_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """Tonic gives the digests and the words that the compiled pass and NumPy give."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert digests(tmp_path, executor) == EXPECTED  # type: ignore[arg-type]


@pytest.mark.slow
def test_other_pythons_give_the_pinned_digests(tmp_path: Path) -> None:
    """They read this checkout, and their own packages."""
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python with the packages of the extra pipeline: TEST_PYTHONS names some")
    roots = [str(ROOT / part) for part in ("store_schemas", "store", "pipeline")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    for version, python in pythons.items():
        folder = tmp_path / version
        folder.mkdir()
        command = [python, str(SCRIPT), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"Python {version}: {done.stderr}"
        assert json.loads(done.stdout) == EXPECTED, f"Python {version} gives other digests"
