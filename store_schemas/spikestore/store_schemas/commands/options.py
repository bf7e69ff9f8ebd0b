"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Folder, file://… or s3://… of the store; $SPIKESTORE_STORE, else the user's data folder, by default.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for programs.")]
