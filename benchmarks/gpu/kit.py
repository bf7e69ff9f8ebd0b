"""Packages for ``benchmarks.gpu``: those of the checkout, and those that `wheels.sh` packed for a machine without a registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.parts import ROOT

PORTIONS = ("store_schemas", "store", "pipeline", "train")
KIT = ".kit"
"""Folder at the top of the checkout that `wheels.sh` fills: ``wheels``, ``sources``."""


def unpack(kit: Path, site: Path) -> str | None:
    """Install the wheels of a kit into a folder, without a registry.

    Parameters
    ----------
    kit : Path
        Folder that ``wheels.sh`` created.
    site : Path
        Folder to install into; nothing is done if the same wheels are already installed there.

    Returns
    -------
    str or None
        Reason of a failure: the last line of pip's output.
    """
    wheels = sorted((kit / "wheels").glob("*.whl"))
    stamp, names = site / ".installed", "\n".join(wheel.name for wheel in wheels)
    if not wheels or (stamp.is_file() and stamp.read_text(encoding="utf-8") == names):
        return None
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = [
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--upgrade",
        "--target",
        str(site),
    ]
    done = subprocess.run(
        [*pip, *options, *map(str, wheels)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["pip did not say why"])[-1]
    stamp.write_text(names, encoding="utf-8")
    return None


def environment_of_parts(site: Path) -> dict[str, str]:
    """Return the environment variables for the parts of ``benchmarks.gpu``: the checkout's code takes precedence over an installed wheel.

    Nevertheless, the kit contains a wheel of the project, because the command line finds its sub-commands in the
    wheel's metadata.
    """
    own = [str(ROOT / portion) for portion in PORTIONS]
    paths = [*own, str(ROOT), *([str(site)] if site.is_dir() else []), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        # jax would take three quarters of the GPU's memory at its start, beside torch.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
