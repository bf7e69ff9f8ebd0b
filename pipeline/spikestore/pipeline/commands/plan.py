"""``spikestore plan``: report which sets of a recipe `preprocess` must still compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikestore.pipeline.commands.preprocess import (
    DataOption,
    LockOption,
    NameOption,
    RecipeArgument,
    WorkersOption,
    chosen_recipe,
)
from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import duration_text, print_json, say, stdout_console
from spikestore.store_schemas.errors import SourceNotFoundError
from spikestore.store_schemas.wording import plural, size_text

if TYPE_CHECKING:
    from spikestore.pipeline.building.reuse import Reuse
    from spikestore.pipeline.recipes.recipe import RecipeBuild
    from spikestore.pipeline.recipes.requested_sets import RequestedSet
    from spikestore.pipeline.recipes.resolve import LockedSet, Resolution
    from spikestore.store.store import Store

_UNAVAILABLE = "unavailable: no recordings"


def plan(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    store: StoreOption = None,
    name: NameOption = None,
    lock: LockOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report which sets of a recipe are missing, and how much time and space a build of these sets takes.

    Time and size are estimated from the first recordings of each split. If a stored set already contains a recording, a build
    takes the recording's sample from this set instead of reading the recording. The estimate takes into account that this is
    faster.

    If a stored set does not have the digest that the recipe's lock file states, `plan` ends with the same error as `preprocess`,
    and the exit status is 1.

    Examples
    --------
    spikestore plan recipes/demo.toml --store ./feature_store
    """
    from spikestore.pipeline.building.reuse import Reuse
    from spikestore.pipeline.recipes.resolve import OpenedRecipe, resolve
    from spikestore.store.upstreams import Upstreams

    path = chosen_recipe(recipe, data)
    loaded = OpenedRecipe.open(path, data=data, lock=lock)
    opened = open_store(store)
    upstreams = Upstreams(loaded.upstreams)
    rows: list[dict[str, Any]] = []
    for result, variant in loaded.named(name):
        requested = variant.requested_sets()
        resolution = resolve(requested, opened, upstreams, copy=False)
        pins = {split: features.pin for split, features in resolution.existing.items()}
        variant.lock_file.refuse_other_digests(variant.lock, pins)  # an error of `preprocess` too
        addresses = [wanted.address for wanted in requested if wanted.address is not None]
        reuse = Reuse(opened, result, addresses, upstreams=upstreams)
        build = variant.recipe.build
        processes = build.workers if workers is None else workers
        rows += [
            {"name": result, **_row(opened, wanted, resolution, processes, reuse, build)}
            for wanted in requested
        ]
    free = opened.storage.free_bytes()
    if as_json:
        print_json({"recipe": str(path), "store": opened.storage.url, "free_bytes": free, "splits": rows})
        return
    _show(opened, rows, free)


def _row(
    store: Store,
    wanted: RequestedSet | LockedSet,
    resolution: Resolution,
    workers: int | None,
    reuse: Reuse,
    build: RecipeBuild,
) -> dict[str, Any]:
    from spikestore.pipeline.recipes.requested_sets import RequestedSet

    split, address = wanted.split, wanted.address
    keys = {
        "transform_key": wanted.transform.key,
        "source_key": "" if address is None else address.source_key,
    }
    row: dict[str, Any] = {"split": split, **keys}
    features = resolution.existing.get(split)
    if features is not None:
        url = features.storage.url
        counts = {"recordings": len(features), "digest": features.digest}
        if url == store.storage.url:
            return row | {"state": "in the store"} | counts
        return row | {"state": f"would be pulled from {url}"} | counts | {"from": url}
    if not isinstance(wanted, RequestedSet):
        try:
            derived = reuse.without_recordings(wanted, resolution.unavailable[split])
        except SourceNotFoundError as error:
            return row | {"state": _UNAVAILABLE, "recordings": 0, "reason": str(error)}
        recordings = len(reuse.look(derived)[0].n_events)
        counts = {"recordings": recordings, "reused_recordings": 0, "derived_recordings": recordings}
        return row | {"state": _begun(store, derived)} | counts
    # Imported here: a set in the store needs neither numba nor HDF5.
    from spikestore.pipeline.building.estimate import estimate
    from spikestore.store.machine import available_cores

    cost = estimate(
        store.storage,
        wanted,
        workers=available_cores() if workers is None else max(1, workers),  # 0: this process alone
        reuse=reuse,
        fragment_samples=build.fragment_samples,
        executor=build.executor,
    )
    return {
        **row,
        "state": _begun(store, wanted),
        "recordings": cost.recordings,
        "reused_recordings": cost.reused,
        "derived_recordings": cost.derived,
        "fragments": cost.fragments,
        "seconds": round(cost.seconds, 3),
        "stored_bytes": cost.stored_bytes,
        "workers": cost.workers,
    }


def _begun(store: Store, wanted: RequestedSet) -> str:
    """Return the state of a set that is not complete in the store: ``begun`` if it has an unfinished build, else ``to compute``."""
    builds = store.storage.list(f"{wanted.address.folder}/builds")
    return "begun" if any(True for _ in builds) else "to compute"


def _state(row: dict[str, Any]) -> str:
    """Return the state of a set as text. If rows are copied or computed from stored sets, their number follows: ``to compute, 64 reused``."""
    for how in ("reused", "derived"):
        if row.get(f"{how}_recordings"):
            return f"{row['state']}, {row[f'{how}_recordings']:,} {how}"
    return str(row["state"])


def _show(store: Store, rows: list[dict[str, Any]], free: int | None) -> None:
    from rich.table import Table

    table = Table("name", "key", "state", "recordings", "time", "disk", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"{row['name']}:{row['split']}",
            f"{row['transform_key'][:12]}/{row['source_key'][:12]}",
            _state(row),
            f"{row['recordings']:,}",
            f"about {duration_text(max(1, row['seconds']))}" if "seconds" in row else "-",
            f"about {size_text(row['stored_bytes'])}" if "seconds" in row else "-",
        )
    stdout_console().print(table)
    needed = sum(row.get("stored_bytes", 0) for row in rows)
    unavailable = [row for row in rows if row["state"] == _UNAVAILABLE]
    for row in unavailable:
        say(f"{row['name']}:{row['split']} is unavailable: {row['reason']}")
    if unavailable:
        return
    derived = sum("seconds" not in row and "derived_recordings" in row for row in rows)
    if derived:
        say(
            f"the recordings of {plural(derived, 'set')} are missing, so {'this set is derived from a finer set' if derived == 1 else 'these sets are derived from finer sets'}: time and size are not estimated"
        )
    elif not needed:
        copied = any("from" in row for row in rows)
        say(f"all sets are in {store.storage.url}{' or can be pulled' if copied else ''}: nothing to compute")
    if not needed:
        return
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    workers = max(row.get("workers", 0) for row in rows)
    say(
        f"{store.storage.url}: about {duration_text(max(1, seconds))} with {plural(workers, 'worker')}, {size_text(needed)}"
    )
    if free is not None:
        say(f"free space: {size_text(free)}{'' if free > needed else ', which is not enough'}")
