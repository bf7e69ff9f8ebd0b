"""Benchmarks with camera recordings, with folders of recordings, and with sets that grow: ``python -m benchmarks.datasets [--rows NAME,NAME] [--size small|full] [--json FILE]``.

Each row of the table compares two programs, or two builds, on the same files and with the same number of workers. The
files are in the page cache. The full size writes 10 GB of recordings into the folder of ``TMPDIR``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.datasets import against_spikingjelly as spikingjelly
from benchmarks.datasets import against_tonic as tonic
from benchmarks.datasets.evt3 import evt3_frames
from benchmarks.datasets.growing import (
    growing_bound,
    growing_end,
    growing_middle,
    growing_middle_bound,
)
from benchmarks.datasets.scale import Scale
from benchmarks.form import arguments, measured, report, wanted_rows

ROWS = [
    tonic.nmnist_tonic_filling,
    tonic.gesture_tonic_filling,
    tonic.nmnist_tonic_bytes,
    tonic.gesture_tonic_bytes,
    tonic.nmnist_tonic_loading,
    tonic.gesture_tonic_loading,
    spikingjelly.nmnist_spikingjelly_filling,
    spikingjelly.gesture_spikingjelly_filling,
    spikingjelly.nmnist_spikingjelly_bytes,
    spikingjelly.nmnist_spikingjelly_bytes_of_bins,
    spikingjelly.gesture_spikingjelly_bytes,
    spikingjelly.gesture_spikingjelly_bytes_of_bins,
    spikingjelly.nmnist_spikingjelly_loading,
    spikingjelly.gesture_spikingjelly_loading,
    evt3_frames,
    growing_end,
    growing_middle,
    growing_bound,
    growing_middle_bound,
]


def main() -> None:
    """Run the selected rows."""
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
