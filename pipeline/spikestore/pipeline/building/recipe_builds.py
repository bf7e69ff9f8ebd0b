"""Building the sets of recipes, and writing the names and locks of the recipes. The variants of a sweep are built together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from spikestore.pipeline.building.missing_sets import build_sets
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.reuse import Reuse
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.recipes.resolve import LockedSet, OpenedRecipe, resolve
from spikestore.store.feature_set import FeatureSet
from spikestore.store.names import NamedSet
from spikestore.store.store import Store
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.documents.address import Address

if TYPE_CHECKING:
    from spikestore.pipeline.building.missing_sets import Stored

_SHARES_BY_PATH = (
    ". If group is not set, a hash of the path decides the split, so a renamed or moved file can change its split. To prevent this, set "
    "group under [source.folder], or replace shares there by a table with the split of each recording (table = … and split = …)"
)


class _Prepared(NamedTuple):
    """A recipe, the sets that it requests, and the name that these sets get in the store."""

    name: str
    recipe: OpenedRecipe
    options: BuildOptions
    requested: Sequence[RequestedSet | LockedSet]
    reuse: Reuse
    stored: Stored | None = None
    """Summaries of the fragments that were built together with those of other recipes."""


def preprocess_recipes(
    recipes: Sequence[tuple[str, OpenedRecipe]], store: Store, options: BuildOptions, *, move: bool = False
) -> list[dict[str, FeatureSet]]:
    """Return the feature sets of each named recipe by split, and point the names at them; see `preprocess`.

    Sets of the same source are built together, so that each recording is read once.
    """
    _, first = recipes[0]
    options = options.with_recipe(first)  # variants have the same options and upstreams
    upstreams = Upstreams(options.upstreams)
    prepared = [_prepared(name, recipe, store, options, upstreams, move=move) for name, recipe in recipes]
    if len(prepared) > 1 and not options.finalise:
        prepared = _built_together(prepared, store)
    return [_finished(each, store, move=move) for each in prepared]


def _prepared(
    name: str,
    recipe: OpenedRecipe,
    store: Store,
    options: BuildOptions,
    upstreams: Upstreams,
    *,
    move: bool,
) -> _Prepared:
    """Identify the sets of a recipe, and check that the name may refer to them."""
    requested = recipe.requested_sets()
    named = named_sets(requested)
    reuse = reuse_of(store, name, named, options, upstreams)
    settings = recipe.recipe.source.folder_settings
    by_path = bool(settings.shares) and settings.group is None
    reuse.report_changed_splits(named, _SHARES_BY_PATH if by_path else "")
    if named and not move:  # reported before hours of work
        store.refuse_move(name, named)
    return _Prepared(name, recipe, options, requested, reuse)


def _finished(prepared: _Prepared, store: Store, *, move: bool) -> dict[str, FeatureSet]:
    """Build and return the sets of a recipe, point the name at them, and write the recipe's lock file.

    If ``options.part`` is set, only a part is built, and neither the name nor the lock file is written.
    """
    name, recipe, options, requested, reuse, stored = prepared
    sets = build_sets(requested, store, options, reuse, stored)
    pins = {split: features.pin for split, features in sets.items()}
    recipe.lock_file.refuse_other_digests(recipe.lock, pins)
    if options.part is not None:
        return sets
    store.point(name, sets, move=move)
    # A recipe that names its splits says nothing about the others.
    recipe.lock_file.update(recipe.lock, pins, keep_others=recipe.recipe.source.splits is not None)
    return sets


def _built_together(prepared: Sequence[_Prepared], store: Store) -> list[_Prepared]:
    """Build the fragments of some recipes, and return all recipes. If sets have the same source, its recordings are read once.

    Only recipes whose sets cannot take rows from stored sets are built here. The returned options of these recipes are
    changed: the caller's build then only commits the sets. The caller builds the other recipes later, and does not read
    recordings whose rows can be copied or computed from stored sets.
    """
    from spikestore.pipeline.building.sweep import SetToBuild, build_together

    sets: dict[Address, SetToBuild] = {}
    after = []
    for each in prepared:
        missing = resolve(each.requested, store, each.reuse.upstreams, copy=False).missing
        looked = [(wanted, *each.reuse.look(wanted)) for wanted in missing]
        if looked and all(former is None for _, _, former in looked):
            sets |= {wanted.address: SetToBuild(wanted, look) for wanted, look, _ in looked}
            # The fragments are stored then: no workers are needed, and a second restart would discard them.
            committing = replace(each.options, workers=0, scheduler=None, restart=False)
            after.append(each._replace(options=committing))
        else:
            after.append(each)
    if not sets:
        return after
    stored = build_together(tuple(sets.values()), store.storage, prepared[0].options)
    return [each._replace(stored=stored) for each in after]


def reuse_of(
    store: Store,
    name: str | None,
    named: Mapping[str, NamedSet],
    options: BuildOptions,
    upstreams: Upstreams,
) -> Reuse:
    """Return an object that finds committed sets with rows that the new sets `named` can reuse; `name` will refer to the new sets."""
    addresses = {wanted.address for wanted in named.values()}
    return Reuse(
        store,
        name,
        addresses,
        enabled=options.reuse,
        derive=options.derive,
        committing=options.finalise,
        upstreams=upstreams,
    )


def named_sets(requested: Sequence[RequestedSet | LockedSet]) -> dict[str, NamedSet]:
    """Return the requested sets by split, as `Store.refuse_move` needs them. A `LockedSet` is left out, because its recordings are missing."""
    return {
        wanted.split: NamedSet(wanted.address, wanted.located.source)
        for wanted in requested
        if isinstance(wanted, RequestedSet)
    }
