"""``spikestore ls``: list the feature sets of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, say, stdout_console, visible

if TYPE_CHECKING:
    from spikestore.store.store import Store
    from spikestore.store_schemas.errors import StoreError


def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the feature sets, names and partitions of a store; the exit status is 1 if one of them is damaged or has a newer format.

    The exit status is also 1 if the store is a folder and has misplaced entries in its subfolders (features, refs, partitions).

    Examples
    --------
    spikestore ls --store ./feature_store
    """
    from spikestore.store.upkeep.odd_entries import odd_entries

    opened = open_store(store, must_exist=True)
    broken_names: list[str] = []
    rows = _rows(opened, broken_names)
    partitions = _partitions(opened)
    out_of_place = [*odd_entries(opened.storage)]
    if as_json:
        print_json({"store": opened.storage.url, "feature_sets": rows, "partitions": partitions})
    elif rows:
        _show(rows)
    elif not out_of_place:
        begun = any(
            next(opened.storage.list(f"{address.folder}/builds"), None) for address in opened.addresses()
        )
        more = ", but it has an unfinished build: preprocess resumes this build" if begun else ""
        say(f"the store {opened.storage.url} has no feature sets{more}")
    if partitions and not as_json:
        _show_partitions(partitions)
    for odd in out_of_place:
        say(visible(f"{odd.path}: {odd.detail}"))
    if out_of_place or broken_names or any(row["damaged"] or row["newer"] for row in [*rows, *partitions]):
        raise typer.Exit(1)


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("name", "key", "dataset", "samples", "non-zeros", "digest", box=None, pad_edge=False)
    for row in rows:
        key = _short_key(row)
        if state := _state(row):
            table.add_row(row["name"] or "-", key, state)
            continue
        table.add_row(
            row["name"] or "-",
            key,
            f"{row['dataset']} {row['split']}",
            f"{row['samples']:,}",
            f"{row['nnz']:,}",
            row["digest"][:12],
        )
    console = stdout_console()
    console.print(table)
    for row in rows:
        # Problems are not in the table, where a wide column would pad all rows.
        if problem := row["damaged"] or row["newer"]:
            line = visible(f"{row['name'] or _short_key(row)}: {problem}")
            console.print(line, markup=False, emoji=False)


def _show_partitions(partitions: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("partition", "source", "parts", box=None, pad_edge=False)
    for partition in partitions:
        parts = ", ".join(f"{part} {count:,}" for part, count in partition["parts"].items())
        table.add_row(partition["name"], partition["source_key"][:12], _state(partition) or parts)
    console = stdout_console()
    console.print()
    console.print(table)
    for partition in partitions:
        if problem := partition["damaged"] or partition["newer"]:
            console.print(f"{partition['name']}: {problem}", markup=False, emoji=False)


def _partitions(store: Store) -> list[dict[str, Any]]:
    from spikestore.store.partitions import all_partitions
    from spikestore.store_schemas.errors import StoreError

    rows: list[dict[str, Any]] = []
    for source_key, name, partition in all_partitions(store.storage):
        row: dict[str, Any] = {
            "source_key": source_key,
            "name": name,
            "parts": {},
            "damaged": "",
            "newer": "",
        }
        if isinstance(partition, StoreError):
            rows.append({**row, **_problem(partition)})
        else:
            rows.append({**row, "parts": {part: partition.count(part) for part in partition.parts}})
    return rows


def _problem(error: StoreError) -> dict[str, str]:
    """Return the message of an error as a field of the listing. The field is called ``newer`` for a newer format, else ``damaged``."""
    from spikestore.store_schemas.errors import NewerFormatError

    return {"newer" if isinstance(error, NewerFormatError) else "damaged": str(error)}


def _state(row: dict[str, Any]) -> str:
    """Return the text that `ls` shows for a set or partition that cannot be read; an empty text if it can be read."""
    return "damaged" if row["damaged"] else "newer format" if row["newer"] else ""


def _short_key(row: dict[str, Any]) -> str:
    return f"{row['transform_key'][:12]}/{row['source_key'][:12]}"


def _rows(store: Store, broken_names: list[str]) -> list[dict[str, Any]]:
    from spikestore.store_schemas.errors import DamagedError, StoreError

    names: dict[tuple[str, str], list[str]] = {}
    rows: list[dict[str, Any]] = []
    try:
        refs = store.refs()
    except DamagedError:  # something else is in the place of their folder, which `odd_entries` reports
        refs = {}
    for name, ref in refs.items():
        if isinstance(ref, StoreError):
            say(f"{name}: {ref}")
            broken_names.append(name)
            continue
        for split, pin in ref.splits.items():
            names.setdefault((pin.transform_key, pin.source_key), []).append(f"{name}:{split}")
    try:
        catalogue = [*store.catalogue()]
    except DamagedError:
        catalogue = []
    for address, features in catalogue:
        name = ", ".join(names.pop(address, []))
        row: dict[str, Any] = {**address._asdict(), "name": name, "damaged": "", "newer": ""}
        if isinstance(features, StoreError):
            rows.append({**row, **_problem(features)})
            continue
        source = features.manifest.source
        row |= {"dataset": source.dataset, "split": source.split, "samples": len(features)}
        rows.append({**row, "nnz": features.manifest.nnz, "digest": features.digest})
    # A name whose set is missing is damage too; nothing else shows that the set existed.
    rows += [
        {
            "transform_key": t,
            "source_key": s,
            "name": ", ".join(called),
            "damaged": "not in the store",
            "newer": "",
        }
        for (t, s), called in names.items()
    ]
    return sorted(
        rows, key=lambda row: (not row["name"], row["name"], row["transform_key"], row["source_key"])
    )
