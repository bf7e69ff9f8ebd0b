"""The main job: recordings in, committed feature sets out; nothing is computed that the store has already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from spikestore.pipeline.recipes.locked_sets import pinned_digest, pinned_sets
from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.recipes.recipe_lock import RecipeLock, lock_path, read_lock, write_lock
from spikestore.pipeline.recipes.requested_sets import Target, dataset_target, recipe_targets
from spikestore.pipeline.recipes.shipped import INSTALLED
from spikestore.store.feature_set import FeatureSet
from spikestore.store.store import Store, default_location
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.errors import ConflictError, SourceNotFoundError, UsageError
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
        Who runs the transform; the samples are the same. ``auto`` is the fused pass where it can.
    finalise : bool
        Compute nothing: commit what the jobs of ``--part`` have built, or say what is missing.
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
    data: str | Path | None = None,
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
    data: None = None,
    workers: int | None = None,
    options: BuildOptions | None = None,
) -> FeatureSet: ...


def preprocess(
    source_or_dataset: object,
    transform: object = None,
    *,
    store: Store | str | Path | None = None,
    name: str | None = None,
    data: str | Path | None = None,
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
        Name for the result: a ref, with one feature set per split. A recipe has its own.
    data : str or Path, optional
        Folder with the recordings; only for recipes, goes before what the recipe says.
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
        in the transform has no spec (`UnsupportedTransformError`).
    SourceError
        The recordings can't be used.
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
        target = dataset_target(source_or_dataset, transform)
        features = build_targets([target], place, workers, options)[target.split]
        if name is not None:
            place.point(name, {target.split: features})
        return features
    if transform is not None:
        raise UsageError("a recipe has its own transform: leave out transform=")
    path = None if isinstance(source_or_dataset, Recipe) else Path(source_or_dataset)
    recipe = source_or_dataset if isinstance(source_or_dataset, Recipe) else load_recipe(source_or_dataset)
    locked = _lockable(path)
    lock = recipe_lock(path)
    options, workers = with_recipe(options, workers, recipe, origin=path)
    try:
        targets = recipe_targets(recipe, origin=path, data=data)
    except SourceNotFoundError as error:
        found = had_pinned(recipe, lock, place, options, missing=error, data=data)
    else:
        found = build_targets(targets, place, workers, options, lock)
    if locked is not None:
        _keep_lock(lock_path(locked), lock, found)
    place.point(name or recipe.name, found)
    return found


def _lockable(path: Path | None) -> Path | None:
    return path if path is not None and path.parent != INSTALLED else None  # the package is nobody's to lock


def recipe_lock(path: Path | None) -> RecipeLock | None:
    """Return the lock beside a recipe, if there is one."""
    locked = _lockable(path)
    return read_lock(lock_path(locked)) if locked is not None else None


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
        found |= _build(missing, store, workers, options)
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
            logger.info(
                "%s is in the store already (%d samples, digest %s): nothing to compute",
                target.label,
                len(features),
                features.digest[:12],
            )
    return found, missing


def _build(
    targets: list[Target], store: Store, workers: int | None, options: BuildOptions
) -> dict[str, FeatureSet]:
    # Here and not above: a run with nothing to do imports neither Tonic, Dask nor HDF5.
    from spikestore.pipeline.building.feature_build import (
        Wish,
        build_features,
        look_into,
        open_build,
        refuse_unfinished,
    )
    from spikestore.pipeline.execution.executors import executor
    from spikestore.pipeline.transforms.choose import EVENTS_PER_SECOND, executor_for

    def silent(done: int, total: int, label: str) -> None:
        """Show nothing."""

    built: dict[str, FeatureSet] = {}
    seconds = 0.0
    for target in targets:  # what is wrong with the last split is told before workers are started
        layout, n_events = look_into(target.located, target.transform)
        who = executor_for(target.transform, options.executor, has_y="y" in layout.axes)
        seconds += n_events / EVENTS_PER_SECOND[who]
    with executor(0 if options.finalise else workers, options.scheduler, seconds=seconds) as runs:
        wish = Wish(runs.workers, options.fragment_samples, options.restart)
        for target in targets:
            build = open_build(store.storage, target.located, target.transform, wish)
            if options.finalise:
                refuse_unfinished(build, target.label)
            built[target.split] = build_features(
                build,
                target.located,
                target.transform,
                runs,
                executor=options.executor,
                progress=options.progress or silent,
            )
    return built


def _keep_lock(path: Path, lock: RecipeLock | None, found: dict[str, FeatureSet]) -> None:
    pins = {split: one.pin for split, one in found.items()}
    for split, pin in pins.items():
        old = lock.splits.get(split) if lock is not None else None
        same_keys = old is not None and (old.transform_key, old.source_key) == (
            pin.transform_key,
            pin.source_key,
        )
        if old is not None and same_keys and old.digest != pin.digest:
            raise ConflictError(
                f"{path} pins {split} with digest {old.digest[:12]}, the store has {pin.digest[:12]} under the same "
                "keys: one of the two is wrong; verify the store, or delete the lock",
                path=str(path),
            )
    if lock is not None and lock.splits == pins:
        return
    for split, old in lock.splits.items() if lock is not None else ():
        if split in pins and pins[split] != old:
            logger.warning(
                "%s pinned %s with digest %s, this gave %s: other recordings or another transform; the lock is "
                "rewritten, version control shows the change",
                path,
                split,
                old.digest[:12],
                pins[split].digest[:12],
            )
    try:
        write_lock(path, RecipeLock(splits=pins))
    except OSError as error:
        logger.warning("%s could not be written (%s); nothing else is missing", path, error.strerror)
    else:
        logger.info("%s %s", "wrote" if lock is None else "brought up to date", path)
