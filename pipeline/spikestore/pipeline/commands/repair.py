"""``spikestore repair``: repair the damage that ``spikestore verify`` reports."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, names_in_store, open_store
from spikestore.store.cli.console import print_json, progress, say, visible
from spikestore.store.progress import labelled
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    SourceError,
    SourceNotFoundError,
)
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikestore.store.feature_set import FeatureSet
    from spikestore.store.selection import SelectedSet
    from spikestore.store.storage import Storage
    from spikestore.store.store import Store
    from spikestore.store.upkeep.repair import Repair
    from spikestore.store.upkeep.repair_documents import Repaired
    from spikestore.store.upstreams import Upstreams
    from spikestore.store_schemas.documents.address import Address
    from spikestore.store_schemas.errors import SpikestoreError

logger = logging.getLogger(__name__)

_OF_ONE_SET = (
    ConflictError,
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    SourceError,
    SourceNotFoundError,
)
"""Errors that say nothing about other sets."""


def repair(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME[:SPLIT]|KEY…",
            help="Sets to repair: names, or beginnings of keys.",
            autocompletion=names_in_store,
        ),
    ],
    store: StoreOption = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="The upstream: a store with the same sets, from which intact objects are copied.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder with the recordings, to recompute objects that no store has.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="Recipe of the sets. Its upstreams (stores to copy from), its lock and its recordings are used.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Number of fragments to recompute at the same time; 0 means 1. By default one per core.",
        ),
    ] = None,
    rewrite: Annotated[
        bool,
        typer.Option(
            "--rewrite",
            help="Store the right values even if this installation encodes them as other bytes than the build did. The digest stays the same, because it covers only values.",
        ),
    ] = False,
    uncommit: Annotated[
        bool,
        typer.Option(
            "--uncommit",
            help="Remove a damaged manifest. The next run of spikestore preprocess commits the set again. This option has no effect if --from is given, or if an upstream of --recipe has the set.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Repair damaged and missing objects of feature sets; the exit status is 1 if damage remains.

    If an object can be computed from the rest of the set, it is computed. Other objects are copied from the store that --from
    names, or recomputed from the recordings in --data. Without --from, the upstreams of --recipe are used. Without --data, the
    recordings of --recipe are used.

    Examples
    --------
    spikestore repair demo --from s3://team/features
    spikestore repair ssc-100ch-4ms:train --data ~/data/SSC
    """
    from spikestore.pipeline.recipes.resolve import OpenedRecipe
    from spikestore.store.machine import available_cores
    from spikestore.store.storage import is_same_store
    from spikestore.store.upkeep.partition_damage import repair_partitions
    from spikestore.store.upkeep.repair import Repair
    from spikestore.store.upkeep.repair import repair as repair_set
    from spikestore.store.upstreams import Upstreams
    from spikestore.store_schemas.errors import UsageError

    opened = open_store(store, must_exist=True)
    other = None if upstream is None else open_store(upstream, must_exist=True).storage
    if other is not None and is_same_store(other, opened.storage):
        raise UsageError(f"cannot repair {other.url} from itself: pass another store with --from")
    known = OpenedRecipe.open(recipe, data=data) if recipe is not None else None
    upstreams = Upstreams(() if known is None else known.upstreams)
    folder = data if known is None or data is not None else known.data_folder
    threads = available_cores() if workers is None else max(1, workers)
    results: dict[str, Repair] = {}
    failures: dict[str, SpikestoreError] = {}
    removed: dict[str, str] = {}
    with progress("bytes") as report:
        for label, address, _, digest in _selected(opened, names, results, failures):
            pinned = digest or (None if known is None else known.pinned_digest(address))
            try:
                source = other or _upstream(upstreams, opened, address, label, pinned)
                features, documents = _opened(opened, address, pinned, source, uncommit=uncommit)
                if features is None:
                    removed[label] = address.manifest
                    continue
                rows = None
                if folder is not None:
                    from spikestore.pipeline.building.recompute import rows_from_recordings

                    rows = rows_from_recordings(features, folder)
                result = repair_set(
                    features,
                    upstream=source,
                    rows=rows,
                    rewrite=rewrite,
                    threads=threads,
                    progress=labelled(report, label),
                )
                parts, left = repair_partitions(opened.storage, address.source_key, len(features), source)
            except _OF_ONE_SET as error:  # the other sets are still repaired
                failures[label] = error
            else:
                results[label] = Repair((*documents, *result.repaired, *parts), (*result.left, *left))
    if failures and not results and not removed:
        first, *others = failures.values()
        for other_failure in others:
            logger.warning("%s", other_failure)
        raise first
    if as_json:
        print_json(_document(results, failures, removed))
    _report(results, failures, removed)


def _document(
    results: dict[str, Repair], failures: dict[str, SpikestoreError], removed: dict[str, str]
) -> dict[str, dict[str, object]]:
    """Return the result of each set for ``--json``."""
    nothing: dict[str, object] = {"repaired": [], "left": []}
    return {
        **{
            label: {
                "repaired": [repaired._asdict() for repaired in result.repaired],
                "left": [damage._asdict() for damage in result.left],
            }
            for label, result in results.items()
        },
        **{label: nothing | {"removed": manifest} for label, manifest in removed.items()},
        **{label: nothing | {"error": str(error)} for label, error in failures.items()},
    }


def _selected(
    store: Store, names: list[str], results: dict[str, Repair], failures: dict[str, SpikestoreError]
) -> Iterator[SelectedSet]:
    """Repair the damaged log entries of each name, except the newest entry; then yield the selected sets, one for each `SelectedSet.label`.

    The log entries of a removed name are repaired too. Errors of damaged names are added to `failures`.

    Raises
    ------
    UnknownNameError
        A name does not exist, and none of its log entries was repaired. The error comes before the first set is yielded.
    """
    from spikestore.store.upkeep.ref_damage import repair_older_refs
    from spikestore.store.upkeep.repair import Repair
    from spikestore.store_schemas.errors import StoreError, UnknownNameError
    from spikestore.store_schemas.specs.model import NAME

    selected: dict[str, SelectedSet] = {}
    for text in names:
        name = text.partition(":")[0]
        repaired, left = repair_older_refs(store.storage, name) if NAME.match(name) else ([], [])
        if repaired or left:
            results[f"refs/{name}"] = Repair(tuple(repaired), tuple(left))
        try:
            selected |= {each.label: each for each in store.select(text).sets}
        except UnknownNameError:
            if not repaired:
                raise
        except StoreError as error:
            failures[text] = error
    yield from selected.values()  # only now: if a name does not exist, no set is repaired


def _upstream(
    upstreams: Upstreams, store: Store, address: Address, label: str, digest: str | None
) -> Storage | None:
    """Return the storage of the first upstream that has the set with this digest, or None; if `digest` is None, any digest is accepted."""
    features = upstreams.look(store, address, label=label, digest=digest)
    return None if features is None else features.storage


def _report(
    results: dict[str, Repair], failures: dict[str, SpikestoreError], removed: dict[str, str]
) -> None:
    for label in removed:
        say(
            f"{label}: removed the damaged manifest; the next run of spikestore preprocess commits the set again"
        )
    for label, result in results.items():
        for repaired in result.repaired:
            say(f"{repaired.path}: {repaired.how}")
        for damage in result.left:
            say(
                visible(
                    f"{damage.path}: still missing"
                    if damage.detail == "missing"
                    else f"{damage.path}: {damage.detail}"
                )
            )
        say(
            f"{label}: {plural(len(result.repaired), 'object')} repaired, {len(result.left)} still damaged"
            if result.repaired or result.left
            else f"{label}: verified without damage, so there is nothing to repair"
        )
    for label, error in failures.items():
        say(visible(f"{label}: {error}"))
    if failures or any(result.left for result in results.values()):
        raise typer.Exit(1)


def _opened(
    store: Store, address: Address, digest: str | None, upstream: Storage | None, *, uncommit: bool
) -> tuple[FeatureSet | None, tuple[Repaired, ...]]:
    """Open a set; if its manifest is damaged or missing, copy the manifest from `upstream` first.

    If there is no upstream and `uncommit` is true, remove a damaged manifest and return None.
    """
    from spikestore.store.feature_set import FeatureSet
    from spikestore.store.upkeep.repair_documents import Repaired, repair_manifest
    from spikestore.store_schemas.errors import DamagedError, MissingObjectError

    try:
        return FeatureSet.open(store.storage, address), ()
    except (DamagedError, MissingObjectError) as error:
        if upstream is not None:
            features = repair_manifest(store.storage, address, upstream, digest=digest)
            return features, (Repaired(address.manifest, "from the upstream"),)
        if isinstance(error, MissingObjectError):
            raise
        if uncommit:
            store.storage.delete(address.manifest)
            return None, ()
        raise
