"""``spikestore pull``: copy feature sets from another store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, MoveOption, StoreOption, open_store
from spikestore.store.cli.commands.push import NamesArgument, tell
from spikestore.store.cli.console import progress

if TYPE_CHECKING:
    from spikestore.store.sharing.copy_set import Copied


def pull(
    names: NamesArgument,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to copy from.")],
    store: StoreOption = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also decode what arrives, and compare it with the digest before it is stored."
        ),
    ] = False,
    move: MoveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy feature sets and their names from another store: a folder, or a bucket. Reading rights are enough.

    What is there already is not copied again; an interrupted pull goes on where it stopped. Every object is checked as it arrives, and nobody sees half a set.

    Examples
    --------
    spikestore pull demo --from s3://team/features --store ./feature_store
    """
    opened, other = open_store(store), open_store(source, must_exist=True)
    done: dict[str, Copied] = {}
    with progress("bytes") as report:
        for name in names:
            done |= opened.pull(name, other, deep=deep, move=move, progress=report)
    tell(done, opened.storage.url, as_json=as_json)
