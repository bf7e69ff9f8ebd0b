"""``spikestore import``: store the frames of a cache of Tonic as a feature set."""

from __future__ import annotations

from typing import Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress, say
from spikestore.store_schemas.wording import plural


def import_cache(
    cache: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="The cache_path of a tonic.DiskCachedDataset, with 0_0.hdf5, 1_0.hdf5 …"
        ),
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="FILE", help="Recipe with the transform that filled the cache.")
    ],
    split: Annotated[str, typer.Option("--split", metavar="SPLIT", help="Split that was cached.")],
    store: StoreOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the feature set; by default none.")
    ] = None,
    move: Annotated[
        bool,
        typer.Option(
            "--move", help="Move the name to the new set even if the name refers to other recordings."
        ),
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="N|NAME,NAME…",
            help="Number or names of the classes; by default they are taken from the targets.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder with the recordings. With this option, at most 64 rows are compared with the recordings.",
        ),
    ] = None,
    compare_all: Annotated[bool, typer.Option("--all", help="With --data, compare all rows.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Number of worker processes; with 0, this process does the work. By default one per core, or 0 if this process alone is faster.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import the frames of a cache of Tonic's DiskCachedDataset as a feature set.

    A cache does not record the transform that filled it, so the recipe must have this transform. Shapes and counts are
    checked; with --data, frames and labels are compared with the recordings.

    Examples
    --------
    spikestore import cache/train --recipe gestures.toml --split train --name gestures-cache --data recordings
    """
    from spikestore.pipeline.importing.import_cache import import_cache as import_frames

    chosen = None if classes is None else int(classes) if classes.isdecimal() else [*classes.split(",")]
    with progress("items") as report:
        features = import_frames(
            cache,
            recipe,
            split=split,
            store=open_store(store),
            name=name,
            move=move,
            classes=chosen,
            data=data,
            compare_all=compare_all,
            workers=workers,
            progress=report,
        )
    if as_json:
        keys = features.address._asdict()
        print_json({**keys, "digest": features.digest, "samples": len(features)})
        return
    say(
        f"imported {plural(len(features), 'sample')} as {features.address.short} (digest {features.digest[:12]})"
    )
