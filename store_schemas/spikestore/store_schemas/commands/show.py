"""``spikestore show``: what one feature set is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store_schemas.commands.options import JsonOption, StoreOption, open_store
from spikestore.store_schemas.console import print_json, stdout_console

if TYPE_CHECKING:
    from spikestore.store_schemas.feature_set import FeatureSet


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME[:SPLIT]|KEY", help="A name, or the beginning of a key.")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a feature set is: transform, source, columns, sizes, how it was built.

    Examples
    --------
    spikestore show demo:train --store ./store
    """
    opened = open_store(store, must_exist=True)
    sets = _meant(opened, name)
    if as_json:
        print_json([_document(features) for features in sets])
        return
    console = stdout_console()
    for place, features in enumerate(sets):
        if place:
            console.print()
        for line in _lines(features):
            console.print(line, markup=False)


def _meant(store: Any, name: str) -> list[FeatureSet]:
    if ":" not in name and name in store.names():
        return list(store.splits(name).values())
    return [store.resolve(name)]


def _document(features: FeatureSet) -> dict[str, Any]:
    manifest = features.manifest.to_mapping()
    stored = sum(entry.size for entry in features.storage.list(features.address.folder))
    return {**features.address._asdict(), "stored_bytes": stored, **manifest}


def _lines(features: FeatureSet) -> list[str]:
    manifest = features.manifest
    source, layout, events = manifest.source, features.layout, manifest.events
    stored = sum(entry.size for entry in features.storage.list(features.address.folder))
    operations = [_operation(operation.to_mapping()) for operation in manifest.transform.operations]
    lines = [
        f"{source.dataset} {source.split}, read by {source.reader} version {source.reader_version}",
        f"  keys        {features.address.transform_key[:12]}/{features.address.source_key[:12]}",
        f"  digest      {manifest.digest}",
        f"  transform   {operations[0]}",
        *(f"              {operation}" for operation in operations[1:]),
        f"  files       {', '.join(f'{file.name} ({file.size:,} bytes)' for file in source.files)}",
        f"  samples     {manifest.samples:,} in {len(manifest.fragments)} fragments of {manifest.fragment_samples:,}",
        f"  classes     {len(layout.classes)}",
        f"  frames      ({', '.join(layout.axes)}) = (up to {manifest.n_bins}, {', '.join(map(str, layout.sites))})",
        f"  non-zeros   {manifest.nnz:,}; largest value {manifest.max_value:g}, largest index {manifest.max_index:,}",
        f"  stored      {stored:,} bytes ({stored / max(manifest.nnz, 1):.3f} a non-zero)",
        f"  events      {events.n_events:,} read, {events.n_cropped:,} cropped, {events.n_dropped:,} in no bin",
        f"  columns     {', '.join(f'{name} {dtype}' for name, dtype in layout.columns)}",
    ]
    if manifest.skipped:
        lines.append(f"  skipped     {len(manifest.skipped)} recordings:")
        lines += [f"              {row.row}: {row.reason}" for row in manifest.skipped[:10]]
        if len(manifest.skipped) > 10:
            lines.append("              … (all of them with --json)")
    how = manifest.provenance
    packages = how.get("packages", {})
    lines.append(
        f"  built       {how.get('created', 'unknown')} by {how.get('executor', 'unknown')} "
        f"with {', '.join(f'{name} {version}' for name, version in packages.items())}"
    )
    return lines


def _operation(mapping: dict[str, Any]) -> str:
    name = mapping.pop("op")
    mapping.pop("version")
    return f"{name}({', '.join(f'{field}={value}' for field, value in mapping.items() if value is not None)})"
