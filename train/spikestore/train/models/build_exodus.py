"""Builds EXODUS (``sinabs-exodus``) against the torch and CUDA that are installed: ``python -m spikestore.train.models.build_exodus``.

The package is published as source only, and its ``setup.py`` imports torch, which pip's build isolation hides. With a CPU
build of torch, ``setup.py`` fails with a message about ``CUDA_HOME``, even if this variable is set. Therefore this module
first looks for torch, Sinabs and a toolkit of the same CUDA as torch, and reports the first one that is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from spikestore.store_schemas.errors import MissingExtraError, SpikestoreError, UsageError

EXODUS = "sinabs-exodus==2.0.0"


def main() -> int:
    """Build EXODUS unless it works already; return the exit status."""
    try:
        if find_spec("exodus_cuda") is None or not works():
            build(find_toolkit())
    except SpikestoreError as error:
        sys.stderr.write(f"spikestore: error: {error}\n")
        return error.exit_code
    sys.stderr.write("spikestore: the backend 'exodus' works on this machine\n")
    return 0


def find_toolkit() -> Path:
    """Return the folder of the CUDA toolkit to build with.

    Raises
    ------
    MissingExtraError
        torch or Sinabs is not installed.
    UsageError
        torch was built without CUDA; no toolkit was found; or the first one that was found has another major version of CUDA than torch.
    """
    for name in ("torch", "sinabs"):
        if find_spec(name) is None:
            raise MissingExtraError(
                f"exodus needs {name}: pip install 'spikestore[train]' first", extra="train", module=name
            )
    import torch

    wanted = torch.version.cuda
    if wanted is None:
        raise UsageError(
            f"exodus needs CUDA, but torch {torch.__version__} was built without it: install a CUDA build of torch, or "
            "use the backend 'fused'"
        )
    major = wanted.partition(".")[0]
    home = _home()
    if home is None:
        raise UsageError(
            "exodus is compiled with nvcc, which is not in $CUDA_HOME, on the PATH or in /usr/local/cuda: install a CUDA toolkit "
            f"{major} (torch was built with CUDA {wanted}), or use the backend 'fused'"
        )
    toolkit = _version(home)
    if toolkit is None or toolkit.partition(".")[0] != major:
        raise UsageError(
            f"torch was built with CUDA {wanted}, but {home} has {toolkit or 'an nvcc that does not run'}: set CUDA_HOME "
            f"to a toolkit of CUDA {major}, or use the backend 'fused'"
        )
    return home


def works() -> bool:
    """Return whether EXODUS can be imported in a new process."""
    code = "import torch, exodus_cuda, sinabs.exodus.layers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)  # noqa: S603 a fixed command
    return done.returncode == 0


def build(toolkit: Path) -> None:
    """Compile and install EXODUS, which takes some minutes.

    Raises
    ------
    SpikestoreError
        EXODUS did not compile, or can't be imported; the compiler's output was shown.
    """
    environment = {**os.environ, "CUDA_HOME": str(toolkit)}
    import torch

    if "TORCH_CUDA_ARCH_LIST" not in environment and torch.cuda.is_available():
        environment["TORCH_CUDA_ARCH_LIST"] = "{}.{}".format(*torch.cuda.get_device_capability())
    pip = [sys.executable, "-m", "pip", "install"]
    steps = (
        [*pip, "--quiet", "setuptools", "wheel", "ninja"],
        [*pip, "--no-build-isolation", "--no-deps", "--no-cache-dir", EXODUS],
    )
    for step in steps:
        if subprocess.run(step, env=environment, check=False).returncode != 0:  # noqa: S603 a fixed command
            raise SpikestoreError(f"can't build exodus: {' '.join(step[2:])} failed; its output is above")
    if not works():
        raise SpikestoreError(
            "exodus was built but can't be imported: to see the cause, run python -c 'import torch, exodus_cuda'"
        )


def _home() -> Path | None:
    nvcc = shutil.which("nvcc")
    candidates = [
        os.environ.get("CUDA_HOME"),
        os.environ.get("CUDA_PATH"),
        nvcc and str(Path(nvcc).resolve().parents[1]),
        "/usr/local/cuda",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "bin" / "nvcc").is_file():
            return Path(candidate)
    return None


def _version(home: Path) -> str | None:
    """Return the version that nvcc reports, such as "13.0"."""
    try:
        command = [str(home / "bin" / "nvcc"), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 a compiler
    except OSError:
        return None
    release = re.search(r"release (\d+\.\d+)", answer.stdout)
    return release and release[1]


if __name__ == "__main__":
    sys.exit(main())
