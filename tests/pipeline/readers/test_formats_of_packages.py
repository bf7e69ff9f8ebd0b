"""Formats that other packages register with entry points of the group ``spikestore.formats``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODULE = """
from dataclasses import replace
from spikestore.pipeline.readers.formats.built_in import BUILT_IN
NPY = next(one for one in BUILT_IN if one.name == "npy")
FIRST = replace(NPY, name="own", suffixes=(".own",))
SECOND = replace(NPY, name="own", suffixes=(".other",))
TAKEN = replace(NPY, name="mine")
"""

LIST = """
import logging
logging.basicConfig(format="%(message)s")
from spikestore.pipeline.readers.formats.registry import formats
print(*(name for name in formats() if "." in name))
"""


def listed(folder: Path, **entries: str) -> tuple[str, str]:
    """Return the formats of packages that a new process knows, and the warnings, if a package has these entry points."""
    metadata = folder / "site/format_lab-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: Format_Lab\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {value}" for name, value in entries.items())
    (metadata / "entry_points.txt").write_text(f"[spikestore.formats]\n{points}\n")
    (folder / "site/format_lab.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", LIST], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr.strip()


def test_a_format_is_named_after_its_package(tmp_path: Path) -> None:
    assert listed(tmp_path, own="format_lab:FIRST") == ("format-lab.own", "")


def test_two_formats_of_one_name(tmp_path: Path) -> None:
    """The first in the order of the entry points is used, and a warning names the package."""
    names, warning = listed(tmp_path, a="format_lab:FIRST", b="format_lab:SECOND")
    assert names == "format-lab.own"
    assert warning == (
        "the package format-lab registers two formats with the name format-lab.own: the second format is not used"
    )


def test_a_suffix_that_another_format_has(tmp_path: Path) -> None:
    names, warning = listed(tmp_path, mine="format_lab:TAKEN")
    assert names == ""
    assert "registers a format for .npy, but the format npy already reads these files" in warning
