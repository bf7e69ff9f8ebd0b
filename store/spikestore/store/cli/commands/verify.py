"""``spikestore verify``: compare stored objects with their committed hashes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, names_in_store, open_store
from spikestore.store.cli.console import print_json, progress, say, visible
from spikestore.store.progress import labelled
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spikestore.store.feature_set import FeatureSet
    from spikestore.store.store import Store
    from spikestore.store.upkeep.verify import Damage


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[:SPLIT]|KEY]…",
            help="Sets to verify; all by default.",
            autocompletion=names_in_store,
        ),
    ] = None,
    store: StoreOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode everything and recompute digests.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Verify the contents of the documents, but only the names and sizes of the other objects.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare stored objects with their committed hashes and report each difference.

    The exit status is 1 if there is a difference, or if an object has a newer format. If no names are given and the store is a folder, misplaced
    entries in its subfolders (features, refs, partitions) are differences too. Without --quick, every stored object is hashed, so
    every flipped bit is detected. With --deep, samples are also decoded and compared with their digest.

    Examples
    --------
    spikestore verify --store ./feature_store
    spikestore verify --deep demo:train --store ./feature_store
    """
    from spikestore.store.upkeep.odd_entries import odd_entries
    from spikestore.store.upkeep.partition_damage import verify_partitions
    from spikestore.store.upkeep.ref_damage import verify_refs
    from spikestore.store.upkeep.verify import verify as verify_set
    from spikestore.store_schemas.errors import UsageError
    from spikestore.store_schemas.specs.model import NAME

    if deep and quick:
        raise UsageError("--deep and --quick cannot be combined: pass one of them")
    opened = open_store(store, must_exist=True)
    damages: list[Damage] = []
    sets = _chosen(opened, names or [], damages)
    with progress("bytes") as report:
        for label, features in sets.items():
            damages += verify_set(
                features,
                depth="deep" if deep else "quick" if quick else "normal",
                progress=labelled(report, label),
            )
    rows = {features.address.source_key: len(features) for features in sets.values()}
    damages += verify_partitions(opened.storage, rows, source_keys=rows if names else None)
    logs = [label.partition(":")[0] for label in names or []]
    _add(damages, verify_refs(opened.storage, filter(NAME.match, logs) if names else None))
    if not names:
        _add(damages, odd_entries(opened.storage))
    if as_json:
        findings = [damage._asdict() for damage in damages]
        print_json({"store": opened.storage.url, "feature_sets": list(sets), "damage": findings})
    for damage in damages:
        named = damage.detail.startswith(damage.path)
        say(visible(damage.detail if named else f"{damage.path}: {damage.detail}"))
    newer = [damage for damage in damages if damage.kind == "newer"]
    if newer:
        say(
            f"cannot verify {plural(len(newer), 'object')} of a newer format in {opened.storage.url}: update spikestore"
        )
    if len(damages) > len(newer):
        say(
            f"{plural(len(damages) - len(newer), 'damaged object')} in {opened.storage.url}: to restore feature sets, run spikestore "
            f"repair NAME|KEY --store {opened.storage.url}, with --from (a store that has a copy) or --data (the recordings)"
        )
    if damages:
        raise typer.Exit(1)
    if not sets and not names:
        say(f"the store {opened.storage.url} has no feature sets; no damage")
    else:
        say(f"verified {plural(len(sets), 'feature set')}: no damage")


def _add(damages: list[Damage], more: Iterable[Damage]) -> None:
    """Add the damages in `more` to `damages`, except those of objects that `damages` lists already."""
    known = {damage.path for damage in damages}
    damages += [damage for damage in more if damage.path not in known]


def _chosen(store: Store, names: list[str], damages: list[Damage]) -> dict[str, FeatureSet]:
    """Return the sets by label; for each set that cannot be opened, add its damage to `damages`."""
    from spikestore.store.upkeep.verify import damage_of
    from spikestore.store_schemas.errors import DamagedError, StoreError

    sets: dict[str, FeatureSet] = {}
    for name in names:
        try:
            opened = store.select(name).open_each()
        except StoreError as error:
            damages.append(damage_of(error, name))
            continue
        for selected, result in opened.items():
            if isinstance(result, StoreError):
                damages.append(damage_of(result, selected.address.manifest))
            else:
                sets[selected.label] = result
    if names:
        return sets
    addresses, known = [], []
    # The error: something else is in the place of a folder, which `odd_entries` reports.
    with contextlib.suppress(DamagedError):
        addresses = [*store.addresses()]
    with contextlib.suppress(DamagedError):
        known = store.names()
    for address in addresses:
        try:
            features = store.find(address)
        except StoreError as error:
            damages.append(damage_of(error, address.manifest))
            continue
        if features is not None:
            sets[address.short] = features
    for name in known:
        try:
            store.splits(name)
        except StoreError as error:
            if not any(damage.path == damage_of(error, name).path for damage in damages):
                damages.append(damage_of(error, f"refs/{name}"))
    return sets
