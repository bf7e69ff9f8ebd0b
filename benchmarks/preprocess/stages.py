"""Time that one core needs for each stage of a build: read, bin, hash, encode, write."""

from __future__ import annotations

import time

from benchmarks.bench import Bench, target


def stages(bench: Bench) -> dict[str, float]:
    """Return the time that one core needs for each stage of a build, in seconds per thousand recordings."""
    from spikestore.pipeline.building.source_look import layout_of_source
    from spikestore.pipeline.execution.fragment_task import FragmentJob
    from spikestore.pipeline.execution.transformed_rows import transform_rows
    from spikestore.pipeline.readers.registry import open_reader
    from spikestore.pipeline.transforms.choose import block_chain
    from spikestore.store import Build, Store
    from spikestore.store.columns.digest import block_checks, block_digests
    from spikestore.store.columns.zarr_reader import encode_fragment
    from spikestore.store_schemas import make_plan

    what = target(bench, min(512, bench.recordings))
    storage = Store(bench.store()).storage
    layout = layout_of_source(what.located, what.transform)
    with open_reader(what.located.source, what.located.root) as reader:
        plan = make_plan(
            what.transform, what.located.source.key, layout, reader.n_events(), fragment_samples=512
        )
        job = FragmentJob(Build(storage, plan), what.located, what.transform)
        columns = transform_rows(job, reader, range(len(reader)))[0].as_stored(layout)
        began = time.perf_counter()
        blocks = [
            reader.read_block(start, min(start + 256, len(reader))) for start in range(0, len(reader), 256)
        ]
        read = time.perf_counter()
        chain = block_chain(what.transform, "auto", has_y=False)
        for block in blocks:
            chain(block, name_of=str)
        binned = time.perf_counter()
        checks = block_checks(columns, layout, 0, 0)
        block_digests(columns, layout)
        hashed = time.perf_counter()
        encoded = encode_fragment(plan, 0, columns, checks)
        encoding = time.perf_counter()
        for path, data in encoded.items():
            storage.put_if_absent(f"x/{path}", data)
        written = time.perf_counter()
    per_thousand = 1000 / len(columns)
    marks = {"read": read - began, "bin": binned - read, "hash": hashed - binned}
    marks |= {"encode": encoding - hashed, "write": written - encoding}
    return {f"{name}_s_per_1000": round(seconds * per_thousand, 4) for name, seconds in marks.items()}
