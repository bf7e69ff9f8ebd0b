"""``spikestore push``: copy feature sets into another store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import (
    JsonOption,
    MoveOption,
    StoreOption,
    names_in_store,
    open_store,
)
from spikestore.store.cli.console import print_json, progress, say

if TYPE_CHECKING:
    from spikestore.store.sharing.copy_set import Copied

NamesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME[:SPLIT]|KEY…", help="Names, or beginnings of keys.", autocompletion=names_in_store
    ),
]


def push(
    names: NamesArgument,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The store to copy into.")],
    store: StoreOption = None,
    move: MoveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy feature sets and their names into another store (a folder or a bucket).

    Objects that exist already are not copied again, and an interrupted push resumes. Every object is verified before it is
    stored; a set becomes visible once it is complete.

    Examples
    --------
    spikestore push demo --to s3://team/features --store ./feature_store
    """
    from spikestore.store.sharing.push_pull import refuse_copies
    from spikestore.store.store import Store

    opened, other = open_store(store, must_exist=True), Store(to)
    refuse_copies(opened, other, names, move=move)
    done: dict[str, Copied] = {}
    with progress("bytes") as report:
        for name in names:
            done |= opened.push(name, other, move=move, progress=report)
    report_copied(done, other.storage.url, as_json=as_json)


def report_copied(done: dict[str, Copied], url: str, *, as_json: bool) -> None:
    """Report the copied sets on stderr, or as JSON on stdout."""
    if as_json:
        sets = {
            label: {
                **copied.features.address._asdict(),
                "digest": copied.features.digest,
                "bytes": copied.total,
                "bytes_copied": copied.total - copied.present,
            }
            for label, copied in done.items()
        }
        print_json({"store": url, "feature_sets": sets})
        return
    for label, copied in done.items():
        result = f"copied {copied.total - copied.present:,} bytes to" if copied.total else "exists already in"
        say(f"{label}: {result} {url} (digest {copied.features.digest[:12]})")
