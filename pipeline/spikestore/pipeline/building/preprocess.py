"""The main job: recordings in, committed feature sets out; nothing is computed that the store has already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from spikestore.pipeline.recipes.locked_sets import pinned_digest, pinned_sets
from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.recipes.recipe_lock import LockFile, RecipeLock
from spikestore.pipeline.recipes.requested_sets import Target, dataset_target, recipe_targets
from spikestore.pipeline.recipes.shipped import result_name
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import NamedSet, refuse_other_classes
from spikestore.store.store import Store, default_location
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.errors import SourceError, SourceNotFoundError, UsageError
from spikestore.store_schemas.specs.transform import ExecutorName

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build; nothing here changes the result.

    Attributes
    ----------
    scheduler : str, optional
        Address of a running Dask scheduler, to use instead of local workers.
    fragment_samples : int, optional
        Wished rows of a fragment, rounded up to a multiple of 64.
    restart : bool
        Begin anew instead of going on with an unfinished build.
    executor : {"auto", "fused", "tonic"}
        Who runs the transform; the samples are the same. ``auto`` is the fused pass where it can, else plain NumPy.
    finalise : bool
        Compute nothing: commit what the jobs of ``--part`` have built, or say what is missing.
    allow_empty : bool
        Accept a set without any event in a time bin, which is an error otherwise.
    upstreams : tuple of str
        Stores that are asked before anything is computed; a recipe's own come after these.
    progress : callable, optional
        Called as (samples done, samples in all, what is built).
    copy_progress : callable, optional
        Called as (bytes done, bytes in all, what is copied from an upstream).
    """

    scheduler: str | None = None
    fragment_samples: int | None = None
    restart: bool = False
    executor: ExecutorName = "auto"
    finalise: bool = False
    allow_empty: bool = False
    upstreams: tuple[str, ...] = ()
    progress: Callable[[int, int, str], None] | None = None
    copy_progress: Callable[[int, int, str], None] | None = None


# A path is an object too: mypy is right that the two overlap, and the first one wins.
@overload
def preprocess(  # type: ignore[overload-overlap]
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


@overload
def preprocess(
    source_or_dataset: object,
    transform: object = None,
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    data: None = None,
    lock: None = None,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> FeatureSet: ...


def preprocess(
    source_or_dataset: object,
    transform: object = None,
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
    move: bool = False,
    data: str | Path | None = None,
    lock: str | Path | None = None,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> FeatureSet | dict[str, FeatureSet]:
    """Compute feature sets, unless the store, or an upstream of it, has them already.

    With a lock beside the recipe, and a store or an upstream that has what it pins, no recordings are needed.

    Parameters
    ----------
    source_or_dataset : Tonic dataset, LocatedSource, path of a recipe, or Recipe
        What to read. A Tonic dataset (``tonic.datasets.SSC`` or ``SHD``) is turned into specs; its events are
        read from its files.
    transform : tonic.transforms.Compose or Transform, optional
        What to do to each recording; by default the dataset's own transform. A recipe has its own.
    store : Store, str or Path, optional
        Where the result goes; by default ``$SPIKESTORE_STORE``, else the user's data directory.
    name : str, optional
        Name for the result: a ref, with one feature set per split. A recipe has its own; with a shipped one and `data`
        the folder's name is added to it.
    move : bool
        Move the name even if it stands for other recordings or another transform.
    data : str or Path, optional
        Folder with the recordings; only for recipes, takes precedence over what the recipe says.
    lock : str or Path, optional
        The lock of a recipe; by default it lies beside the recipe, and for a shipped recipe none is written.
    workers : int, optional
        Local worker processes, one per core by default; 0 works in this process.
    options : BuildOptions, optional
        Everything else about how to build.

    Returns
    -------
    FeatureSet, or dict of str to FeatureSet
        At once, if the store has it. A recipe gives one per split.

    Raises
    ------
    UsageError
        The recipe or a parameter is wrong (`SpecError`, `UnknownNameError`, `SourceNotFoundError`), or something
        in the transform has no spec (`UnsupportedTransformError`); the name stands for something else; or the splits
        list their classes in different orders.
    SourceError
        The recordings can't be used, or none of their events is in a time bin.
    StoreError
        The store can't be written to, is full, or damaged.

    Examples
    --------
    >>> dataset = tonic.datasets.SSC("data", split="train", transform=dense_transform)    # doctest: +SKIP
    >>> features = preprocess(dataset, store="feature_store", name="ssc-100ch-4ms")               # doctest: +SKIP
    """
    options = options or BuildOptions()
    place = store if isinstance(store, Store) else Store(store if store is not None else default_location())
    if not isinstance(source_or_dataset, (str, Path, Recipe)):
        if data is not None:
            raise UsageError("data= goes with a recipe; a dataset knows where its files are")
        if lock is not None:
            raise UsageError("lock= goes with a recipe: a dataset has no lock")
        target = dataset_target(source_or_dataset, transform)
        if name is not None and not move:
            place.refuse_move(name, named_sets([target]))
        features = build_targets([target], place, workers, options)[target.split]
        if name is not None:
            place.point(name, {target.split: features}, move=move)
        return features
    if transform is not None:
        raise UsageError("a recipe has its own transform: leave out transform=")
    path = None if isinstance(source_or_dataset, Recipe) else Path(source_or_dataset)
    recipe = source_or_dataset if isinstance(source_or_dataset, Recipe) else load_recipe(source_or_dataset)
    name = name or result_name(recipe, path, data)
    lock_file = LockFile.of(path, lock)
    locked = lock_file.read()
    options, workers = with_recipe(options, workers, recipe, origin=path)
    try:
        targets = recipe_targets(recipe, origin=path, data=data)
    except SourceNotFoundError as error:
        found = had_pinned(recipe, locked, place, options, missing=error, data=data)
    else:
        if not move:  # worth knowing before hours of work
            place.refuse_move(name, named_sets(targets))
        found = build_targets(targets, place, workers, options, locked)
    pins = {split: features.pin for split, features in found.items()}
    lock_file.refuse_other_digests(locked, pins)
    place.point(name, found, move=move)
    lock_file.update(locked, pins)
    return found


def named_sets(targets: list[Target]) -> dict[str, NamedSet]:
    """Return by split what is about to get a name, for `Store.refuse_move`."""
    return {target.split: NamedSet(target.address, target.located.source) for target in targets}


def had_pinned(
    recipe: Recipe,
    lock: RecipeLock | None,
    store: Store,
    options: BuildOptions,
    *,
    missing: SourceNotFoundError,
    data: str | Path | None,
) -> dict[str, FeatureSet]:
    """Return what a lock pins, where there are no recordings; raises `missing` where it pins nothing, or `data` was given."""
    if lock is None or data is not None:
        raise missing
    upstreams = Upstreams(options.upstreams)
    return pinned_sets(recipe, lock, store, upstreams, missing=missing, progress=options.copy_progress)


def with_recipe(
    options: BuildOptions, workers: int | None, recipe: Recipe, *, origin: Path | None = None
) -> tuple[BuildOptions, int | None]:
    """Return options and workers with what the recipe's ``[build]`` says where the caller said nothing."""
    options = replace(
        options,
        fragment_samples=options.fragment_samples or recipe.build.fragment_samples,
        executor=recipe.build.executor if options.executor == "auto" else options.executor,
        allow_empty=options.allow_empty or recipe.build.allow_empty,
        upstreams=(*options.upstreams, *locate_upstreams(recipe.upstreams, origin)),
    )
    return options, workers if workers is not None or options.scheduler else recipe.build.workers


def build_targets(
    targets: list[Target],
    store: Store,
    workers: int | None,
    options: BuildOptions,
    lock: RecipeLock | None = None,
) -> dict[str, FeatureSet]:
    """Return the feature set of each target: from the store, from an upstream, or built now."""
    found, missing = had_already(targets, store, options, lock)
    if missing:
        found |= _build(missing, found, store, workers, options)
    return {target.split: found[target.split] for target in targets}


def had_already(
    targets: list[Target], store: Store, options: BuildOptions, lock: RecipeLock | None
) -> tuple[dict[str, FeatureSet], list[Target]]:
    """Return the sets that the store has, or has now from an upstream, by split; and what is to be computed."""
    upstreams = Upstreams(options.upstreams)
    found: dict[str, FeatureSet] = {}
    missing: list[Target] = []
    for target in targets:
        features = store.find(target.address)
        if features is None:
            digest = pinned_digest(lock, target.split, target.address)
            copied = upstreams.fetch(
                store, target.address, label=target.label, digest=digest, progress=options.copy_progress
            )
            if copied is None:
                missing.append(target)
            else:
                found[target.split] = copied
        else:
            found[target.split] = features
            if not options.allow_empty and features.manifest.nnz == 0:
                raise SourceError(
                    f"{target.label} is in the store already and is empty: it was stored on request. To use it all the same: "
                    "--allow-empty, or allow_empty = true under [build]"
                )
            logger.info(
                "%s is in the store already (%d samples, digest %s): nothing to compute",
                target.label,
                len(features),
                features.digest[:12],
            )
    return found, missing


def _build(
    targets: list[Target],
    had: Mapping[str, FeatureSet],
    store: Store,
    workers: int | None,
    options: BuildOptions,
) -> dict[str, FeatureSet]:
    # Here and not above: a run with nothing to do imports neither Dask nor HDF5.
    from spikestore.pipeline.building.feature_build import (
        BuildRequest,
        build_features,
        look_into,
        open_build,
        refuse_unfinished,
    )
    from spikestore.pipeline.execution.schedulers import open_scheduler
    from spikestore.pipeline.transforms.choose import EVENTS_PER_SECOND, executor_for

    def silent(done: int, total: int, label: str) -> None:
        """Show nothing."""

    built: dict[str, FeatureSet] = {}
    seconds = 0.0
    classes = {split: features.classes for split, features in had.items()}
    for target in targets:  # what is wrong with the last split is reported before workers are started
        layout, n_events = look_into(target.located, target.transform)
        classes[target.split] = layout.classes
        who = executor_for(target.transform, options.executor, has_y="y" in layout.axes)
        seconds += n_events / EVENTS_PER_SECOND[who]
    refuse_other_classes(classes)
    with open_scheduler(0 if options.finalise else workers, options.scheduler, seconds=seconds) as runs:
        request = BuildRequest(runs.workers, options.fragment_samples, options.restart)
        for target in targets:
            build = open_build(store.storage, target.located, target.transform, request)
            if options.finalise:
                refuse_unfinished(build, target.label)
            built[target.split] = build_features(
                build,
                target.located,
                target.transform,
                runs,
                executor=options.executor,
                allow_empty=options.allow_empty,
                progress=options.progress or silent,
            )
    return built
