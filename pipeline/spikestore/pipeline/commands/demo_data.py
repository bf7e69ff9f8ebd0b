"""``spikestore demo-data``: write artificial recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikestore.store.cli.console import progress, say


def demo_data(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder for the recordings; the files are written to DIR/SSC."),
    ],
    train: Annotated[
        int, typer.Option("--train", min=1, help="Number of recordings in the training split.")
    ] = 2000,
    valid: Annotated[
        int, typer.Option("--valid", min=1, help="Number of recordings in the validation split.")
    ] = 400,
    test: Annotated[int, typer.Option("--test", min=1, help="Number of recordings in the test split.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the voices and recordings.")] = 0,
) -> None:
    """Write speech-like recordings in the layout of Spiking Speech Commands.

    The recordings are artificial; nothing is downloaded. The same arguments give the same files, byte for byte.

    Examples
    --------
    spikestore demo-data data/demo
    """
    from spikestore.pipeline.demo.demo_data import write_demo_data

    before = {path: path.stat().st_ino for path in (folder / "SSC").glob("ssc_*.h5")}
    with progress("recordings") as report:
        files = write_demo_data(
            folder,
            train=train,
            valid=valid,
            test=test,
            seed=seed,
            progress=lambda done, total: report(done, total, "demo data"),
        )
    for path in files.values():
        status = path.stat()  # a file that is written anew has another inode
        how = "kept" if before.get(path) == status.st_ino else "wrote"
        say(f"{how} {path} ({status.st_size:,} bytes)")
