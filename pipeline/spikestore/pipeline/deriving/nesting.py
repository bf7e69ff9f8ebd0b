"""Decides whether each count of a coarse set is a sum of counts of a fine set (docs/decisions/0070-coarse-rows-from-fine-ones.md).

Only the transforms of the two sets are examined, not the recordings. The answer is right only for recordings whose times are whole numbers
(`has_whole_times`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.transforms.fused.tables import RAW, coordinate_table
from spikestore.store.rebinning.rebinning import Rebinning, bins_problem, sums_problem
from spikestore.store_schemas.specs.operations import (
    CropTime,
    Downsample,
    MergePolarities,
    ToFrame,
)
from spikestore.store_schemas.specs.transform import Transform

MOST_SITES = 2**24
"""Maximum number of sites of the fine and of the coarse set: a table has an entry for each fine site."""


def rebinning_of(fine: Transform, coarse: Transform, *, has_y: bool) -> Rebinning | str:
    """Return how rows of the fine set are summed to rows of the coarse set, or a text that says why sums do not give these rows."""
    fine_frame, frame = fine.to_frame, coarse.to_frame
    bins = 1
    if isinstance(fine_frame, ToFrame) and isinstance(frame, ToFrame):
        bins = int((frame.time_window or 0) // (fine_frame.time_window or 1))
    problem = sums_problem(fine, bins) or bins_problem(frame)
    if problem is not None:
        return problem
    assert isinstance(fine_frame, ToFrame) and isinstance(frame, ToFrame)  # noqa: S101, PT018 - `bins_problem` rejects others
    problem = _bins_differ(fine_frame, frame)
    if problem is not None:
        return problem
    before = _operations_after_equal_ones(fine, coarse)
    if isinstance(before, str):
        return before
    site_of = _sites(before, fine_frame, frame, has_y=has_y)
    if isinstance(site_of, str):
        return site_of
    return Rebinning(
        # No row has more than max_bins bins, so more bins than this in a sum have the same effect.
        bins=min(bins, fine.max_bins + 1),
        site_of=site_of,
        fine_keeps_incomplete=fine_frame.include_incomplete,
        keeps_incomplete=frame.include_incomplete,
        max_count=coarse.max_count,
    )


def _bins_differ(fine: ToFrame, coarse: ToFrame) -> str | None:
    """Return why the bins of `coarse` are not sums of the bins of `fine`, or None if they are.

    Both must have a ``time_window``, no overlap, and bins that begin at whole microseconds (`bins_problem` is None).
    """
    if (coarse.time_window or 0) % (fine.time_window or 1):
        return "the coarse time_window is not a multiple of the fine time_window"
    if (fine.start_time, fine.end_time) != (coarse.start_time, coarse.end_time):
        return "start_time or end_time differs"
    if coarse.include_incomplete and not fine.include_incomplete:
        return "include_incomplete is true for the coarse set, but not for the fine set"
    if fine.include_incomplete != coarse.include_incomplete and fine.end_time is not None:
        return "include_incomplete differs, and end_time is set"
    return None


class _Before(NamedTuple):
    """For two transforms, their operations before ``to_frame``; operations with which both transforms begin are left out."""

    fine: Sequence[Any]
    coarse: Sequence[Any]


def _operations_after_equal_ones(fine: Transform, coarse: Transform) -> _Before | str:
    """Return the operations of both transforms before ``to_frame``, without the equal operations at their beginning.

    If the remaining operations make it impossible to compute the coarse set by adding counts of the fine set, return the reason instead.
    """
    equal = 0
    for first, second in zip(fine.on_events, coarse.on_events, strict=False):
        if first != second:
            break
        equal += 1
    before = _Before(fine.on_events[equal:], coarse.on_events[equal:])
    for operation in (*before.fine, *before.coarse):
        if not isinstance(operation, Downsample | CropTime | MergePolarities):
            return f"{operation.op}, or an operation before it, differs"
    if _on_times(before.fine) != _on_times(before.coarse):
        return "crop_time or a time_factor differs"
    if any(isinstance(step, Downsample) and max(step.spatial_factor) > 1 for step in before.coarse):
        return "a spatial_factor above 1 differs"
    return before


def _on_times(operations: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the parameters of the operations that change or select times."""
    steps: list[tuple[Any, ...]] = []
    for operation in operations:
        if isinstance(operation, CropTime):
            steps.append((operation.min, operation.max))
        elif isinstance(operation, Downsample) and operation.time_factor != 1:
            steps.append((operation.time_factor,))
    return steps


def _sites(before: _Before, fine: ToFrame, coarse: ToFrame, *, has_y: bool) -> npt.NDArray[np.uint32] | str:
    """Return the coarse site of each fine site, or a text that says why fine sites do not determine coarse sites."""
    sizes = [fine.sensor_size, coarse.sensor_size]
    if max(int(np.prod(size, dtype=object)) for size in sizes) > MOST_SITES:
        return f"the sensor has more than {MOST_SITES:,} sites"
    axes = {}
    for axis, name in enumerate("xy" if has_y else "x"):
        place = _places(before, fine, coarse, axis)
        if place is None:
            return f"along {name}, a channel or pixel of the coarse set does not consist of whole channels or pixels of the fine set"
        axes[name] = place
    polarities = _polarities(before, fine, coarse)
    if polarities is None:
        return "the polarities differ"
    x_size, y_size, _ = coarse.sensor_size
    y = axes.get("y", np.zeros(1, np.int64))
    planes = (polarities[:, None, None] * y_size + y[:, None]) * x_size + axes["x"]
    return planes.reshape(-1).astype(np.uint32)


def _places(before: _Before, fine: ToFrame, coarse: ToFrame, axis: int) -> npt.NDArray[np.int64] | None:
    """Return the coarse coordinate of each fine coordinate of an axis; None if fine coordinates do not determine coarse ones."""
    tables = []
    for operations, frame in ((before.fine, fine), (before.coarse, coarse)):
        chain = Transform(operations=(*operations, frame))
        tables.append(coordinate_table(chain, axis, size=frame.sensor_size[axis], step=1))
    (fine_table, fine_last), (coarse_table, coarse_last) = tables
    # The table ends before RAW: larger raw coordinates may be inside the sensor, too.
    if fine_last >= RAW - 2 or fine_last > coarse_last:
        return None
    inside = slice(fine_last + 1)
    place = np.zeros(fine.sensor_size[axis], np.int64)
    place[fine_table[inside]] = coarse_table[inside]
    return place if (place[fine_table[inside]] == coarse_table[inside]).all() else None


def _polarities(before: _Before, fine: ToFrame, coarse: ToFrame) -> npt.NDArray[np.int64] | None:
    """Return the coarse polarity of each fine polarity; None if fine polarities do not determine coarse ones."""
    fine_merges, merges = (any(isinstance(step, MergePolarities) for step in steps) for steps in before)
    count = fine.sensor_size[2]
    if merges and not fine_merges:
        return np.zeros(count, np.int64)
    if merges != fine_merges or count != coarse.sensor_size[2]:
        return None
    return np.arange(count)
