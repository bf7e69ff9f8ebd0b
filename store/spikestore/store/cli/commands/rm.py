"""``spikestore rm``: remove a name."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import StoreOption, names_in_store, open_store
from spikestore.store.cli.console import say


def rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME[:SPLIT]…", help="Names to remove.", autocompletion=names_in_store),
    ],
    store: StoreOption = None,
) -> None:
    """Remove names, or single splits of them. The feature sets stay in the store until gc --unreferenced removes them.

    Examples
    --------
    spikestore rm old-experiment --store ./feature_store
    spikestore rm ssc-100ch-4ms:valid
    """
    from spikestore.store.selection import refuse_unknown_name

    opened = open_store(store, must_exist=True)
    wanted = [*dict.fromkeys(names)]
    wanted = [name for name in wanted if ":" not in name or name.partition(":")[0] not in wanted]
    for name in names:  # before any name is removed
        refuse_unknown_name(opened.storage, name)
    for name in wanted:
        lost = opened.forget(name)
        say(f"removed {name} ({', '.join(lost)})" if ":" not in name else f"removed {name}")
    say("the feature sets are kept; gc --unreferenced removes the sets without a name")
