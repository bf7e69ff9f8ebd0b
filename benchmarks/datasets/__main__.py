"""Getting recordings in: ``python -m benchmarks.datasets [--rows NAME,NAME] [--size small|full] [--json FILE]``.

Both sides of a row read the same files, warm in the page cache, with the same number of workers. The full size writes
10 GB of recordings into the folder of ``TMPDIR``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.datasets.growing import growing_end, growing_middle
from benchmarks.datasets.scale import Scale
from benchmarks.form import arguments, measured, report, wanted_rows

ROWS = [growing_end, growing_middle]


def main() -> None:
    """Run the rows that were asked for."""
    options = arguments(__doc__ or "", more=_sizes)
    wanted = wanted_rows(ROWS, options)
    with tempfile.TemporaryDirectory() as folder:
        scale = Scale(Path(folder), options.size == "small", options.recordings, options.events)
        rows = measured(wanted, lambda row: row(scale))
        report("datasets", rows, {"recordings": options.recordings, "events": options.events}, options)


def _sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recordings", type=int, help="recordings of a row, instead of its own number")
    parser.add_argument(
        "--events", type=int, help="events of each recording, instead of the row's own number"
    )


if __name__ == "__main__":
    main()
