"""Estimates of the time and the size of a build, computed from the first recordings of the set."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from spikestore.pipeline.building.feature_build import BuildRequest, plan_of_build
from spikestore.pipeline.building.reuse import Reuse, events_to_read
from spikestore.pipeline.building.source_look import look_into
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.execution.transformed_rows import transform_rows
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.store.build import Build
from spikestore.store.columns.digest import block_checks
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store.storage import Storage
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.transform import ExecutorName

SAMPLED = 64
"""Maximum number of recordings that are transformed for the estimate."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated time and size of a build.

    Attributes
    ----------
    recordings : int
        Number of recordings in the source.
    reused, derived : int
        `reused`: number of recordings whose rows are taken from stored sets. `derived`: number of recordings whose rows are
        computed from a finer set.
    fragments : int
        Number of fragments; each fragment is one task.
    seconds : float
        Time with `workers` workers, excluding the start of the workers.
    stored_bytes : int
        Size of the feature set in bytes.
    workers : int
        Number of workers that `seconds` assumes.
    """

    recordings: int
    reused: int
    derived: int
    fragments: int
    seconds: float
    stored_bytes: int
    workers: int


def estimate(
    storage: Storage,
    wanted: RequestedSet,
    *,
    workers: int,
    reuse: Reuse | None = None,
    fragment_samples: int | None = None,
    executor: ExecutorName = "auto",
) -> Estimate:
    """Return the estimated time and size of a build, by transforming and encoding the first recordings of the source.

    Time and size are scaled by the number of events. Copying a row from a stored set (`reuse`) is faster than reading its
    recording, so the events of a copied row count less in the time.

    Raises
    ------
    SourceError
        The recordings cannot be used.
    UsageError
        The transform does not fit the recordings, or `executor` needs a package that is not installed.
    """
    located, transform = wanted.located, wanted.transform
    look, former = (look_into(located, transform), None) if reuse is None else reuse.look(wanted)
    layout, n_events = look.layout, look.n_events
    request = BuildRequest(workers, fragment_samples, former=former)
    plan = plan_of_build(located, transform, look, request)
    with located.open() as reader:
        tried = n_events[: min(SAMPLED, len(reader))]
        sampled = look._replace(n_events=tried)
        small = plan_of_build(located, transform, sampled, BuildRequest(fragment_samples=BLOCK))
        job = FragmentJob(Build(storage, small), located, transform, executor)
        # Not timed: imports and compilation.
        transform_rows(job, reader, range(min(2, len(tried))))
        began = time.perf_counter()
        columns, _, _ = transform_rows(job, reader, range(len(tried)))
        columns = columns.as_stored(layout)
        checks = block_checks(columns, layout, 0, 0)
        objects = encode_fragment(small, 0, columns, np.asarray(checks))
        seconds = time.perf_counter() - began
    available = 0 if former is None else int(np.count_nonzero(former.available))
    derives = former is not None and former.derives
    events_tried = max(float(tried.sum()), 1.0)
    share = max(float(n_events.sum()), 1.0) / events_tried
    share_of_time = max(events_to_read(look, former)[1], 1.0) / events_tried
    return Estimate(
        recordings=len(n_events),
        reused=0 if derives else available,
        derived=available if derives else 0,
        fragments=plan.fragments,
        seconds=seconds * share_of_time / min(workers, plan.fragments),
        stored_bytes=int(sum(len(data) for data in objects.values()) * share),
        workers=workers,
    )
