"""``spikestore evaluate``: measure the accuracy of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import print_json, progress
from spikestore.store_schemas.wording import plural
from spikestore.train.commands.train import DeviceOption, OtherDataOption


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A checkpoint, or the folder of a run. In a folder, best.pt is used."
        ),
    ],
    store: StoreOption = None,
    split: Annotated[str, typer.Option("--split", help="Split to evaluate on.")] = "test",
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the feature sets; by default as in the training run."),
    ] = None,
    device: DeviceOption = "auto",
    other_data: OtherDataOption = False,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="fused, sinabs or exodus; by default the backend of the run."),
    ] = None,
    max_frame_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-frame-bytes",
            min=1,
            help="Bytes that the dense frames of a batch may take; by default as in the training run.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the accuracy of a trained network.

    Examples
    --------
    spikestore evaluate runs/demo/best.pt --split test --store ./feature_store
    """
    from spikestore.store.machine import expand_home
    from spikestore.train.models.backends import known_backend
    from spikestore.train.runs.run import evaluate as measure
    from spikestore.train.runs.trained import checkpoint_path

    path = checkpoint_path(expand_home(checkpoint))
    opened = open_store(store, must_exist=path.exists())  # a missing checkpoint is reported first
    with progress("samples") as report:
        measured, samples = measure(
            path,
            opened,
            split=split,
            name=name,
            device=device,
            other_data=other_data,
            backend=known_backend(backend),
            max_frame_bytes=max_frame_bytes,
            progress=report,
        )
    if as_json:
        print_json({"checkpoint": str(path), "split": split, "accuracy": measured, "samples": samples})
    else:
        typer.echo(f"accuracy on {split}: {measured:.3f} ({plural(samples, 'sample')})")
