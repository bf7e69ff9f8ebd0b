"""``spikestore augment``: show samples before and after augmentation, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikestore.store.cli.commands.options import StoreOption, open_store
from spikestore.store.cli.console import say
from spikestore.store_schemas.wording import plural


def augment(
    name: Annotated[
        str, typer.Argument(metavar="NAME:SPLIT|KEY", help="A feature set: its name and split, or its key.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The picture to write, a PNG file.")],
    store: StoreOption = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Preset with the augmentations of a paper, such as snn-delays."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Training configuration whose augmentations, truncation and padding are shown."
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=16, help="Number of samples.")] = 4,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="Seed that selects the samples and draws the random numbers of augmentations without a seed of their own.",
        ),
    ] = 0,
) -> None:
    """Show samples of a feature set before and after augmentation, as a picture.

    The samples in the picture are one batch, so an augmentation that mixes samples uses only these samples.

    Examples
    --------
    spikestore augment demo:train --preset eventmix --out eventmix.png --store ./feature_store
    spikestore augment demo:train --config configs/demo.toml --out augmented.png
    """
    from spikestore.store.machine import expand_home
    from spikestore.store_schemas.errors import UsageError
    from spikestore.train.data.augmentation.picture import write_picture
    from spikestore.train.data.augmentation.presets import PRESETS
    from spikestore.train.data.augmentation.tables import augmentations_of, checked_tables
    from spikestore.train.data.loader import FeatureLoader
    from spikestore.train.runs.config import load_config

    path = expand_home(out)
    if path.suffix != ".png":
        raise UsageError(f"the picture is a PNG file: its name must end in .png, got {path}")
    if (preset is None) == (config is None):
        raise UsageError(f"pass either --preset NAME or --config FILE; presets are {', '.join(PRESETS)}")
    loaded = None if config is None else load_config(expand_home(config))
    tables = checked_tables({"preset": preset}) if loaded is None else loaded.augment
    if not tables:
        raise UsageError(f"{config} has no table [[augment]]")
    features = open_store(store, must_exist=True)[name]
    bins: dict[str, Any] = {}
    if loaded is not None:
        cut = loaded.data.cut_of(features.manifest.n_bins)
        bins = {"pad_to": loaded.data.pad_to, "pad_at_least": loaded.data.pad_at_least, "truncate_to": cut}
    before, after = (
        next(
            iter(
                FeatureLoader(
                    features, samples, "stream", shuffle=True, seed=seed, augment=one, threads=1, **bins
                )
            )
        )
        for one in ((), augmentations_of(tables, seed))
    )
    write_picture(path, before, after, features.classes)
    say(
        f"{plural(len(before.labels), 'sample')} of {name}, before and after {plural(len(tables), 'augmentation')}: {path}"
    )
