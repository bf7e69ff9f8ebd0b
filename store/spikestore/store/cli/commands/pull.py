"""``spikestore pull``: copy feature sets from another store."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, MoveOption, StoreOption, open_store
from spikestore.store.cli.commands.push import NamesArgument, copy_each, report_copied
from spikestore.store.cli.console import progress


def pull(
    names: NamesArgument,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to copy from.")],
    store: StoreOption = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Before a set is stored, also decode it and compare its values with its digest. A set that the destination already has is decoded and compared too.",
        ),
    ] = False,
    move: MoveOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy feature sets and their names from another store (a folder or a bucket that you may read).

    Objects that exist already are not copied again, and an interrupted pull resumes. Every object is verified before it is
    stored; a set becomes visible once it is complete.

    Examples
    --------
    spikestore pull demo --from s3://team/features --store ./feature_store
    """
    from spikestore.store.sharing.push_pull import refuse_copies

    opened, other = open_store(store), open_store(source, must_exist=True)
    refuse_copies(other, opened, names, move=move)
    with progress("bytes") as report:
        done, failed = copy_each(
            names, lambda name: opened.pull(name, other, deep=deep, move=move, progress=report)
        )
    report_copied(done, opened.storage.url, as_json=as_json, failed=failed)
