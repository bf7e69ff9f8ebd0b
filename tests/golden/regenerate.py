"""Write the golden keys and the golden store again: ``python tests/golden/regenerate.py``.

README.md beside this file says when that is allowed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spikestore.store import Build, SampleColumns, Store
from spikestore.store.columns.shard_codec import packed_objects
from spikestore.store_schemas import (
    Address,
    Plan,
    Source,
    SourceFile,
    ToFrame,
    ToTimesurface,
    Transform,
    layout_of,
    make_plan,
)
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.documents.zarr_metadata import root_document

HERE = Path(__file__).parent
ROWS = 70
SKIPPED = 66
EMPTY = 3

FRAME: dict[str, Any] = {"op": "to_frame", "sensor_size": [100, 1, 1], "time_window": 4000.0}
ONE_FILE: dict[str, Any] = {"name": "ssc_train.h5", "size": 123, "sha256": "ab" * 32}
SOURCE: dict[str, Any] = {
    "reader": "cochlea-hdf5",
    "reader_version": 1,
    "dataset": "SSC",
    "split": "train",
    "files": [ONE_FILE],
}
SEED: dict[str, Any] = {
    "operations": [
        {"op": "downsample", "spatial_factor": "100/700"},
        {"op": "crop_time", "max": 1e6},
        {**FRAME, "include_incomplete": True},
    ]
}
TRANSFORMS: list[tuple[str, dict[str, Any], str | None]] = [
    ("the transform of the recipes for SSC", SEED, None),
    (
        "the same, with every default spelled out",
        {
            "max_bins": 1000000,
            "operations": [
                {"op": "downsample", "version": 1, "time_factor": 1, "spatial_factor": [1 / 7, 1 / 7]},
                {"op": "crop_time", "version": 1, "min": -0.0, "max": 1000000},
                {
                    **FRAME,
                    "version": 1,
                    "event_count": None,
                    "n_time_bins": None,
                    "n_event_bins": None,
                    "overlap": 0,
                    "include_incomplete": True,
                    "start_time": None,
                    "end_time": None,
                },
            ],
        },
        "the transform of the recipes for SSC",
    ),
    ("frames alone", {"operations": [FRAME]}, None),
    ("another limit of bins", {"operations": [FRAME], "max_bins": 1000}, None),
    ("overlapping windows, a fixed span", {
        "operations": [{**FRAME, "overlap": 0.1, "start_time": -1.5, "end_time": 1e21}]
    }, None),
    ("bins of events", {
        "operations": [{"op": "to_frame", "sensor_size": [128, 128, 2], "event_count": 5000, "overlap": 10}]
    }, None),
    ("a number of bins of time", {
        "operations": [{"op": "to_frame", "sensor_size": [34, 34, 2], "n_time_bins": 20, "overlap": 0.25}]
    }, None),
    ("a number of bins of events", {
        "operations": [{"op": "to_frame", "sensor_size": [34, 34, 2], "n_event_bins": 20}]
    }, None),
    ("a target size", {
        "operations": [
            {"op": "downsample", "time_factor": 1e-3, "target_size": [34, 17], "sensor_size": [128, 128, 2]},
            {"op": "to_frame", "sensor_size": [34, 17, 2], "time_window": 1},
        ]
    }, None),
    ("binary frames", {"operations": [FRAME, {"op": "clip_counts", "max": 1}]}, None),
]  # fmt: skip
SOURCES: list[tuple[str, dict[str, Any], str | None]] = [
    ("one file", SOURCE, None),
    (
        "one file, defaults spelled out",
        {**SOURCE, "sort": False, "on_error": "raise", "limit": None},
        "one file",
    ),
    ("sorted, skipping, limited", {**SOURCE, "sort": True, "on_error": "skip", "limit": 2000}, None),
    ("two files, one name beyond ASCII", {
        **SOURCE,
        "split": "valid",
        "files": [{"name": "a/b.h5", "size": 0, "sha256": "0" * 64}, {**ONE_FILE, "name": "ä/\U0001f600\"€.h5"}],
    }, None),
]  # fmt: skip


def keys() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    kinds: list[tuple[str, type[Transform | Source], list[tuple[str, dict[str, Any], str | None]]]]
    kinds = [("transform", Transform, TRANSFORMS), ("source", Source, SOURCES)]
    for kind, model, specs in kinds:
        for what, spec, same_as in specs:
            key = model.from_mapping(spec, origin=what).key
            case = {"kind": kind, "what": what, "spec": spec, "key": key}
            cases.append(case | ({"same_as": same_as} if same_as else {}))
    return cases


def golden_columns() -> SampleColumns:
    """Return 70 rows by a formula that any language can follow, README.md has it."""
    n_bins = np.array([0 if row == SKIPPED else 1 + row % 5 for row in range(ROWS)])
    runs = [
        np.array(list(range(row % 3, 12 * bins, 3)) if row not in {EMPTY, SKIPPED} else [], np.int64)
        for row, bins in enumerate(n_bins)
    ]
    nnz = np.array([len(run) for run in runs])
    index = np.concatenate(runs)
    label = np.array([-1 if row == SKIPPED else row % 2 for row in range(ROWS)])
    n_events = np.array([0 if row in {EMPTY, SKIPPED} else 1000 + row for row in range(ROWS)])
    return SampleColumns(
        index=index,
        value=1 + np.arange(len(index)) % 4,
        nnz=nnz,
        n_bins=n_bins,
        label=label,
        extras={"n_events": n_events, "speaker": np.where(n_bins == 0, 0, np.arange(ROWS) // 10)},
    )


STORES = {"store": 262_144, "store_65536": 65_536, "store_continued": 16_384, "store_float": 65_536}
"""Folders of golden stores, with the number of values in an inner chunk."""


def store(folder: Path) -> None:
    """Write a golden store; the chunks, and whether values are real numbers, follow from its name."""
    is_float = folder.name == "store_float"
    frame = ToTimesurface(sensor_size=(3, 2, 2), dt=1000.0, tau=500.0)
    counting = ToFrame(sensor_size=(3, 2, 2), time_window=1000.0)
    transform = Transform(operations=(frame if is_float else counting,))
    source = Source(
        reader="golden",
        reader_version=1,
        dataset="Golden",
        split="test",
        on_error="skip",
        files=(SourceFile(name="golden.h5", size=1, sha256="cd" * 32),),
    )
    layout = layout_of(transform, has_y=True, classes=["left", "right"], extras=["speaker", "n_events"])
    columns = golden_columns()
    if is_float:
        sign = 1 - 2 * (np.arange(len(columns.value)) % 2)
        columns = replace(columns, value=(sign * columns.value / 3).astype(np.float32))
    plan = with_chunks(
        make_plan(transform, source.key, layout, np.full(ROWS, 1100), fragment_samples=64),
        STORES[folder.name],
    )
    opened = Store(folder)
    build = Build.join_or_start(opened.storage, Address(transform.key, source.key), lambda: plan)
    for fragment in build.unfinished():
        rows = plan.rows(fragment)
        here = SKIPPED in rows
        if folder.name == "store_continued":
            put_continued(build, fragment, columns.rows(rows.start, rows.stop))
        build.put_fragment(
            fragment,
            columns.rows(rows.start, rows.stop),
            skipped=[SkippedRow(row=SKIPPED, reason="no reason, it is an example")] if here else [],
            events=EventCounts(n_events=int(columns.extras["n_events"][rows.start : rows.stop].sum())),
        )
    features = build.commit(transform, source, {"made_by": "tests/store_schemas/golden/regenerate.py"})
    opened.point("golden", {"test": features})


def with_chunks(plan: Plan, chunk_values: int) -> Plan:
    """Return the plan with inner chunks of another size."""
    root = root_document(
        plan.layout,
        samples=plan.samples,
        fragment_samples=plan.fragment_samples,
        fragments=plan.fragments,
        shard_values=plan.shard_values,
        chunk_values=chunk_values,
    )
    return plan.model_copy(update={"zarr": root})


def put_continued(build: Build, fragment: int, columns: SampleColumns) -> None:
    """Store index and value of a fragment with further values after the last one, as another builder may write them."""
    packed = packed_objects(build.plan, build.plan.zarr)
    assert packed is not None
    rest = packed["index"].chunk - len(columns.index)
    objects = {
        "index": np.concatenate([columns.index, columns.index[-1] + 3 * np.arange(1, rest + 1)]),
        "value": np.resize(columns.value, len(columns.index) + rest),
    }
    for name, values in objects.items():
        path = f"{build.address.data(build.plan.hash[:12])}/{name}/c/{fragment}"
        build.storage.put_if_absent(path, packed[name].encode(values.astype("<u4")))


def expected(columns: SampleColumns, digest: str) -> dict[str, Any]:
    names = ("nnz", "n_bins", "index", "value", "label")
    listed = {name: getattr(columns, name).tolist() for name in names}
    return {"digest": digest, **listed, **{name: column.tolist() for name, column in columns.extras.items()}}


def main() -> None:
    (HERE / "keys.json").write_text(json.dumps(keys(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in STORES:
        shutil.rmtree(HERE / name, ignore_errors=True)
        store(HERE / name)
        (HERE / name / ".tmp").rmdir()
    features = Store(HERE / "store")["golden:test"]
    (HERE / "expected.json").write_text(
        json.dumps(expected(golden_columns(), features.digest)) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
