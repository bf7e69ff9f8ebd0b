"""``spikestore rm``: forget a name."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import StoreOption, open_store
from spikestore.store.cli.console import say


def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME[:SPLIT]…", help="What to forget.")],
    store: StoreOption = None,
) -> None:
    """Forget names, or splits of them. The feature sets stay, until gc --unreferenced.

    Examples
    --------
    spikestore rm old-experiment --store ./feature_store
    spikestore rm ssc-100ch-4ms:valid
    """
    opened = open_store(store, must_exist=True)
    for name in names:
        lost = opened.forget(name)
        say(f"forgot {name} ({', '.join(lost)})" if ":" not in name else f"forgot {name}")
    say("the feature sets stay where they are: gc --unreferenced removes those that no name stands for")
