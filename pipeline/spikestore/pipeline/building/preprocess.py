"""`preprocess`: compute and commit the feature sets of a recipe or a data set, except those that the store has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, overload

from spikestore.pipeline.building.missing_sets import build_sets
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.recipe_builds import named_sets, preprocess_recipes, reuse_of
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.requested_sets import set_of_dataset
from spikestore.pipeline.recipes.resolve import OpenedRecipe
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.feature_set import FeatureSet
from spikestore.store.refs import refuse_wrong_names
from spikestore.store.store import Store, default_location
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.errors import UsageError


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

    Upstreams are other stores, which the recipe lists; sets are copied from them. If the recipe has a lock, and each set that the
    lock lists is in the store or in an upstream, the recordings are not needed.

    Parameters
    ----------
    source_or_dataset : Tonic dataset, other dataset, LocatedSource, path of a recipe, or Recipe
        The source. A Tonic dataset (such as ``tonic.datasets.SSC``) is converted to a spec, and events are read from its files;
        torch's ``Subset`` or ``ConcatDataset`` of Tonic datasets is supported too. For any other object with ``__len__`` and
        ``__getitem__``, `version` or `hash_events` is required; each item of the object must be a pair (events, target), where
        ``events`` is a structured array. `source_of_dataset` has more options.
    transform : tonic.transforms.Compose or Transform, optional
        Transform of each recording; by default the transform of the Tonic dataset. If the source is a recipe, this parameter is
        not allowed, because the recipe states the transform.
    version : str, optional
        Identifies the recordings of a dataset without known files. If the recordings change, the version must change.
    hash_events : bool
        If True, a hash of all events identifies the recordings of a dataset without known files, instead of `version`.
    split : str, optional
        Name of the split of a dataset; by default the split of the Tonic dataset, else ``all``.
    store : Store, str or Path, optional
        Store for the result; by default ``$SPIKESTORE_STORE``, else the user's data folder.
    name : str, optional
        Name of the feature sets: a ref with one feature set per split. By default the name of the recipe; if a shipped recipe is used
        with `data`, the name of the folder is appended.
    move : bool
        Move the name even if it refers to other recordings or another transform.
    data : str or Path, optional
        Folder with the recordings, only for recipes; it takes precedence over the folder in the recipe.
    lock : str or Path, optional
        The lock of a recipe; by default the lock next to the recipe. A shipped recipe has no lock by default.
    workers : int, optional
        Number of worker processes; the same as ``options=BuildOptions(workers=…)``.
    options : BuildOptions, optional
        Options of the build: workers, scheduler, part, …

    Returns
    -------
    FeatureSet, or dict of str to FeatureSet
        For a data set, its feature set. For a recipe, its feature sets by split; if the recipe has ``[[sweep]]``, by
        ``NAME:SPLIT``. If ``options.part`` is set, nothing is committed, no name is set, and only feature sets that were committed
        before are returned; for a data set whose feature set is not committed, None is returned.

    Raises
    ------
    UsageError
        The recipe or a parameter is wrong (`SpecError`, `UnknownNameError`, `SourceNotFoundError`); a part of the
        transform has no spec (`UnsupportedTransformError`); the name refers to another set; or a class number
        means different classes in two splits.
    SourceError
        The recordings cannot be used, or no time bin has an event.
    StoreError
        The store cannot be written to, is full, or is damaged.
    SpikestoreError
        Worker processes died, or the Dask scheduler cannot be reached.

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
            raise UsageError(
                "a recipe takes no version=, hash_events= or split=, which are for data sets in Python: omit them"
            )
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
    if name is not None:
        refuse_wrong_names(name)
    wanted = set_of_dataset(
        source_or_dataset, transform, version=version, hash_events=hash_events, split=split
    )
    named = named_sets([wanted])
    if name is not None and not move:
        opened_store.refuse_move(name, named)
    reuse = reuse_of(opened_store, name, named, options, Upstreams(options.upstreams))
    sets = build_sets([wanted], opened_store, options, reuse)
    if name is not None and options.part is None:
        opened_store.point(name, sets, move=move)
    return sets.get(wanted.split)
