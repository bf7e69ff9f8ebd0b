"""Estimates of the time and the size of a build, computed within two seconds from its first recordings."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from spikestore.pipeline.building.source_look import layout_of_source
from spikestore.pipeline.execution.fragment_task import FragmentJob, transform_rows
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.build import Build
from spikestore.store.columns.digest import block_checks
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.plan import make_plan
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.transform import Transform

SAMPLED = 64
"""Number of recordings that are transformed for the estimate."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated time and size of a build.

    Attributes
    ----------
    recordings : int
        Number of recordings in the source.
    fragments : int
        Number of fragments; each is one task.
    seconds : float
        Time with `workers` workers, excluding their start.
    stored_bytes : int
        Size of the feature set in bytes.
    workers : int
        Number of workers that `seconds` assumes.
    """

    recordings: int
    fragments: int
    seconds: float
    stored_bytes: int
    workers: int


def estimate(storage: Storage, located: LocatedSource, transform: Transform, *, workers: int) -> Estimate:
    """Return the estimated time and size of a build, by transforming and encoding the first recordings of the source.

    Time and size are scaled by the number of events.

    Raises
    ------
    SourceError
        The recordings cannot be used.
    """
    layout = layout_of_source(located, transform)
    with located.open() as reader:
        n_events = reader.n_events()
        tried = n_events[: min(SAMPLED, len(reader))]
        plan = make_plan(transform, located.source.key, layout, n_events, workers=workers)
        small = make_plan(transform, located.source.key, layout, tried, fragment_samples=BLOCK)
        job = FragmentJob(Build(storage, small), located, transform)
        # Not timed: imports and compilation.
        transform_rows(job, reader, range(min(2, len(tried))))
        began = time.perf_counter()
        columns, _, _ = transform_rows(job, reader, range(len(tried)))
        columns = columns.as_stored(layout)
        checks = block_checks(columns, layout, 0, 0)
        objects = encode_fragment(small, 0, columns, np.asarray(checks))
        seconds = time.perf_counter() - began
    share = max(float(n_events.sum()), 1.0) / max(float(tried.sum()), 1.0)
    return Estimate(
        recordings=len(n_events),
        fragments=plan.fragments,
        seconds=seconds * share / min(workers, plan.fragments),
        stored_bytes=int(sum(len(data) for data in objects.values()) * share),
        workers=workers,
    )
