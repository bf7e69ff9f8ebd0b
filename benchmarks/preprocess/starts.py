"""Rows that count from the start of a process."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.bench import Bench
from benchmarks.form import Row, compare, timed


def second_run(bench: Bench) -> Row:
    """A run with nothing to do, against ``python -c "import zarr"``, in seconds."""
    recipe = bench.scratch / "again.toml"
    recipe.write_text(bench.data.recipe_text(min(10_000, bench.many)), encoding="utf-8")
    call = ("preprocess", recipe, "--data", bench.data.folder, "--store", bench.store(), "--workers", "2")
    command(*call)
    time.sleep(2.1)  # files that are younger are hashed again, as git does it
    command(*call)
    return compare(
        Row("second_run_vs_import_zarr", 3.0, better="lower"),
        lambda: timed(lambda: command(*call)),
        lambda: timed(lambda: subprocess.run([sys.executable, "-c", "import zarr"], check=True)),
        unit="s",
    )


def command(*arguments: object) -> None:
    """Run the command line in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "spikestore.store", "--quiet", *map(str, arguments)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
