"""Separate environments of peers, so that no peer replaces torch or Zarr with another build.

Most environments include the packages of the interpreter that runs this module. If a peer needs another Python or
another Zarr, its environment has only its own packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

FOLDER = Path(os.environ.get("SPIKESTORE_PEERS") or Path(__file__).parents[2] / ".peers")
"""Folder of the environments; $SPIKESTORE_PEERS may name another folder."""


@dataclass(frozen=True)
class Environment:
    """Requirements of a peer.

    Attributes
    ----------
    module : str
        Module that is imported to check whether the peer is installed.
    requirements : tuple of str
        Requirements for pip, with versions.
    alone : tuple of str
        Requirements that are installed without their dependencies, which the peer's steps don't need.
    """

    module: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    """Commands of interpreters; the first command that works is used. An environment of such an interpreter sees none of the
    packages of the interpreter that runs this module."""


ENVIRONMENTS = {
    "annbatch": Environment(
        "annbatch",
        ("annbatch[zarrs]==0.3.1", "zarr>=3.4,<4", "zarrs>=0.2,<0.3"),
        pythons=("python3.12", "python3.13", "python3.14"),
    ),
    "eventcv": Environment("eventcv", ("eventcv==1.0.8",)),
    "jax": Environment("jax", ("jax>=0.6,<0.13",)),
    "litdata": Environment(
        "litdata", ("lightning-utilities", "boto3", "requests", "tifffile", "filelock"), ("litdata==0.2.76",)
    ),
    "spikingjelly": Environment(
        "spikingjelly.activation_based.neuron",
        ("loguru>=0.7,<1", "scipy", "matplotlib", "tqdm", "packaging", "requests", "h5py"),
        ("spikingjelly==2.0.0",),
    ),
}
"""Environments by the name of the peer. On a GPU, jax must be the build for the GPU's version of CUDA: ``pip install 'jax[cuda13]'`` in its environment."""


def python_of(name: str) -> Path | str:
    """Return the interpreter of a peer's environment, or the interpreter that runs this module if the peer has no environment."""
    folder = FOLDER / name
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return found if found.exists() else sys.executable


def make(name: str) -> None:
    """Make a peer's environment, or bring it up to date.

    If the peer needs another Python or another Zarr (`Environment.pythons`), the environment has only its own packages. In all
    other cases, the environment includes the packages of the interpreter that runs this module. pip adds the missing
    packages; it replaces none.

    Raises
    ------
    subprocess.CalledProcessError
        pip did not find a requirement. The output of pip is shown.
    FileNotFoundError
        None of the Python versions that the peer supports is installed.
    """
    environment = ENVIRONMENTS[name]
    folder = FOLDER / name
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if environment.pythons:
        subprocess.run([_first_working(environment.pythons), "-m", "venv", str(folder)], check=True)
        python = str(python_of(name))
        subprocess.run([python, *pip, *environment.requirements], check=True)
        subprocess.run([python, "-c", f"import {environment.module}"], check=True)
        return
    venv.create(folder, with_pip=True, system_site_packages=sys.prefix == sys.base_prefix)
    python = str(python_of(name))
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # `addsitedir` follows the path files there too: the project itself, where it is installed for editing.
    seen = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    text = "import site; " + "; ".join(f"site.addsitedir({path!r})" for path in seen)
    (Path(site) / "_packages_here.pth").write_text(text + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        held = Path(temporary) / "held.txt"
        held.write_text("".join(f"{one.name}=={one.version}\n" for one in _installed()), encoding="utf-8")
        subprocess.run([python, *pip, "-c", str(held), *environment.requirements], check=True)
        if environment.alone:
            subprocess.run([python, *pip, "--no-deps", *environment.alone], check=True)
    subprocess.run([python, "-c", f"import {environment.module}"], check=True)


def _first_working(pythons: tuple[str, ...]) -> str:
    """Return the first command of `pythons` that runs; $SPIKESTORE_PEERS_PYTHON, if set, comes first."""
    for command in (os.environ.get("SPIKESTORE_PEERS_PYTHON", ""), *pythons):
        path = shutil.which(command) if command else None
        if path and not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
            return path
    raise FileNotFoundError(
        f"needs one of {', '.join(pythons)} on the PATH, or SPIKESTORE_PEERS_PYTHON=/path/to/python"
    )


def _installed() -> list[Distribution]:
    """Return the installed distributions without spikestore, pip and setuptools, sorted by name; of equal names, only one."""
    found = {one.name.lower(): one for one in distributions() if one.name}
    return [one for name, one in sorted(found.items()) if name not in ("spikestore", "pip", "setuptools")]
