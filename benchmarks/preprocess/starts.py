"""Rows that measure whole processes, including their start.

Times are in seconds of processor time, which varies far less than wall time on a busy machine. Each side of a comparison is
one process with cached byte code. A row has seven rounds, and shows the lowest and the median time of each side. In the same
rounds, a third process only imports the libraries that the command needs (``libraries_s``): the command can't take less.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.form import Row

ROUNDS = 7
FIRST_FRAGMENT = 64
"""Number of recordings of one fragment."""
LIBRARIES = "import platformdirs, rfc8785, typer; from pydantic import BaseModel, Field, TypeAdapter"
"""Imports of the libraries that every ``spikestore preprocess`` needs."""


def first_fragment(bench: Bench) -> Row:
    """Compare the processor time to build a set of one fragment with that of ``python -c "import numba, h5py"``."""
    recipe = bench.scratch / "first.toml"
    recipe.write_text(bench.data.recipe_text(FIRST_FRAGMENT), encoding="utf-8")

    def ours() -> list[object]:
        return ["-m", "spikestore.store", "--quiet", *_preprocess(bench, recipe, bench.store())]

    return _compared(
        Row("first_fragment_vs_import_numba_h5py", 1.5, 1.2, better="lower"),
        ours,
        "import numba, h5py",
        f"import google_crc32c, h5py, numpy, pcodec, xxhash; {LIBRARIES}",
    )


def second_run(bench: Bench) -> Row:
    """Processor time of ``preprocess`` if all sets are in the store, against ``python -c "import zarr"``."""
    recipe = bench.scratch / "again.toml"
    recipe.write_text(bench.data.recipe_text(min(10_000, bench.many)), encoding="utf-8")
    call = _preprocess(bench, recipe, bench.store())
    command(*call)
    time.sleep(2.1)  # files that are younger are hashed again, as in git
    command(*call)
    return _compared(
        Row("second_run_vs_import_zarr", 1.2, better="lower"),
        lambda: ["-m", "spikestore.store", "--quiet", *call],
        "import zarr",
        LIBRARIES,
    )


def _preprocess(bench: Bench, recipe: Path, store: Path) -> list[object]:
    return ["preprocess", recipe, "--data", bench.data.folder, "--store", store]


def _compared(row: Row, ours: Callable[[], list[object]], imports: str, libraries: str) -> Row:
    """Fill a row with three processor times: of our command `ours`, of the peer's import statement `imports`, and of `libraries`.

    `libraries` is a statement that imports the libraries that our command needs.
    """
    _processor_seconds(ours())  # byte code and machine code are cached from here on
    mine: list[float] = []
    theirs: list[float] = []
    bound: list[float] = []
    for number in range(ROUNDS):
        for side in ("mine", "theirs") if number % 2 == 0 else ("theirs", "mine"):
            if side == "mine":
                mine.append(_processor_seconds(ours()))
            else:
                theirs.append(_processor_seconds(["-c", imports]))
        bound.append(_processor_seconds(["-c", libraries]))
    row.ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    for seconds, measured in ((mine, row.ours), (theirs, row.peer)):
        measured |= {"s": statistics.median(seconds), "least_s": min(seconds)}
    row.ours |= {"libraries_s": statistics.median(bound)}
    return row


def _processor_seconds(arguments: list[object]) -> float:
    """Run Python, and return the processor time that it takes, in s, including time in the kernel."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, check=True, stdin=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(*arguments: object) -> None:
    """Run ``spikestore`` with these arguments in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "spikestore.store", "--quiet", *map(str, arguments)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
