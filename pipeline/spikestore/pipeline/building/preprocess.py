"""`preprocess`: compute and commit the feature sets of a recipe or a data set, except those that the store has."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.reuse import Reuse, events_to_read
from spikestore.pipeline.building.version_check import refuse_other_length, refuse_other_recordings
from spikestore.pipeline.readers.items.items_reader import first_not_sendable
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.requested_sets import RequestedSet, set_of_dataset
from spikestore.pipeline.recipes.resolve import LockedSet, OpenedRecipe, resolve
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import NamedSet, refuse_other_classes
from spikestore.store.store import Store, default_location
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import SourceError, UsageError

_SHARES_BY_PATH = (
    ". Without group, a hash of the path decides the split: keep the paths, set group under [source.folder], or write the "
    "splits into a table"
)


class MapDataset(Protocol):
    """Protocol of a data set with numbered items; only type checkers use it."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class TonicDataset(Protocol):
    """Protocol of a Tonic data set; only type checkers use it."""

    location_on_system: str
    """Folder of the data set."""


@overload
def preprocess(
    source_or_dataset: str | Path | Recipe,
    transform: None = None,
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    data: str | Path | None = None,
    lock: str | Path | None = None,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> dict[str, FeatureSet]: ...


# `| Any`: None with `options.part`; other callers need no check.
@overload
def preprocess(
    source_or_dataset: TonicDataset | MapDataset | LocatedSource,
    transform: object = None,
    *,
    version: str | None = None,
    hash_events: bool = False,
    split: str | None = None,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> FeatureSet | Any: ...


def preprocess(
    source_or_dataset: object,
    transform: object = None,
    *,
    version: str | None = None,
    hash_events: bool = False,
    split: str | None = None,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    data: str | Path | None = None,
    lock: str | Path | None = None,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> FeatureSet | dict[str, FeatureSet] | None:
    """Return the feature sets of a recipe or a data set; compute those that neither the store nor an upstream has.

    The recordings are not needed if the recipe has a lock, and the store or an upstream has the sets in the lock.

    Parameters
    ----------
    source_or_dataset : Tonic dataset, other dataset, LocatedSource, path of a recipe, or Recipe
        The source. A Tonic dataset (such as ``tonic.datasets.SSC``) is converted to a spec; events are read from its
        files, also through torch's ``Subset`` and ``ConcatDataset``. Any other object with ``__len__`` and ``__getitem__`` needs `version` or
        `hash_events`; its items are pairs of a structured array of events and a target. `source_of_dataset` has more options.
    transform : tonic.transforms.Compose or Transform, optional
        Transform of each recording; by default that of the Tonic dataset. Not allowed with a recipe, which has its own.
    version : str, optional
        Identifies the recordings of a dataset without known files; change it whenever they change.
    hash_events : bool
        Identify these recordings by a hash of all events instead.
    split : str, optional
        Name of the split of a dataset; by default that of Tonic's dataset, else ``all``.
    store : Store, str or Path, optional
        Store for the result; by default ``$SPIKESTORE_STORE``, else the user's data directory.
    name : str, optional
        Name of the result: a ref with one feature set per split. By default the name of the recipe; for a shipped recipe
        with `data`, the name of the folder is appended.
    move : bool
        Move the name even if it stands for other recordings or another transform.
    data : str or Path, optional
        Folder with the recordings, only for recipes; takes precedence over the recipe's.
    lock : str or Path, optional
        The lock of a recipe; by default next to the recipe, and none for a shipped recipe.
    workers : int, optional
        Number of worker processes; the same as ``options=BuildOptions(workers=…)``.
    options : BuildOptions, optional
        Options of the build: workers, scheduler, part, …

    Returns
    -------
    FeatureSet, or dict of str to FeatureSet
        The feature set of a data set, or those of a recipe by split; for a recipe with ``[[sweep]]`` by ``NAME:SPLIT``. With ``options.part`` nothing is committed, no name
        is set, and only sets that were complete before are returned: None for an incomplete data set.

    Raises
    ------
    UsageError
        The recipe or a parameter is wrong (`SpecError`, `UnknownNameError`, `SourceNotFoundError`); a part of the
        transform has no spec (`UnsupportedTransformError`); the name stands for another set; or the splits list their
        classes in different orders.
    SourceError
        The recordings cannot be used, or none of their events is in a time bin.
    StoreError
        The store cannot be written to, is full, or is damaged.

    Examples
    --------
    >>> dataset = tonic.datasets.SSC("data", split="train", transform=dense_transform)    # doctest: +SKIP
    >>> features = preprocess(dataset, store="feature_store", name="ssc-100ch-4ms")               # doctest: +SKIP

    Job 3 of an array of 16, and the job that follows the array:

    >>> preprocess("ssc.toml", store="feature_store", options=BuildOptions(part=(3, 16)))         # doctest: +SKIP
    >>> preprocess("ssc.toml", store="feature_store", options=BuildOptions(finalise=True))        # doctest: +SKIP
    """
    options = options or BuildOptions()
    if workers is not None:
        options = replace(options, workers=workers)
    opened_store = (
        store if isinstance(store, Store) else Store(store if store is not None else default_location())
    )
    if isinstance(source_or_dataset, (str, Path, Recipe)):
        if transform is not None:
            raise UsageError("a recipe has its own transform: omit transform=")
        if version is not None or hash_events or split is not None:
            raise UsageError("version=, hash_events= and split= are for data sets in Python: omit them")
        recipe = OpenedRecipe.open(source_or_dataset, data=data, lock=lock)
        recipes = recipe.named(name)
        built = preprocess_recipes(recipes, opened_store, options, move=move)
        if not recipe.recipe.sweep:
            return built[0]
        return {
            f"{result}:{split}": features
            for (result, _), sets in zip(recipes, built, strict=True)
            for split, features in sets.items()
        }
    if data is not None:
        raise UsageError("data= is for recipes; a data set has its own folder: omit data=")
    if lock is not None:
        raise UsageError("lock= is for recipes; a data set has no lock: omit lock=")
    wanted = set_of_dataset(
        source_or_dataset, transform, version=version, hash_events=hash_events, split=split
    )
    named = _named_sets([wanted])
    if name is not None and not move:
        opened_store.refuse_move(name, named)
    sets = build_sets([wanted], opened_store, options, _reuse(opened_store, name, named, options))
    if name is not None and options.part is None:
        opened_store.point(name, sets, move=move)
    return sets.get(wanted.split)


class _Prepared(NamedTuple):
    """A recipe whose sets may get the name."""

    name: str
    recipe: OpenedRecipe
    options: BuildOptions
    requested: Sequence[RequestedSet | LockedSet]
    reuse: Reuse


def preprocess_recipes(
    recipes: Sequence[tuple[str, OpenedRecipe]], store: Store, options: BuildOptions, *, move: bool = False
) -> list[dict[str, FeatureSet]]:
    """Return the feature sets of each named recipe by split, and point the names at them; see `preprocess`.

    Sets of the same source are built together, so that each recording is read once.
    """
    prepared = [_prepared(name, recipe, store, options, move=move) for name, recipe in recipes]
    if len(prepared) > 1 and not options.finalise:
        prepared = _built_together(prepared, store)
    return [_finished(each, store, move=move) for each in prepared]


def _prepared(
    name: str, recipe: OpenedRecipe, store: Store, options: BuildOptions, *, move: bool
) -> _Prepared:
    """Identify the sets of a recipe, and check that the name may refer to them."""
    options = options.with_recipe(recipe)
    requested = recipe.requested_sets()
    named = _named_sets(requested)
    reuse = _reuse(store, name, named, options)
    settings = recipe.recipe.source.folder_settings
    by_path = bool(settings.shares) and settings.group is None
    reuse.report_changed_splits(named, _SHARES_BY_PATH if by_path else "")
    if named and not move:  # reported before hours of work
        store.refuse_move(name, named)
    return _Prepared(name, recipe, options, requested, reuse)


def _finished(prepared: _Prepared, store: Store, *, move: bool) -> dict[str, FeatureSet]:
    """Build the sets of a recipe, point the name at them, and write the lock."""
    name, recipe, options, requested, reuse = prepared
    sets = build_sets(requested, store, options, reuse)
    if options.part is not None:
        return sets
    pins = {split: features.pin for split, features in sets.items()}
    recipe.lock_file.refuse_other_digests(recipe.lock, pins)
    store.point(name, sets, move=move)
    recipe.lock_file.update(recipe.lock, pins)
    return sets


def _built_together(prepared: Sequence[_Prepared], store: Store) -> list[_Prepared]:
    """Build the fragments of all sets whose recordings must be read, and return the recipes with options to commit them.

    A recipe with a set that stored rows determine is left out: its recordings are not all read.
    """
    from spikestore.pipeline.building.sweep import SetToBuild, build_together

    sets: dict[Address, SetToBuild] = {}
    after = []
    for each in prepared:
        missing = resolve(each.requested, store, each.reuse.upstreams, copy=False).missing
        looked = [(wanted, *each.reuse.look(wanted)) for wanted in missing]
        if looked and all(former is None for _, _, former in looked):
            sets |= {wanted.address: SetToBuild(wanted, look) for wanted, look, _ in looked}
            # The fragments are stored then: neither workers nor another restart.
            committing = replace(each.options, workers=0, scheduler=None, restart=False)
            after.append(each._replace(options=committing))
        else:
            after.append(each)
    if sets:
        build_together(tuple(sets.values()), store.storage, prepared[0].options)
    return after


def _reuse(store: Store, name: str | None, named: Mapping[str, NamedSet], options: BuildOptions) -> Reuse:
    addresses = {wanted.address for wanted in named.values()}
    return Reuse(
        store,
        name,
        addresses,
        enabled=options.reuse and not options.finalise,
        derive=options.derive and not options.finalise,
        upstreams=Upstreams(options.upstreams),
    )


def _named_sets(requested: Sequence[RequestedSet | LockedSet]) -> dict[str, NamedSet]:
    """Return the requested sets by split, for `Store.refuse_move`; sets that only the lock identifies are left out."""
    return {
        wanted.split: NamedSet(wanted.address, wanted.located.source)
        for wanted in requested
        if isinstance(wanted, RequestedSet)
    }


def build_sets(
    requested: Sequence[RequestedSet | LockedSet],
    store: Store,
    options: BuildOptions,
    reuse: Reuse,
) -> dict[str, FeatureSet]:
    """Return the sets by split: from the store, from an upstream, or newly built.

    With ``part``, only sets that are complete are returned. New sets reuse the rows that `reuse` finds in committed sets.

    Raises
    ------
    UsageError, SourceError, StoreError
        The same errors as those of `preprocess`.
    """
    resolution = resolve(requested, store, reuse.upstreams, progress=options.copy_progress)
    resolution.refuse_unavailable()
    existing, missing = resolution.existing, resolution.missing
    for wanted in requested:
        if isinstance(wanted, RequestedSet) and wanted.located.source.items is not None:
            refuse_other_length(wanted, store)
            if wanted.split in existing:
                refuse_other_recordings(wanted, existing[wanted.split])
    for wanted in requested:
        if wanted.split in existing and not options.allow_empty and not existing[wanted.split].manifest.nnz:
            raise SourceError(
                f"{wanted.label} is in the store already and is empty: an earlier build allowed this. To use the empty "
                "set, pass --allow-empty, or set allow_empty = true under [build]"
            )
    if not missing:
        return existing
    if options.part is not None:
        # Imported here, as in `_build`: a run with nothing to do needs neither Dask nor HDF5.
        from spikestore.pipeline.building.array_jobs import build_part

        build_part(options.part, missing, existing, store, options, reuse)
        return existing
    built = _build(missing, existing, store, options, reuse)
    return {wanted.split: (existing | built)[wanted.split] for wanted in requested}


def _build(
    missing: Sequence[RequestedSet],
    existing: Mapping[str, FeatureSet],
    store: Store,
    options: BuildOptions,
    reuse: Reuse,
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
    workers = 0 if options.finalise else options.workers
    not_sendable = functools.partial(
        first_not_sendable, [place for wanted in missing for place in wanted.located.parts]
    )
    with open_scheduler(workers, options.scheduler, seconds=seconds, not_sendable=not_sendable) as scheduler:
        for wanted in missing:
            rows = former[wanted.split]
            request = BuildRequest(scheduler.workers, options.fragment_samples, options.restart, rows)
            build = open_build(store.storage, wanted.located, wanted.transform, request, looked[wanted.split])
            if options.finalise:
                refuse_unfinished(build, wanted.label)
            built[wanted.split] = build_features(
                build,
                wanted.located,
                wanted.transform,
                scheduler,
                executor=executors[wanted.split],
                former=rows,
                allow_empty=options.allow_empty,
                notes=wanted.notes,
                progress=options.progress or silent,
            )
    return built
