"""``spikestore plan``: what a recipe would do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from spikestore.pipeline.commands.preprocess import (
    DataOption,
    LockOption,
    NameOption,
    RecipeArgument,
    WorkersOption,
    _ask,
)
from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, say, stdout_console

if TYPE_CHECKING:
    from spikestore.pipeline.recipes.recipe import Recipe
    from spikestore.pipeline.recipes.recipe_lock import RecipeLock
    from spikestore.pipeline.recipes.requested_sets import Target
    from spikestore.store.store import Store
    from spikestore.store.upstreams import Upstreams
    from spikestore.store_schemas.documents.address import Address

_NOWHERE = {"state": "no recordings, and nowhere to be had", "recordings": 0}


def plan(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    store: StoreOption = None,
    name: NameOption = None,
    lock: LockOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a recipe would compute, how long it would take, and what it would need, without doing it.

    Time and size are measured on the first recordings of each split.

    Examples
    --------
    spikestore plan recipes/demo.toml --store ./feature_store
    """
    from spikestore.pipeline.recipes.recipe import load_recipe
    from spikestore.pipeline.recipes.recipe_lock import LockFile
    from spikestore.pipeline.recipes.requested_sets import recipe_targets
    from spikestore.pipeline.recipes.shipped import choose_recipe, result_name
    from spikestore.store.upstreams import Upstreams, locate_upstreams
    from spikestore.store_schemas.errors import SourceNotFoundError

    path = choose_recipe(recipe, data, ask=_ask if sys.stdin is not None and sys.stdin.isatty() else None)
    loaded = load_recipe(path)
    opened = open_store(store)
    locked = LockFile.of(path, lock).read()
    upstreams = Upstreams(locate_upstreams(loaded.upstreams, path))
    try:
        targets = recipe_targets(loaded, origin=path, data=data)
    except SourceNotFoundError:
        if locked is None or data is not None:
            raise
        rows = _pinned_rows(opened, loaded, locked, upstreams)
    else:
        rows = [_row(opened, target, workers, locked, upstreams) for target in targets]
    free = opened.storage.free_bytes()
    if as_json:
        print_json({"recipe": str(path), "store": opened.storage.url, "free_bytes": free, "splits": rows})
        return
    _show(name or result_name(loaded, path, data), opened, rows, free)


def _had(
    store: Store, upstreams: Upstreams, address: Address, label: str, digest: str | None
) -> dict[str, Any]:
    """Return what a row says of a set that need not be computed; nothing if it must."""
    features = store.find(address)
    if features is not None:
        return {"state": "in the store", "recordings": len(features), "digest": features.digest}
    features = upstreams.look(store, address, label=label, digest=digest)
    if features is None:
        return {}
    url = features.storage.url
    return {
        "state": f"would be pulled from {url}",
        "recordings": len(features),
        "digest": features.digest,
        "from": url,
    }


def _pinned_rows(
    store: Store, recipe: Recipe, lock: RecipeLock, upstreams: Upstreams
) -> list[dict[str, Any]]:
    """Return the rows of what a lock pins, where there are no recordings."""
    from spikestore.store_schemas.documents.address import Address

    rows = []
    for split in recipe.source.splits or tuple(lock.splits):
        pin = lock.splits.get(split)
        if pin is None or pin.transform_key != recipe.transform_spec().key:
            rows.append(
                {"split": split, "transform_key": recipe.transform_spec().key, "source_key": ""} | _NOWHERE
            )
            continue
        address = Address(pin.transform_key, pin.source_key)
        had = _had(store, upstreams, address, f"{recipe.source.dataset} {split}", pin.digest)
        rows.append({"split": split, **address._asdict()} | (had or _NOWHERE))
    return rows


def _row(
    store: Store, target: Target, workers: int | None, lock: RecipeLock | None, upstreams: Upstreams
) -> dict[str, Any]:
    from spikestore.pipeline.recipes.locked_sets import pinned_digest

    address = target.address
    row: dict[str, Any] = {"split": target.split, **address._asdict()}
    had = _had(store, upstreams, address, target.label, pinned_digest(lock, target.split, address))
    if had:
        return row | had
    # Only here: for what is in the store neither Tonic nor HDF5 is imported.
    from spikestore.pipeline.building.estimate import estimate
    from spikestore.store.machine import available_cores

    cost = estimate(store.storage, target.located, target.transform, workers=workers or available_cores())
    return {
        **row,
        "state": "begun"
        if any(True for _ in store.storage.list(f"{address.folder}/builds"))
        else "to compute",
        "recordings": cost.recordings,
        "fragments": cost.fragments,
        "seconds": round(cost.seconds, 3),
        "stored_bytes": cost.stored_bytes,
        "workers": cost.workers,
    }


def _show(name: str, store: Store, rows: list[dict[str, Any]], free: int | None) -> None:
    from rich.table import Table

    table = Table("name", "key", "state", "recordings", "time", "disk", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"{name}:{row['split']}",
            f"{row['transform_key'][:12]}/{row['source_key'][:12]}",
            row["state"],
            f"{row['recordings']:,}",
            _duration(row["seconds"]) if "seconds" in row else "-",
            f"about {row['stored_bytes'] / 1e6:,.1f} MB" if "seconds" in row else "-",
        )
    stdout_console().print(table)
    needed = sum(row.get("stored_bytes", 0) for row in rows)
    if _NOWHERE["state"] in {row["state"] for row in rows}:
        say(
            "no recordings were found, and some locked feature sets are in neither the store nor an upstream: pass --data or add upstreams"
        )
        return
    if not needed:
        copied = any("from" in row for row in rows)
        say(f"everything is in {store.storage.url}{' or upstream' if copied else ''}: nothing to compute")
        return
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    workers = max(row.get("workers", 0) for row in rows)
    say(f"{store.storage.url}: {_duration(seconds)} with {workers} workers, {needed / 1e6:,.1f} MB")
    if free is not None:
        say(f"{free / 1e9:,.1f} GB are free there{'' if free > needed else ': NOT ENOUGH'}")


def _duration(seconds: float) -> str:
    return f"about {seconds:,.0f} s" if seconds >= 1 else "under 1 s"
