"""``spikestore tag``: add a second name to feature sets."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import StoreOption, names_in_store, open_store
from spikestore.store.cli.console import say


def tag(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:SPLIT]|KEY",
            help="Feature sets to be named. An existing NAME selects all its splits; NAME:SPLIT or KEY selects one set.",
            autocompletion=names_in_store,
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    store: StoreOption = None,
    move: Annotated[
        bool,
        typer.Option(
            "--move",
            "--force",
            "-f",
            help="If NEW refers to other sets now, let it refer to these sets instead.",
        ),
    ] = False,
) -> None:
    """Add a second name to feature sets, without copying them.

    Examples
    --------
    spikestore tag ssc-100ch-4ms paper-2026 --store ./feature_store
    spikestore tag 952b94b4a748/2f1c0d6e55aa rescued
    """
    opened = open_store(store, must_exist=True)
    ref = opened.tag(name, new, move=move)
    say(f"{new} refers to {', '.join(f'{split} {pin.digest[:12]}' for split, pin in ref.splits.items())}")
