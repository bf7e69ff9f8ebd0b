"""Install the wheel with each extra, and the sdist, into clean environments on every Python at hand, and use them.

    make wheels                                        # all of it: minutes, and a download of PyTorch for each Python
    python -m tests.packaging.clean_installs pipeline train

Arguments are extras, by default all (``base`` means none). Pythons are ``python3.11`` and later on the PATH, and those that ``TEST_PYTHONS`` names, separated
as in ``PATH``. Each environment imports every module that its extras promise, so a requirement that pyproject.toml forgets is an error, and runs commands.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"

IMPORT_ALL = """
import importlib, pkgutil, sys
optional = set(sys.argv[1].split(","))
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    if not name.startswith("spikestore."):
        continue  # a library: not every module of it is for us
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if any(part in module.name for part in (".testing", ".gpu", "__main__")):  # hypothesis, Triton, a command
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in optional:
                raise
"""
OPTIONAL = {
    "base": "numba,llvmlite,matplotlib",
    "plots": "numba,llvmlite",
    "pipeline": "matplotlib,PIL,vl_convert,aedat,hdf5plugin,tonic,torch",
    "pipeline,report": "matplotlib,aedat,hdf5plugin,tonic,torch",
    "train": "matplotlib",
    "all": "matplotlib,hdf5plugin",
}
"""Packages that a module may lack although its own package is installed: for compiled code (two extras have numba), plots, and formats of Tonic and others."""

STORE = ("spikestore.store_schemas", "spikestore.store")
IMPORTED = {
    "base": STORE,
    "pipeline": (*STORE, "spikestore.pipeline"),
    "formats": (*STORE, "aedat"),
    "tonic": (*STORE, "tonic.transforms", "tonic.datasets"),
    "hdf5-filters": (*STORE, "hdf5plugin"),
    "plots": (*STORE, "matplotlib"),
    "pipeline,report": (*STORE, "spikestore.pipeline", "vl_convert"),
    "train": (*STORE, "spikestore.train"),
    "all": (*STORE, "spikestore.pipeline", "spikestore.train", "aedat", "tonic.transforms"),
}
"""Modules that each extra, or several together, make importable."""

BUILD = (
    ("demo-data", "data", "--train", "20", "--valid", "8", "--test", "8"),
    ("preprocess", "demo", "--data", "data", "--name", "demo", "--store", "store"),
    ("verify", "--deep", "--store", "store"),
)
REPORT = ("report", "demo", "--store", "store")
TRAIN = (
    ("train", "run.toml", "--epochs", "1", "--store", "store", "--device", "cpu"),
    ("evaluate", "runs/run/best.pt", "--split", "test", "--store", "store"),
)
COMMANDS = {
    "pipeline": BUILD,
    "pipeline,report": (*BUILD, REPORT),
    "train": TRAIN,
    "all": (*BUILD, REPORT, *TRAIN),
}
"""Commands that each extra makes possible; `train` reads the store that `pipeline` wrote."""


def main(*chosen: str) -> int:
    """Print a line for each environment; return 1 if one fails."""
    unknown = set(chosen) - set(IMPORTED)
    if unknown:
        raise SystemExit(f"unknown extras: {', '.join(sorted(unknown))}; there are {', '.join(IMPORTED)}")
    wanted = set(chosen) | (
        {"pipeline"} if "train" in chosen else set()
    )  # pipeline writes the store for train
    failed = 0
    with tempfile.TemporaryDirectory(prefix="spikestore-wheels-") as folder:
        wheel, sdist = build(Path(folder))
        for python in pythons():
            work = Path(folder) / "work"
            work.mkdir()
            (work / "run.toml").write_text(
                '[data]\nname = "demo"\n[network]\nhidden = [8]\n', encoding="utf-8"
            )
            for extra in IMPORTED:
                if not wanted or extra in wanted:
                    failed += not _tried(python, wheel, extra, work)
            failed += not _tried(python, sdist, "base", work)
            shutil.rmtree(work)
    return min(failed, 1)


def build(folder: Path) -> tuple[Path, Path]:
    """Build the wheel and the sdist; assert that a wheel built from the sdist has the same files.

    Raises
    ------
    AssertionError
        If they differ.
    """
    _run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)
    )  # the wheel from the sdist
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    direct = folder / "direct"
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(direct), str(ROOT))
    contents = [_contents(path) for path in (wheel, *direct.glob("*.whl"))]
    different = {name for name in contents[0] | contents[1] if contents[0].get(name) != contents[1].get(name)}
    assert not different, f"the sdist gives another wheel than the checkout: {sorted(different)}"
    return wheel, sdist


def pythons() -> Iterator[str]:
    """Yield interpreters of different versions."""
    named = [path for path in os.environ.get("TEST_PYTHONS", "").split(os.pathsep) if path]
    versions = set()
    for python in [*named, *(f"python3.{minor}" for minor in range(11, 20))]:
        found = shutil.which(python)
        if found is None:
            continue
        done = subprocess.run(
            [found, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if done.returncode == 0 and done.stdout not in versions:
            versions.add(done.stdout)
            yield found


def _tried(python: str, package: Path, extra: str, work: Path) -> bool:
    environment = work / "environment"
    began = time.monotonic()
    try:
        _run(python, "-m", "venv", str(environment))
        path = environment / "bin/python"
        pip = (
            str(path),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            str(CONSTRAINTS),
        )
        _run(*pip, f"{package}[{extra}]" if extra != "base" else str(package))
        if extra in {"tonic", "all"}:
            _run(*pip, "--no-deps", "tonic", "importRosbag")
        _run(
            str(path),
            "-W",
            "ignore",
            "-c",
            IMPORT_ALL,
            OPTIONAL.get(extra, OPTIONAL["base"]),
            *IMPORTED[extra],
            cwd=work,
        )
        for command in (("doctor",), *COMMANDS.get(extra, ())):
            _run(str(environment / "bin/spikestore"), *command, cwd=work)
        answer = "ok"
    except subprocess.CalledProcessError as error:
        answer = f"FAILED\n{error.stdout}"
    shutil.rmtree(environment, ignore_errors=True)
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    sys.stdout.write(
        f"{version}  {package.suffix[1:]:4} {extra:13} {time.monotonic() - began:6.0f} s  {answer}\n"
    )
    sys.stdout.flush()
    return answer == "ok"


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(
        command,
        cwd=cwd,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
