"""The plan: the division of one build into fragments. The first builder writes the plan, and later builders follow the plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from spikestore.store_schemas.documents.zarr_metadata import SHARD_MULTIPLE, root_document
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.layout import BLOCK, Layout
from spikestore.store_schemas.specs.canonical import FORMAT, sha256_hex
from spikestore.store_schemas.specs.model import Count, Document, Sha256, Size
from spikestore.store_schemas.specs.transform import Transform

FRAGMENT_BYTES = 256 * 2**20
"""Target size of a fragment, in decoded bytes."""

FRAGMENTS_PER_WORKER = 4
"""Minimum number of fragments per worker, unless the fragments would be shorter than a block; with fewer fragments,
many workers would be idle at the end of a build."""


class Plan(Document):
    """Division of one build into fragments; not part of the feature set's identity."""

    format: Literal[1] = FORMAT
    transform_key: Sha256
    source_key: Sha256
    samples: Size
    """Rows of the set, including skipped recordings."""
    fragment_samples: Annotated[Size, Field(multiple_of=BLOCK)]
    """Rows of a fragment, F; the last fragment may be shorter."""
    shard_values: Annotated[Size, Field(multiple_of=SHARD_MULTIPLE)]
    """Length of a shard of ``index`` and ``value``, R; no fragment has more non-zeros."""
    layout: Layout
    """Axes, classes and columns."""
    attempt: Count = 0
    """Number that makes the plan of a restart different from an otherwise equal earlier plan, so that each plan has its own folder."""
    zarr: dict[str, Any]
    """``data.zarr/zarr.json``, with the consolidated metadata of all arrays."""

    @model_validator(mode="after")
    def _documents_fit(self) -> Self:
        # Other codecs are accepted. Arrays that contradict the plan's numbers are rejected: they would lose data.
        arrays = _member(self.zarr, "consolidated_metadata", "metadata")
        dtypes = {**dict(self.layout.columns), "start": "uint64", "check": "uint64"}
        if arrays.keys() != dtypes.keys():
            raise ValueError("the Zarr metadata and the plan list different arrays")
        for name, dtype in dtypes.items():
            length, chunk = self.samples, self.fragment_samples
            if name in {"index", "value"}:
                length, chunk = self.fragments * self.shard_values, self.shard_values
            elif name == "check":
                length, chunk = -(-self.samples // BLOCK), self.fragment_samples // BLOCK
            array = _member(arrays, name)
            grid = _member(array, "chunk_grid", "configuration")
            if (array.get("shape"), grid.get("chunk_shape"), array.get("data_type")) != (
                [length],
                [chunk],
                dtype,
            ):
                raise ValueError(f"the Zarr metadata of {name} contradict the plan")
        return self

    @property
    def fragments(self) -> int:
        """Number of fragments, K."""
        return -(-self.samples // self.fragment_samples)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the plan's bytes; the first 12 digits are the plan id."""
        return sha256_hex(self.to_bytes())

    def rows(self, fragment: int) -> range:
        """Return the rows of `fragment`."""
        start = fragment * self.fragment_samples
        return range(start, min(start + self.fragment_samples, self.samples))


def make_plan(
    transform: Transform,
    source_key: str,
    layout: Layout,
    n_events: npt.NDArray[np.int64],
    *,
    workers: int = 1,
    fragment_samples: int | None = None,
    least_shard_values: int = 0,
    spare: int = 1,
) -> Plan:
    """Return a plan for a build, from the number of events in each recording.

    Parameters
    ----------
    transform : Transform
        Transform of each recording.
    source_key : str
        Key of the source.
    layout : Layout
        Columns of the set.
    n_events : int64 array, shape (recordings,)
        Number of events of each recording before the transform. An upper limit of the number of non-zeros is computed from these
        numbers.
    workers : int
        Expected number of workers; a hint, never part of a key.
    fragment_samples : int, optional
        Requested rows per fragment, rounded up to a multiple of 64.
    least_shard_values : int
        Minimum length of a shard, a multiple of `SHARD_MULTIPLE`. A shard can be copied from another set only if the shards of
        both sets have the same length.
    spare : int
        Factor for `n_events`, if they are estimates that may be too small: shards have room for the non-zeros of ``spare * n_events``
        events.

    Raises
    ------
    SpecError
        `n_events` is empty, or `fragment_samples` is below 1.
    """
    if not len(n_events):
        raise SpecError("the source has no recordings, so nothing can be built")
    if fragment_samples is not None and fragment_samples < 1:
        raise SpecError(f"fragment_samples must be at least 1, got {fragment_samples}")
    frame = transform.to_frame
    places = min(transform.bins or transform.max_bins, transform.max_bins) * layout.site_count
    # float64 is exact as long as a fragment has fewer than 2^53 non-zeros, and none has more.
    per_recording = n_events.astype(np.float64) * frame.non_zeros_per_event
    bound = np.minimum(per_recording, float(places))
    rows = fragment_samples or _fragment_samples(bound, layout, workers)
    rows = -(-rows // BLOCK) * BLOCK
    most = np.minimum(spare * per_recording, float(places))
    largest = float(np.add.reduceat(most, np.arange(0, len(most), rows)).max())
    shard = max(1, -(-int(largest) // SHARD_MULTIPLE)) * SHARD_MULTIPLE
    shard = max(shard, least_shard_values)
    samples = len(n_events)
    return Plan(
        transform_key=transform.key,
        source_key=source_key,
        samples=samples,
        fragment_samples=rows,
        shard_values=shard,
        layout=layout,
        zarr=root_document(
            layout,
            samples=samples,
            fragment_samples=rows,
            fragments=-(-samples // rows),
            shard_values=shard,
        ),
    )


def _fragment_samples(bound: npt.NDArray[np.float64], layout: Layout, workers: int) -> int:
    per_value = layout.dtype("index").itemsize + layout.dtype("value").itemsize
    per_sample = 4 * (len(layout.columns) + 2) + per_value * float(bound.mean())
    by_size = int(FRAGMENT_BYTES / per_sample)
    by_workers = len(bound) // (FRAGMENTS_PER_WORKER * max(workers, 1))
    rows = max(BLOCK, min(by_size, by_workers) // BLOCK * BLOCK)
    if workers > 1:
        # Nearly equal numbers of fragments per worker: otherwise many wait for the workers with one more.
        rounds = -(-len(bound) // (rows * workers))
        rows = -(-len(bound) // (rounds * workers * BLOCK)) * BLOCK
    return rows


def _member(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the object at `path`, or an empty object if the path does not exist."""
    for name in path:
        inner = document.get(name)
        document = inner if isinstance(inner, dict) else {}
    return document


PlanMaker = Callable[[], Plan]
"""Returns a builder's own plan; called only if the store has no plan to join."""
