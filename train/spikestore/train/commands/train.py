"""``spikestore train``: train a network from a configuration file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import copy_lines, print_json, progress, say

if TYPE_CHECKING:
    from spikestore.train.runs.config import TrainConfig

logger = logging.getLogger(__name__)

DeviceOption = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1 …; by default a GPU if this machine has one.")
]
ResidenceOption = Annotated[
    str | None,
    typer.Option(
        "--residence",
        help="Where feature sets are held: host (memory), device (the device's memory), stream (read in each epoch) or auto; by default as configured.",
    ),
]
OtherDataOption = Annotated[
    bool,
    typer.Option(
        "--other-data", help="Accept feature sets whose digest or transform differs from those of the run."
    ),
]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training configuration, a TOML file.")],
    store: StoreOption = None,
    residence: ResidenceOption = None,
    backend: Annotated[
        str | None, typer.Option("--backend", help="fused, sinabs or exodus; by default as configured.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Number of epochs; by default as configured.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="Seed of weights, sample order and augmentations; by default as configured."
        ),
    ] = None,
    device: DeviceOption = "auto",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Folder for checkpoints; by default runs/NAME for the configuration NAME.toml.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start from the beginning instead of resuming.")
    ] = False,
    other_data: OtherDataOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network on feature sets; resume a run that was interrupted.

    Checkpoints last.pt and best.pt, and scalars for TensorBoard, are written to the run's folder. If torchrun starts
    several processes, each process trains on its share of every batch. The result equals the result of a single
    process, up to rounding. There are two exceptions: augmentations that mix samples, because each process mixes only samples
    of its own share; and the precision float16, because steps whose gradients overflow are skipped, and the number of
    processes affects which gradients overflow.

    Examples
    --------
    spikestore train configs/demo.toml --store ./feature_store
    torchrun --standalone --nproc-per-node 2 --no-python spikestore train configs/demo.toml --store ./feature_store
    tensorboard --logdir runs
    """
    from spikestore.store.machine import expand_home
    from spikestore.store.upstreams import Upstreams, locate_upstreams
    from spikestore.train.runs.ranks import AnotherRankError, joined
    from spikestore.train.runs.run import run

    try:
        with joined(device) as (ranks, own_device):
            if not ranks.first:  # only the first rank logs
                logging.getLogger("spikestore").setLevel(logging.ERROR)
            loaded = _configured(config, epochs=epochs, seed=seed, residence=residence, backend=backend)
            runs = expand_home(folder or Path("runs") / config.stem)
            with progress("samples") as report:
                outcome = run(
                    loaded,
                    open_store(store, must_exist=not loaded.upstreams),
                    runs,
                    device=own_device,
                    restart=restart,
                    other_data=other_data,
                    origin=str(config),
                    upstreams=Upstreams(locate_upstreams(loaded.upstreams, config)),
                    copy_progress=copy_lines(),
                    ranks=ranks,
                    progress=report,
                )
    except AnotherRankError as error:
        logger.debug("%s", error)  # the failed rank reports the cause
        raise typer.Exit(1) from None
    if not ranks.first:
        return
    if as_json:
        epoch_list = [
            {
                "epoch": epoch.epoch,
                "loss": epoch.loss,
                "accuracy": epoch.accuracy,
                "spike_rates": epoch.spike_rates,
            }
            for epoch in outcome.epochs
        ]
        summary = {
            "folder": str(runs),
            "best_accuracy": outcome.best,
            "backend": loaded.network.backend,
            "precision": loaded.precision,
            "device": str(own_device),
            "ranks": ranks.count,
            "epochs": epoch_list,
        }
        print_json(summary)
    else:
        say(f"best accuracy on {loaded.data.valid}: {outcome.best:.3f}; checkpoints in {runs}")


def _configured(
    path: Path, *, residence: str | None, backend: str | None, **changes: int | None
) -> TrainConfig:
    """Return the configuration of a file; options of the command line take precedence."""
    from spikestore.train.runs.config import load_config

    loaded = load_config(path)
    mapping = loaded.to_mapping() | {name: value for name, value in changes.items() if value is not None}
    if residence is not None:
        mapping["data"]["residence"] = residence
    if backend is not None:
        mapping["network"]["backend"] = backend
    return type(loaded).from_mapping(mapping, origin=str(path))
