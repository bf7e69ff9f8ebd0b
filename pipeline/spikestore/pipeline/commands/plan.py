"""``spikestore plan``: what a recipe would do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from spikestore.pipeline.commands.preprocess import DataOption, RecipeArgument, WorkersOption, _ask
from spikestore.store_schemas.commands.options import JsonOption, StoreOption, open_store
from spikestore.store_schemas.console import print_json, say, stdout_console

if TYPE_CHECKING:
    from spikestore.pipeline.targets import Target
    from spikestore.store_schemas.store import Store


def plan(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a recipe would compute, how long it would take, and what it would need, without doing it.

    Time and size are measured on the first recordings of each split.

    Examples
    --------
    spikestore plan recipes/demo.toml --store ./store
    """
    from spikestore.pipeline.shipped_recipes import choose_recipe
    from spikestore.pipeline.targets import recipe_targets
    from spikestore.store_schemas.recipe import load_recipe

    path = choose_recipe(recipe, data, ask=_ask if sys.stdin is not None and sys.stdin.isatty() else None)
    loaded = load_recipe(path)
    opened = open_store(store)
    targets = recipe_targets(loaded, origin=path, data=data)
    rows = [_row(opened, target, workers) for target in targets]
    free = opened.storage.free_bytes()
    if as_json:
        print_json({"recipe": str(path), "store": opened.storage.url, "free_bytes": free, "splits": rows})
        return
    _show(loaded.name, opened, rows, free)


def _row(store: Store, target: Target, workers: int | None) -> dict[str, Any]:
    address = target.address
    row: dict[str, Any] = {"split": target.split, **address._asdict()}
    features = store.find(address)
    if features is not None:
        return {**row, "state": "in the store", "recordings": len(features), "digest": features.digest}
    # Only here: for what is in the store neither Tonic nor HDF5 is imported.
    from spikestore.pipeline.estimate import estimate
    from spikestore.pipeline.executors import available_cores

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
    if not needed:
        say(f"everything is in {store.storage.url}: nothing to compute")
        return
    seconds = sum(row.get("seconds", 0.0) for row in rows)
    workers = max(row.get("workers", 0) for row in rows)
    say(f"{store.storage.url}: {_duration(seconds)} with {workers} workers, {needed / 1e6:,.1f} MB")
    if free is not None:
        say(f"{free / 1e9:,.1f} GB are free there{'' if free > needed else ': NOT ENOUGH'}")


def _duration(seconds: float) -> str:
    return f"about {seconds:,.0f} s" if seconds >= 1 else "under 1 s"
