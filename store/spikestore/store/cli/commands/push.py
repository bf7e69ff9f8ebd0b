"""``spikestore push``: copy feature sets into another store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, MoveOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress, say

if TYPE_CHECKING:
    from spikestore.store.sharing.copy_set import Copied

NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME[:SPLIT]|KEY…", help="Names, or beginnings of keys.")
]


def push(
    names: NamesArgument,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The store to copy into.")],
    store: StoreOption = None,
    move: MoveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy feature sets and their names into another store: a folder, or a bucket.

    What is there already is not copied again; an interrupted push goes on where it stopped. Every object is checked on its way, and nobody sees half a set.

    Examples
    --------
    spikestore push demo --to s3://team/features --store ./feature_store
    """
    from spikestore.store.store import Store

    opened, other = open_store(store, must_exist=True), Store(to)
    done: dict[str, Copied] = {}
    with progress("bytes") as report:
        for name in names:
            done |= opened.push(name, other, move=move, progress=report)
    tell(done, other.storage.url, as_json=as_json)


def tell(done: dict[str, Copied], url: str, *, as_json: bool) -> None:
    """Say what was copied, and how much of it was there before."""
    if as_json:
        sets = {
            label: {
                **one.features.address._asdict(),
                "digest": one.features.digest,
                "bytes": one.total,
                "bytes_copied": one.total - one.there,
            }
            for label, one in done.items()
        }
        print_json({"store": url, "feature_sets": sets})
        return
    for label, one in done.items():
        copied = one.total - one.there
        what = f"{copied:,} bytes copied" if one.total else "was there already"
        say(f"{label}: {what}, digest {one.features.digest[:12]} in {url}")
