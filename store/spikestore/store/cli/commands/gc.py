"""``spikestore gc``: remove what nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import plural, print_json, progress, say
from spikestore.store.progress import labelled

if TYPE_CHECKING:
    from spikestore.store.upkeep.garbage import Garbage


def gc(
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would go, and stop.")] = False,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Also feature sets that no name stands for.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=0,
            help="Only what was written longer ago. Below 7, make sure that nobody builds or pushes.",
        ),
    ] = 7.0,
    as_json: JsonOption = False,
) -> None:
    """Remove unfinished builds that nobody works on any more, and leftovers of crashes.

    Feature sets go only with --unreferenced, and only those without a name. First it says what goes.

    Examples
    --------
    spikestore gc --dry-run --store ./feature_store
    spikestore gc --unreferenced --older-than 30 --store s3://team/features
    """
    from datetime import timedelta

    from spikestore.store.upkeep.garbage import collect, find_garbage

    storage = open_store(store, must_exist=True).storage
    age = timedelta(days=older_than)
    found = find_garbage(storage, unreferenced=unreferenced, age=age)
    for reason in found.kept:
        say(f"kept: {reason}")
    for one in found.garbage:
        say(
            f"{'would remove' if dry_run else 'removing'} {_KINDS[one.kind]} {one.path}: {plural(one.objects, 'object')}, "
            f"{one.size:,} bytes, the newest of {one.newest:%Y-%m-%d %H:%M} UTC"
        )
    removed: tuple[Garbage, ...] = ()
    if not dry_run and found.garbage:
        with progress("objects") as report:
            removed = collect(storage, found.garbage, age=age, progress=labelled(report, "gc"))
    spared = [] if dry_run else [one for one in found.garbage if one not in removed]
    if as_json:
        print_json(
            {
                "store": storage.url,
                "dry_run": dry_run,
                "garbage": [_document(one) for one in found.garbage],
                "removed": [one.path for one in removed],
                "kept": list(found.kept),
            }
        )
    for one in spared:
        say(f"kept: {one.path}: somebody came to need it")
    done = found.garbage if dry_run else removed
    size = sum(one.size for one in done)
    say(
        f"{'would free' if dry_run else 'freed'} {size:,} bytes in {storage.url}"
        if done
        else f"nothing to remove in {storage.url}"
    )


_KINDS = {
    "plan": "the plan that nobody followed,",
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
