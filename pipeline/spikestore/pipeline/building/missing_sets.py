"""Builds of those requested sets that are neither in the store nor in an upstream."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.reuse import Reuse, events_to_read
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.recipes.resolve import LockedSet, resolve
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import refuse_other_classes
from spikestore.store.store import Store
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import SourceError

if TYPE_CHECKING:
    from spikestore.pipeline.execution.fragment_content import FragmentContent
    from spikestore.store.build import Build

    Stored = Mapping[Address, Sequence[FragmentContent]]
    """Summaries of the fragments of some sets."""


def build_sets(
    requested: Sequence[RequestedSet | LockedSet],
    store: Store,
    options: BuildOptions,
    reuse: Reuse,
    stored: Stored | None = None,
) -> dict[str, FeatureSet]:
    """Return the sets by split: from the store, from an upstream, or newly built.

    If ``options.part`` is set, nothing is committed, and only sets that are complete already are returned. New sets reuse the
    rows that `reuse` finds in committed sets. `stored` has summaries of the fragments that `SweepJob` has built.

    Raises
    ------
    UsageError, SourceError, StoreError
        The same errors as those of `preprocess`.
    """
    resolution = resolve(requested, store, reuse.upstreams, progress=options.copy_progress)
    existing, unavailable = resolution.existing, resolution.unavailable
    missing = resolution.missing + [
        reuse.without_recordings(wanted, unavailable[wanted.split])
        for wanted in requested
        if isinstance(wanted, LockedSet) and wanted.split in unavailable
    ]
    for wanted in requested:
        if isinstance(wanted, RequestedSet) and wanted.located.source.items is not None:
            from spikestore.pipeline.building.version_check import (
                refuse_other_length,
                refuse_other_recordings,
            )

            refuse_other_length(wanted, store)
            if wanted.split in existing:
                refuse_other_recordings(wanted, existing[wanted.split])
    for wanted in requested:
        if wanted.split in existing and not options.allow_empty and not existing[wanted.split].manifest.nnz:
            raise SourceError(
                f"{wanted.label} is in the store already and is empty: an earlier build allowed this. To use the empty "
                "set, pass --allow-empty, or set allow_empty = true under [build]; in Python, pass options=BuildOptions(allow_empty=True)"
            )
    if not missing:
        return existing
    if options.part is not None:
        # Imported here, as in `_build`: a run with nothing to do needs neither Dask nor HDF5.
        from spikestore.pipeline.building.array_jobs import build_part

        build_part(options.part, missing, existing, store, options, reuse, stored or {})
        return existing
    built = _build(missing, existing, store, options, reuse, stored or {})
    for wanted in requested:
        if isinstance(wanted, LockedSet) and wanted.split in built:
            wanted.refuse_other_set(built[wanted.split])
    return {wanted.split: (existing | built)[wanted.split] for wanted in requested}


def _build(
    missing: Sequence[RequestedSet],
    existing: Mapping[str, FeatureSet],
    store: Store,
    options: BuildOptions,
    reuse: Reuse,
    stored: Stored,
) -> dict[str, FeatureSet]:
    # Imported here: a run with nothing to do needs neither Dask nor HDF5.
    from spikestore.pipeline.building.feature_build import (
        BuildRequest,
        build_features,
        open_build,
        refuse_unfinished,
    )
    from spikestore.pipeline.execution.schedulers import open_scheduler
    from spikestore.pipeline.readers.event_block import are_few
    from spikestore.pipeline.readers.items.items_reader import first_not_sendable
    from spikestore.pipeline.transforms.choose import EVENTS_PER_SECOND, Executor, executor_for

    def silent(done: int, total: int, label: str) -> None:
        """Do nothing; the default progress callback."""

    # Errors of all splits are reported before workers start.
    found = {wanted.split: reuse.look(wanted) for wanted in missing}
    looked = {split: look for split, (look, _) in found.items()}
    former = {split: rows for split, (_, rows) in found.items()}
    events = {split: events_to_read(look, former[split]) for split, look in looked.items()}
    # Workers of a cluster keep compiled code loaded.
    few_events = options.scheduler is None and are_few(sum(read for read, _ in events.values()))
    built: dict[str, FeatureSet] = {}
    executors: dict[str, Executor] = {}
    seconds = 0.0
    for wanted in missing:
        executors[wanted.split] = executor_for(
            wanted.transform,
            options.executor,
            has_y="y" in looked[wanted.split].layout.axes,
            few_events=few_events,
        )
        seconds += events[wanted.split][1] / EVENTS_PER_SECOND[executors[wanted.split]]
        seconds += wanted.located.seconds_to_read
    classes = {split: features.classes for split, features in existing.items()}
    refuse_other_classes(classes | {split: look.layout.classes for split, look in looked.items()})
    # Nothing is left to compute after the parts, so a scheduler is not needed.
    workers, address = (0, None) if options.finalise else (options.workers, options.scheduler)
    not_sendable = functools.partial(
        first_not_sendable, [place for wanted in missing for place in wanted.located.parts]
    )
    with open_scheduler(workers, address, seconds=seconds, not_sendable=not_sendable) as scheduler:

        def opened(wanted: RequestedSet) -> Build:
            request = BuildRequest(
                scheduler.workers, options.fragment_samples, options.restart, former[wanted.split]
            )
            return open_build(store.storage, wanted.located, wanted.transform, request, looked[wanted.split])

        builds: dict[str, Build] = {}
        if options.finalise:
            # Nothing is committed if a fragment of any split is missing.
            builds = {wanted.split: opened(wanted) for wanted in missing}
            suffix = "" if reuse.name is None else f" of {reuse.name}"
            refuse_unfinished({f"{wanted.label}{suffix}": builds[wanted.split] for wanted in missing})
        for wanted in missing:
            built[wanted.split] = build_features(
                builds[wanted.split] if builds else opened(wanted),
                wanted.located,
                wanted.transform,
                scheduler,
                executor=executors[wanted.split],
                former=former[wanted.split],
                allow_empty=options.allow_empty,
                notes=wanted.notes,
                stored=stored.get(wanted.address, ()),
                progress=options.progress or silent,
            )
    return built
