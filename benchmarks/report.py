"""Time and memory of the report of a set: ``python -m benchmarks.report [--size small|full] [--json FILE] [--rows NAMES]``.

The samples are random: 250 bins, 100 channels, 35 classes, 18 % of the cells filled. The frames of the demo recordings have the
same shape and density after the transform of the blog post in docs/seed.md. With ``full``, there are 75,000 samples. The report
runs in a process of its own. The times of the report begin after the imports, and include writing the page.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.alone import numbers_of
from benchmarks.form import Row, arguments, report

BINS, CHANNELS, DENSITY, CLASSES = 250, 100, 0.18, 35

REPORT = """
import sys, time
from pathlib import Path
from benchmarks.alone import peak_bytes
from spikestore.pipeline.reporting.report import make_report
from spikestore.pipeline.reporting.write_page import write_page
from spikestore.store import Store

sets = Store(sys.argv[1]).splits("random")
began = time.perf_counter()
made = make_report("random", sets)
facts = time.perf_counter() - began
size = write_page(made, sets["train"].layout, Path(sys.argv[1], "page.html"))
print(facts, time.perf_counter() - began, peak_bytes(), size)
"""


def build(folder: Path, samples: int) -> None:
    """Build a set of random samples."""
    import numpy as np

    from spikestore.store import Build, SampleColumns, Store
    from spikestore.store_schemas import Address, Source, SourceFile, ToFrame, Transform, layout_of, make_plan

    frame = ToFrame(sensor_size=(CHANNELS, 1, 1), time_window=4000)
    transform = Transform(operations=(frame,))
    file = SourceFile(name="random.h5", size=1, sha256="0" * 64)
    source = Source(reader="random", reader_version=1, dataset="random", split="train", files=(file,))
    extras = ("n_events", "n_cropped", "n_dropped")
    layout = layout_of(transform, has_y=False, classes=map(str, range(CLASSES)), extras=extras)
    random, places = np.random.default_rng(0), BINS * CHANNELS
    n_events = np.full(samples, places, np.int64)
    store = Store(folder)
    build = Build.join_or_start(
        store.storage,
        Address(transform.key, source.key),
        lambda: make_plan(transform, source.key, layout, n_events, workers=2),
    )
    for fragment in build.unfinished():
        rows = len(build.plan.rows(fragment))
        filled = [np.flatnonzero(random.random(places, np.float32) < DENSITY) for _ in range(rows)]
        nnz = np.array([len(one) for one in filled])
        columns = SampleColumns(
            index=np.concatenate(filled),
            value=random.geometric(0.6, int(nnz.sum())),
            nnz=nnz,
            n_bins=np.full(rows, BINS),
            label=random.integers(0, CLASSES, rows),
            extras={name: np.full(rows, places if name == "n_events" else 0) for name in extras},
        )
        build.put_fragment(fragment, columns.as_stored(layout), skipped=[])
    store.point("random", {"train": build.commit(transform, source, {})})


def main() -> None:
    """Build a set; measure the time, the memory and the size of its report."""
    options = arguments(__doc__ or "")
    samples = 75_000 if options.size == "full" else 3_000
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), samples)
        facts, seconds, peak, size = numbers_of(REPORT, folder)
    rows = [
        Row("seconds", 60, 30, better="lower", ratios=[seconds], ours={"s for the facts alone": facts}),
        Row("peak_memory_in_gb", 1, 0.5, better="lower", ratios=[peak / 1e9]),
        Row("page_in_mb", 5, 2, better="lower", ratios=[size / 1e6]),
    ]
    report("report", rows, {"samples": samples, "cores": os.cpu_count()}, options)


if __name__ == "__main__":
    main()
