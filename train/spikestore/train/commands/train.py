"""``spikestore train``: a network from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikestore.store_schemas.commands.options import JsonOption, StoreOption, open_store
from spikestore.store_schemas.console import copy_lines, print_json, progress, say

DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1 …; a GPU if there is one, by default.")
]
ResidenceOption = Annotated[
    str | None, typer.Option("--residence", help="Where the packed columns live: auto, host or device.")
]
OtherDataOption = Annotated[
    bool, typer.Option("--other-data", help="Go on although a feature set has another digest than before.")
]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")],
    store: StoreOption = None,
    residence: ResidenceOption = None,
    backend: Annotated[
        str | None, typer.Option("--backend", help="fused, sinabs or exodus, instead of the configuration's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Instead of the configuration's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the configuration's.")] = None,
    device: DeviceOption = "auto",
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="For checkpoints; runs/NAME of the configuration by default."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    other_data: OtherDataOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network on feature sets; go on where an interrupted run stopped.

    Checkpoints last.pt and best.pt, and scalars for TensorBoard, go to the run's folder.

    Examples
    --------
    spikestore train configs/demo.toml --store ./store
    tensorboard --logdir runs
    """
    from spikestore.store_schemas.upstreams import Upstreams, locate_upstreams
    from spikestore.train.config import load_config
    from spikestore.train.runs import run

    loaded = load_config(config)
    changes = {"epochs": epochs, "seed": seed}
    mapping = loaded.to_mapping() | {name: value for name, value in changes.items() if value is not None}
    if residence is not None:
        mapping["data"]["residence"] = residence
    if backend is not None:
        mapping["network"]["backend"] = backend
    loaded = type(loaded).from_mapping(mapping, origin=str(config))
    place = folder or Path("runs") / config.stem
    with progress("samples") as report:
        outcome = run(
            loaded,
            open_store(store),
            place,
            device=device,
            restart=restart,
            other_data=other_data,
            upstreams=Upstreams(locate_upstreams(loaded.upstreams, config)),
            copy_progress=copy_lines(),
            progress=report,
        )
    if as_json:
        epoch_list = [
            {"epoch": one.epoch, "loss": one.loss, "accuracy": one.accuracy, "spike_rates": one.spike_rates}
            for one in outcome.epochs
        ]
        print_json({"folder": str(place), "best_accuracy": outcome.best, "epochs": epoch_list})
    else:
        say(f"best accuracy on {loaded.data.valid}: {outcome.best:.3f}; checkpoints in {place}")
