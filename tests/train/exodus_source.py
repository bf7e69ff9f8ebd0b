"""Downloads the Python part of sinabs-exodus, to test the backend without its kernels.

python tests/train/exodus_source.py FOLDER
python tests/train/exodus_source.py --archive FOLDER

`make test` runs it once, at set-up; tests use no network. The source distribution's ``setup.py`` imports torch and needs a
CUDA toolkit, although pip runs it only for the package's metadata. So it gets a module with the few names that it uses in
place of torch, and nothing is built or installed. With ``--archive`` the folder gets the source distribution itself, which
``benchmarks/gpu/wheels.sh`` packs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

REQUIREMENT = (
    "sinabs-exodus==2.0.0 --hash=sha256:4d4e61da73aa7031a0b6be030afb9035a120b15dacfa9e034ff18006cefd37a5"
)

_IN_PLACE_OF_TORCH = """
from setuptools import Extension
from setuptools.command.build_ext import build_ext


class BuildExtension(build_ext):
    @classmethod
    def with_options(cls, **options):
        return cls


def CUDAExtension(name, sources, **options):
    return Extension(name, sources)


def get_compiler_abi_compatibility_and_version(compiler):
    return True, None
"""


def download(folder: Path) -> Path:
    """Put the source distribution into a folder; return its path.

    Raises
    ------
    subprocess.CalledProcessError
        pip did not get it.
    """
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        shown = temporary / "shown" / "torch" / "utils"
        shown.mkdir(parents=True)
        for package in (shown.parent, shown):
            (package / "__init__.py").touch()
        (shown / "cpp_extension.py").write_text(_IN_PLACE_OF_TORCH)
        (temporary / "requirement.txt").write_text(REQUIREMENT)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = [
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            ":all:",
            "--retries",
            "1",
            "--timeout",
            "15",
        ]
        subprocess.run(
            [*pip, *options, "-d", str(folder), "-r", str(temporary / "requirement.txt")],
            env={**os.environ, "PYTHONPATH": str(temporary / "shown")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    (archive,) = folder.glob("*.tar.gz")
    return archive


def fetch(folder: Path) -> None:
    """Put ``sinabs/exodus`` into a folder.

    Raises
    ------
    subprocess.CalledProcessError
        pip did not get it.
    """
    with tempfile.TemporaryDirectory() as name, tarfile.open(download(Path(name))) as packed:
        for member in packed:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if path.suffix == ".py" and path.parts[:2] == ("sinabs", "exodus"):
                packed.extract(member.replace(name=str(path), deep=False), folder, filter="data")


def main(*arguments: str) -> int:
    """Download, and report the result; return an exit status."""
    *archive, folder = arguments
    try:
        (download if archive else fetch)(Path(folder))
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["pip did not say why"]
        sys.stderr.write(f"sinabs-exodus could not be fetched, and will be left out: {last[0]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
