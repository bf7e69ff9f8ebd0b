"""The pictures of operations and augmentations: ``python -m tests.site.pictures`` writes ``docs/pictures/*.svg``.

Each shows what the code of spikestore does to the same few events, of a camera with 16 × 16 pixels: an edge that moves along x and slowly along y, a pixel with
an event every 4 ms, and some noise. A new operation or augmentation needs an example here, and a place on a page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from tests.site.panels import Panel, picture

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import block_chain
from spikestore.pipeline.transforms.event_guards import Origin
from spikestore.pipeline.transforms.event_operations import EventStep
from spikestore.store_schemas import Transform
from spikestore.store_schemas.specs.operations import FrameOperation
from spikestore.train.data.augmentation.tables import augmentations_of, checked_tables
from spikestore.train.data.batch import SparseBatch

FOLDER = Path(__file__).parents[2] / "docs/pictures"
SENSOR = (16, 16, 2)
_COUNTING = {"op": "to_frame", "sensor_size": SENSOR, "time_window": 10_000}
_EIGHT_BINS = {"op": "to_frame", "sensor_size": SENSOR, "n_time_bins": 8}
_FRAMES_OF_5_MS = {"op": "to_frame", "sensor_size": SENSOR, "time_window": 5000}
_SEED = 1

OPERATIONS: tuple[dict[str, Any], ...] = (
    {"op": "downsample", "spatial_factor": 0.5},
    {"op": "crop_time", "min": 20_000, "max": 60_000},
    {"op": "denoise", "filter_time": 7000},
    {"op": "refractory_period", "delta": 5000},
    {"op": "drop_pixel", "coordinates": [[11, 10]]},
    {"op": "decimation", "n": 3},
    {"op": "merge_polarities"},
    {"op": "center_crop", "sensor_size": [16, 16], "size": 8},
    {"op": "time_alignment"},
    {"op": "time_skew", "coefficient": 0.5, "offset": 40_000},
    {"op": "own_operation", "name": "wand-lab.thin", "version": 1, "parameters": {"every": 3}},
    {"op": "event_downsampling", "sensor_size": [16, 16], "target_size": [8, 8], "dt": 5, "noise_threshold": 1},
    _COUNTING,
    {"op": "fixed_duration", "sensor_size": SENSOR, "duration": 20_000},
    {"op": "fixed_frames_number", "sensor_size": SENSOR, "frames_number": 8, "split_by": "number"},
    {"op": "clip_counts", "max": 1},
    {"op": "to_voxel_grid", "sensor_size": SENSOR, "n_time_bins": 8},
    {"op": "to_timesurface", "sensor_size": SENSOR, "dt": 10_000, "tau": 10_000},
    {"op": "to_averaged_timesurface", "sensor_size": SENSOR, "cell_size": 8, "time_window": 20_000, "tau": 10_000},
    {"op": "to_bina_rep", "n_frames": 2, "n_bits": 4},
)  # fmt: skip

_AFTER_FRAMES = {"clip_counts": _COUNTING, "to_bina_rep": _EIGHT_BINS}
"""Operations on frames, with the operation that makes the frames in their pictures."""
_FRAMES = tuple(model.model_fields["op"].default for model in get_args(FrameOperation))

AUGMENTATIONS: tuple[dict[str, Any], ...] = (
    {"op": "time_shift", "bins": 10},
    {"op": "time_stretch", "strength": 0.5},
    {"op": "time_reversal", "probability": 1},
    {"op": "channel_shift", "channels": 4},
    {"op": "channel_jitter", "channels": 2},
    {"op": "translate", "pixels": 4},
    {"op": "rotate", "degrees": 45},
    {"op": "spatial_flip", "probability": 1},
    {"op": "polarity_flip", "probability": 1},
    {"op": "event_drop", "probability": 0.5},
    {"op": "event_thinning", "probability": 0.5},
    {"op": "time_mask", "share": 0.3},
    {"op": "channel_mask", "channels": 6},
    {"op": "uniform_noise", "events": 30},
    {"op": "blend", "keep": 0.5},
    {"op": "cut_mix", "probability": 1},
    {"op": "event_mix", "probability": 1},
    {"op": "roll", "pixels": 8},
    {"op": "shear", "degrees": 45},
    {"op": "area_mask", "share": 0.5},
    {
        "op": "one_of",
        "choices": [{"op": "spatial_flip", "probability": 1}, {"op": "time_mask", "share": 0.3}],
    },
)
_IN_THE_PLANE = ("translate", "rotate", "roll", "shear", "area_mask")
"""Augmentations whose pictures have x and y, because time does not change."""


def recording() -> Events:
    """Return the events before each operation."""
    steps = np.arange(16)
    edge = [
        (10 + 5 * steps + late, steps, 4 + steps // 2 + row, p)
        for late, p in ((0, 1), (6, 0))
        for row in (0, 1)
    ]
    pixel = [(np.arange(12, 60, 4), 11, 10, 1)]
    noise = [
        (np.array(t), x, y, p)
        for t, x, y, p in ((31, 13, 3, 1), (52, 1, 12, 0), (66, 5, 5, 1), (78, 2, 14, 0), (90, 8, 2, 1))
    ]
    dtype = [("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)]
    parts = []
    for t, x, y, p in (*edge, *pixel, *noise):
        part = np.zeros(np.size(t), dtype)
        part["t"], part["x"], part["y"], part["p"] = t * 1000, x, y, p
        parts.append(part)
    events = np.concatenate(parts)
    return events[np.argsort(events["t"], kind="stable")]


def pictures() -> dict[str, str]:
    """Return each picture as SVG, by the name of the operation or augmentation."""
    drawn = {table["op"]: _of_operation(table) for table in OPERATIONS}
    return drawn | {table["op"]: _of_augmentation(table) for table in AUGMENTATIONS}


def _subtitle(table: dict[str, Any]) -> str:
    """Return the fields of an example as they are in a recipe or a configuration; of inner tables the names only."""
    shown = {name: value for name, value in table.items() if name not in {"op", "sensor_size", "version"}}
    return ", ".join(f"{name} = {_toml(value)}" for name, value in shown.items())


def _toml(value: object) -> str:
    if isinstance(value, list) and isinstance(value[0], dict):
        return " or ".join(str(one["op"]) for one in value)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(inner)}' for name, inner in value.items())} }}"
    return f'"{value}"' if isinstance(value, str) else str(value)


# ---------------------------------------------------------------- operations


def _of_operation(table: dict[str, Any]) -> str:
    before = _events_panel(recording())
    if table["op"] == "own_operation":  # the function `thin` of docs/recipes.md
        after = _events_panel(recording()[:: table["parameters"]["every"]])
    elif table["op"] in _AFTER_FRAMES:
        counting = _AFTER_FRAMES[table["op"]]
        before, after = _frames_panel(counting), _frames_panel(counting, table)
        # Numbers of bits are from 0 to 1, so on a scale with counts they would be pale.
        after = replace(after, has_own_scale=table["op"] == "to_bina_rep")
    elif table["op"] in _FRAMES:
        after = _frames_panel(table)
    else:
        after = _events_panel(_changed(table))
    return picture(table["op"], _subtitle(table), (before, after), "→")


def _changed(table: dict[str, Any]) -> Events:
    transform = _transform(table, _COUNTING)
    (operation,) = transform.on_events
    step = EventStep(operation, has_y=True, max_bins=transform.max_bins)
    events = recording()
    step.check(events, origin=Origin("the recording", events))
    kept = step.kept(events)
    return step.changed(events if kept is None else events[kept], name="the recording")


def _transform(*tables: dict[str, Any]) -> Transform:
    return Transform.from_mapping({"operations": tables}, origin="the pictures")


def _events_panel(events: Events) -> Panel:
    marks = zip(events["t"] / 1000, events["x"], events["p"], strict=True)
    return Panel("time, 0 to 100 ms", "x", (100, SENSOR[0]), events=tuple(marks))


def _frames(*tables: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return the dense frames of the recording."""
    transform, events = _transform(*tables), recording()
    block = EventBlock(
        first_row=0,
        offsets=np.array([0, len(events)]),
        **{name: np.ascontiguousarray(events[name]) for name in "txyp"},
        time_table=None,
        labels=np.zeros(1, np.int64),
        extras={},
        errors={},
    )
    samples = block_chain(transform, "numpy", has_y=True)(block, name_of=lambda row: "the recording")
    frames = np.zeros((int(samples.n_bins[0]), *transform.sites(has_y=True)))
    frames.reshape(-1)[samples.index.astype(np.int64)] = samples.value
    return frames


def _frames_panel(*tables: dict[str, Any]) -> Panel:
    frames = _frames(*tables)
    return _counts_panel(
        frames, bins="cells" if tables[-1]["op"] == "to_averaged_timesurface" else "time bins"
    )


def _counts_panel(frames: npt.NDArray[np.float64], *, bins: str = "time bins", plane: bool = False) -> Panel:
    """Return a panel of frames of the sensor: time and x, or with `plane` x and y. Of the cells along the other axis, it shows the largest value.

    Frames with one polarity show negative values as the polarity 0, and others as the polarity 1.
    """
    axis = 0 if plane else 2
    highest, lowest = frames.max(axis), frames.min(axis)
    shown = np.where(highest >= -lowest, highest, lowest).transpose((2, 1, 0) if plane else (0, 2, 1))
    cells = []
    for across, up, polarity in np.argwhere(shown):
        value = float(shown[across, up, polarity])
        cells.append((int(across), int(up), int(polarity if frames.shape[1] == 2 else value > 0), value))
    number, _, height, width = frames.shape
    if plane:
        return Panel("x", "y", (width, height), counts=tuple(cells))
    return Panel(f"{number} {bins}", "x", (number, width), counts=tuple(cells))


# ---------------------------------------------------------------- augmentations


def _of_augmentation(table: dict[str, Any]) -> str:
    (augmentation,) = augmentations_of(checked_tables(table), seed=_SEED)
    batch = _batch()
    plane = table["op"] in _IN_THE_PLANE
    panels = [_sample_panel(batch, 0, plane=plane), _sample_panel(augmentation(batch, 0), 0, plane=plane)]
    if augmentation.mixes:
        panels.insert(1, _sample_panel(batch, 1, plane=plane))
    return picture(table["op"], _subtitle(table), panels, "+→" if augmentation.mixes else "→")


def _batch() -> SparseBatch:
    """Return two samples of one class: frames of the recording, and frames of the recording with x reversed."""
    frames = _frames(_FRAMES_OF_5_MS)
    samples = [torch.from_numpy(one.astype(np.int32)).flatten() for one in (frames, frames[..., ::-1])]
    index = [one.nonzero()[:, 0] for one in samples]
    return SparseBatch(
        index=torch.cat(index),
        value=torch.cat([one[places] for one, places in zip(samples, index, strict=True)]),
        offsets=torch.tensor([0, len(index[0]), 2 * len(index[0])]),
        lengths=torch.full((2,), len(frames)),
        labels=torch.zeros(2, dtype=torch.int64),
        samples=torch.arange(2),
        sites=frames.shape[1:],
        classes=2,
    )


def _sample_panel(batch: SparseBatch, row: int, *, plane: bool) -> Panel:
    return _counts_panel(batch.dense()[row].numpy().astype(np.float64), plane=plane)


def main() -> None:
    """Write all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in pictures().items():
        (FOLDER / f"{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
