"""``spikestore show``: describe a feature set."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store.cli.commands.options import JsonOption, NameArgument, StoreOption, open_store
from spikestore.store.cli.console import print_json, say, stdout_console, visible
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.store.feature_set import FeatureSet
    from spikestore.store.overview.distributions import Distributions
    from spikestore.store_schemas.specs.items import ItemContent
    from spikestore.store_schemas.specs.source import Source


_TYPES = {"whole": "int32", "real": "float64", "text": "text"}


def show(
    name: NameArgument,
    store: StoreOption = None,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Also show files, packages and build parameters.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show transform, source, columns, sizes, distributions and build of a feature set; the exit status is 1 if its samples cannot be read.

    The distributions are computed from at most 1,024 samples.

    Examples
    --------
    spikestore show demo:train --store ./feature_store
    spikestore show demo:train --store s3://team/features --provenance
    """
    opened = open_store(store, must_exist=True)
    sets = [*opened.splits(name).values()]
    read = {features.address: _distributions(features) for features in sets}
    if as_json:
        print_json([_document(features, read[features.address]) for features in sets])
    else:
        console = stdout_console()
        for number, features in enumerate(sets):
            if number:
                console.print()
            lines = _lines(features, read[features.address])
            for line in [*lines, *(_provenance(features) if provenance else ())]:
                console.print(visible(line), markup=False)
    if None in read.values():
        raise typer.Exit(1)


def _distributions(features: FeatureSet) -> Distributions | None:
    """Return the distributions of a set; if its samples cannot be read, report the reason and return None."""
    from spikestore.store.overview.distributions import distributions
    from spikestore.store_schemas.errors import StoreError

    try:
        return distributions(features)
    except StoreError as error:
        say(f"{features.address.short}: {error}")
        return None


def _document(features: FeatureSet, read: Distributions | None) -> dict[str, Any]:
    manifest = features.manifest.to_mapping()
    stored = sum(entry.size for entry in features.storage.list(features.address.folder))
    shown = None if read is None else read.to_json()
    return {**features.address._asdict(), "stored_bytes": stored, **manifest, "distributions": shown}


def _lines(features: FeatureSet, read: Distributions | None) -> list[str]:
    from spikestore.store_schemas.specs.column_values import kind_of

    manifest = features.manifest
    source, layout, events = manifest.source, features.layout, manifest.events
    stored = sum(entry.size for entry in features.storage.list(features.address.folder))
    operations = [_operation(operation.to_mapping()) for operation in manifest.transform.operations]
    lines = [
        f"{source.dataset} {source.split}, read by {source.reader} version {source.reader_version}",
        f"  keys        {features.address.short}",
        f"  digest      {manifest.digest}",
        f"  transform   {operations[0]}",
        *(f"              {operation}" for operation in operations[1:]),
        f"  files       {_files(source)}",
        f"  samples     {manifest.samples:,} in {plural(len(manifest.fragments), 'fragment')} of up to {plural(manifest.fragment_samples, 'sample')}",
        f"  classes     {len(layout.classes)}",
        f"  frames      ({', '.join(layout.axes)}) = (up to {manifest.n_bins}, {', '.join(map(str, layout.sites))})",
        f"  non-zeros   {manifest.nnz:,}; largest value {manifest.max_value:g}, largest index {manifest.max_index:,}",
        f"  stored      {stored:,} bytes ({stored / max(manifest.nnz, 1):.3f} per non-zero)",
        f"  events      {events.n_events:,} read, {events.n_cropped:,} cropped, {events.n_dropped:,} in no bin",
        f"  columns     {', '.join([f'{name} {dtype}' for name, dtype in layout.columns] + [f'{name} {_TYPES[kind_of(values)]}' for name, values in manifest.source_columns.items()])}",
        *(() if read is None else _sparklines(features, read)),
    ]
    if manifest.skipped:
        lines.append(f"  skipped     {plural(len(manifest.skipped), 'recording')}:")
        lines += [f"              row {row.row}: {row.reason}" for row in manifest.skipped[:10]]
        if len(manifest.skipped) > 10:
            lines.append("              … (all of them with --json)")
    how = manifest.provenance
    lines += [
        f"  {name:<11} {text}" for name in ("citation", "licence") if isinstance(text := how.get(name), str)
    ]
    packages = _packages(how)
    lines.append(
        f"  built       {how.get('created', 'unknown')} by {how.get('executor', 'unknown')} "
        f"with {', '.join(f'{name} {version}' for name, version in packages.items())}"
    )
    return lines


def _provenance(features: FeatureSet) -> list[str]:
    manifest = features.manifest
    source, how = manifest.source, dict(manifest.provenance)
    packages = _packages(how)
    how.pop("packages", None)
    lines = ["provenance"]
    lines += [f"  transform   {operation.to_mapping()}" for operation in manifest.transform.operations]
    lines.append(f"  bounds      max_bins = {manifest.transform.max_bins:,}")
    options = {name: getattr(source, name) for name in ("sort", "on_error", "limit")}
    if source.columns:
        options["columns"] = ", ".join(source.columns if source.folder is None else source.folder.values)
    lines.append(f"  source      {', '.join(f'{name} = {value}' for name, value in options.items())}")
    if source.items is not None:
        lines.append(f"  items       {_parts(source.items)}")
    lines += [f"  file        {file.sha256}  {file.size:>14,}  {file.name}" for file in source.files]
    lines += [f"  package     {name} {version}" for name, version in packages.items()]
    lines += [f"  {name:<17} {value}" for name, value in sorted(how.items())]
    lines.append(f"  recordings        {manifest.samples:,}, {len(manifest.skipped):,} of them skipped")
    lines += [f"  skipped     row {row.row}: {row.reason}" for row in manifest.skipped]
    return lines


def _sparklines(features: FeatureSet, read: Distributions) -> list[str]:
    from spikestore.store.overview.sparkline import marks_for, sparkline
    from spikestore.store.plots.time_axis import time_axis

    if not read.rows:
        return []
    marks = marks_for(sys.stdout.encoding)
    axis = time_axis(features.manifest.transform)
    name_of_x = "x" if "y" in read.sites else "channel"
    lines = [("bin", read.bins, f"{axis.at(0):.4g} to {axis.at(len(read.bins)):.4g} {axis.unit}")]
    for name, sums in read.sites.items():
        shown = name_of_x if name == "x" else name
        lines.append((shown, sums, f"{shown} 0 to {len(sums) - 1:,}"))
    shortest, longest, counts = read.length_counts()
    summed = "events" if features.manifest.transform.float_operation is None else "absolute values"
    texts = [
        f"  {f'per {name}':<11} {sparkline(sums, marks)}  {summed}, {text}" for name, sums, text in lines
    ]
    bins = plural(longest, "bin") if shortest == longest else f"{shortest:,} to {longest:,} bins"
    return [*texts, f"  lengths     {sparkline(counts, marks)}  {bins}, of {plural(read.rows, 'sample')}"]


def _packages(how: dict[str, Any]) -> dict[str, Any]:
    packages = how.get("packages")
    return packages if isinstance(packages, dict) else {}


def _files(source: Source) -> str:
    if source.items is not None:
        return f"not listed; the items come from {_parts(source.items)}"
    if len(source.files) > 10:
        return f"{len(source.files):,} ({sum(file.size for file in source.files):,} bytes)"
    return ", ".join(f"{file.name} ({file.size:,} bytes)" for file in source.files)


def _operation(mapping: dict[str, Any]) -> str:
    name = mapping.pop("op")
    mapping.pop("version")
    return f"{name}({', '.join(f'{field}={value}' for field, value in mapping.items() if value is not None)})"


def _parts(items: ItemContent) -> str:
    """Return a text that names the data sets from which the items come."""
    texts = []
    for part in items.parts:
        if part.kind == "files":
            texts.append(f"{part.dataset} {part.split} ({plural(len(part.files), 'file')})")
        elif part.kind == "version":
            texts.append(f"{part.name} version {part.version!r} ({plural(part.length, 'item')})")
        else:
            texts.append(f"{plural(part.length, 'item')} identified by their hashes")
    return ", ".join(texts)
