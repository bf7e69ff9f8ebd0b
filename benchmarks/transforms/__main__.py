"""Transforms: ``python -m benchmarks.transforms [--rows NAME,NAME] [--size small|full] [--json FILE]``.

Recordings are random and in memory, so that a row measures the transform and no reading. A row
compares two computations; each of them uses one core.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.datasets.scale import Scale
from benchmarks.form import PINNED, arguments, measured, report, wanted_rows

os.environ.update(PINNED)

from benchmarks.transforms.rows import ROWS  # numba reads its number of threads once


def main() -> None:
    """Run the selected rows."""
    options = arguments(__doc__ or "")
    wanted = wanted_rows(ROWS, options)
    with tempfile.TemporaryDirectory() as folder:
        scale = Scale(Path(folder), options.size == "small")
        report("transforms", measured(wanted, lambda row: row(scale)), {"size": options.size}, options)


if __name__ == "__main__":
    main()
