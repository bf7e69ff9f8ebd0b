"""``spikestore gc``: remove abandoned unfinished builds and, with --unreferenced, feature sets without a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress, say, visible
from spikestore.store.progress import labelled
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.store.upkeep.garbage import Garbage


def gc(
    store: StoreOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="List what would be removed, and exit.")
    ] = False,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Also remove feature sets without a name.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=0,
            help="Remove only objects that are older than this age. If the age is less than 7 days, make sure that nobody builds or pushes meanwhile.",
        ),
    ] = 7.0,
    as_json: JsonOption = False,
) -> None:
    """Remove abandoned unfinished builds, and the leftovers of crashes.

    Feature sets are removed only with --unreferenced, and only if they have no name. Each item is listed before it is removed.

    Examples
    --------
    spikestore gc --dry-run --store ./feature_store
    spikestore gc --unreferenced --older-than 30 --store s3://team/features
    """
    from datetime import timedelta

    from spikestore.store.upkeep.garbage import collect, find_garbage

    storage = open_store(store, must_exist=True).storage
    age = timedelta(days=older_than if older_than < _MOST_DAYS else _MOST_DAYS)
    findings = find_garbage(storage, unreferenced=unreferenced, age=age)
    for reason in findings.kept:
        say(visible(f"kept {reason}"))
    for item in findings.garbage:
        say(
            f"{'would remove' if dry_run else 'removing'} {_KINDS[item.kind]} {item.path}: {plural(item.objects, 'object')}, "
            f"{item.size:,} bytes, last written {item.newest:%Y-%m-%d %H:%M} UTC"
        )
    removed: tuple[Garbage, ...] = ()
    if not dry_run and findings.garbage:
        with progress("objects") as report:
            removed = collect(storage, findings.garbage, age=age, progress=labelled(report, "gc"))
    spared = [] if dry_run else [item for item in findings.garbage if item not in removed]
    if as_json:
        print_json(
            {
                "store": storage.url,
                "dry_run": dry_run,
                "garbage": [_document(item) for item in findings.garbage],
                "removed": [item.path for item in removed],
                "kept": list(findings.kept),
            }
        )
    for item in spared:
        say(f"skipped {item.path}: another process used or removed it meanwhile")
    done = findings.garbage if dry_run else removed
    size = sum(item.size for item in done)
    say(
        f"{'would free' if dry_run else 'freed'} {size:,} bytes in {storage.url}"
        if done
        else f"nothing to remove in {storage.url}"
    )


_MOST_DAYS = 100_000
"""A larger age has the effect of this age: longer than any store exists, and short enough for Python's dates."""

_KINDS = {
    "plan": "the unused plan",
    "build": "the unfinished build",
    "feature set": "the feature set",
    "half-written": "half-written files in",
}


def _document(garbage: Garbage) -> dict[str, Any]:
    return {
        "kind": garbage.kind,
        "path": garbage.path,
        "objects": garbage.objects,
        "bytes": garbage.size,
        "newest": garbage.newest.isoformat(timespec="seconds"),
    }
