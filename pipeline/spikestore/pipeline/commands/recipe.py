"""``spikestore recipe``: write a commented recipe from flags, or from answers on a terminal."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store.cli.commands.options import JsonOption
from spikestore.store.cli.console import print_json, say

if TYPE_CHECKING:
    from spikestore.pipeline.recipes.new_recipe import FrameChoices


def recipe(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Name of the data set, or `folder` for recordings of your own; by default the data set whose files are in --data.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DIR", help="Folder with the recordings.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write; by default the name of the feature sets with .toml. It must not exist.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Name of the feature sets; by default a name made of the data set, the frame size and the bins.",
        ),
    ] = None,
    splits: Annotated[
        str | None, typer.Option("--splits", metavar="SPLIT,…", help="Splits to build; by default all.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            metavar="TEXT",
            help="Only for `folder`: pattern of the paths of recordings, such as {split}/{label}/*.",
        ),
    ] = None,
    sensor_size: Annotated[
        str | None,
        typer.Option(
            "--sensor-size",
            metavar="X,Y,P",
            help="Size of the sensor; CHANNELS,1,1 if it has channels instead of pixels. Not needed for data sets with a shipped recipe.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="X[,Y]",
            help="Channels or pixels of the frames; without Y, pixels are X,X. By default the size in the data set's shipped recipe. If there is no shipped recipe, or if --sensor-size is given, the frames have all channels or pixels.",
        ),
    ] = None,
    bin_ms: Annotated[
        float | None,
        typer.Option(
            "--bin-ms",
            help="Length of a time bin in ms; by default the length in the shipped recipe, or 10 without such a recipe.",
        ),
    ] = None,
    bins: Annotated[
        int | None, typer.Option("--bins", help="Number of time bins of each recording, instead of --bin-ms.")
    ] = None,
    bin_events: Annotated[
        int | None, typer.Option("--bin-events", help="Number of events per time bin, instead of --bin-ms.")
    ] = None,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", help="Drop events after this time in ms; 0 keeps all.")
    ] = None,
    merge_polarities: Annotated[
        bool, typer.Option("--merge-polarities", help="Count both polarities together.")
    ] = False,
    binary: Annotated[bool, typer.Option("--binary", help="Limit counts to 1.")] = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            help="Write only the JSON schema of recipes to stdout; editors check recipes with it.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented recipe; on a terminal, ask for data, sizes, bins, latest time and name, where no flag gives them.

    If there is a shipped recipe for the data set, it gives the values that you do not choose.

    Examples
    --------
    spikestore recipe --dataset SHD --size 70 --bin-ms 10 --data data/SHD
    spikestore recipe --dataset folder --data recordings --sensor-size 640,480,2 --size 64,48 --out mine.toml
    spikestore recipe --schema > recipe.schema.json
    """
    from spikestore.pipeline.recipes.new_recipe import (
        FrameChoices,
        default_choices,
        default_name,
        transform_of,
    )
    from spikestore.pipeline.recipes.schema import recipe_schema

    if schema:
        if out is not None:
            from spikestore.store_schemas.errors import UsageError

            raise UsageError(f"--schema writes to stdout: replace --out {out} by > {out}")
        print_json(recipe_schema())
        return
    asks = sys.stdin is not None and sys.stdin.isatty()
    chosen = FrameChoices(
        sensor_size=None if sensor_size is None else _sizes("--sensor-size", sensor_size, (3,)),
        size=None if size is None else _sizes("--size", size, (1, 2)),
        bin_ms=bin_ms,
        bins=bins,
        bin_events=bin_events,
        max_ms=max_ms,
        merge_polarities=merge_polarities,
        binary=binary,
    )
    if asks and data is None:
        data = (
            str(
                typer.prompt(
                    "Folder with the recordings (empty: none)", default="", show_default=False, err=True
                )
            )
            or None
        )
    dataset = _dataset(dataset, data, asks=asks)
    defaults = default_choices(dataset)
    if asks:
        chosen = _asked(chosen, defaults)
    if name is None:
        name = default_name(dataset, chosen, defaults)
        if asks:
            name = str(typer.prompt("Name of the feature sets", default=name, err=True))
    path = Path(out or f"{name}.toml")
    source: dict[str, Any] = {"dataset": dataset}
    if data is not None:
        source["data"] = _beside(data, path)
    if splits is not None:
        source["splits"] = splits.split(",")
    if pattern is not None:
        source["folder"] = {"pattern": pattern}
    stated = {"name": name, "source": source, "transform": transform_of(chosen, defaults)}
    _write(path, stated)
    if as_json:
        print_json({"path": str(path), "recipe": stated})
    else:
        say(
            f"wrote {path}. To see what this recipe computes, run: spikestore plan {path}{_data_option(source)}"
        )


def _dataset(dataset: str | None, data: str | None, *, asks: bool) -> str:
    """Return the name of the data set: `dataset`, or else that of the files in `data`, or else the user's answer if `asks` is true."""
    from spikestore.pipeline.readers.folder.settings import FOLDER
    from spikestore.pipeline.readers.registry import DATASETS, dataset_named, find_dataset
    from spikestore.store_schemas.errors import SourceNotFoundError, UsageError

    if dataset is None and data is not None:
        try:
            dataset = find_dataset(data)
        except (SourceNotFoundError, UsageError):
            if not asks:  # else the user is asked
                raise
    if dataset is None:
        known = ", ".join((*DATASETS, FOLDER))
        if not asks:
            raise UsageError(
                f"no data set: pass --dataset NAME ({known}), or --data FOLDER with the files of a data set"
            )
        dataset = str(typer.prompt(f"Data set ({known})", err=True))
    return dataset_named(dataset).name


def _asked(chosen: FrameChoices, defaults: FrameChoices) -> FrameChoices:
    """Return the choices, completed by the user's answers."""
    answers: dict[str, Any] = {}
    sensor = chosen.sensor_size or defaults.sensor_size
    if sensor is None:
        text = str(
            typer.prompt(
                "Size of the recordings: X,Y,P, or CHANNELS,1,1 if they have channels instead of pixels",
                err=True,
            )
        )
        answers["sensor_size"] = sensor = _sizes("the size of the recordings", text, (3,))
    if chosen.size is None:
        default = ",".join(map(str, (defaults.size or sensor)[: 1 if sensor[1] == 1 else 2]))
        text = str(typer.prompt("Channels X, or pixels X,Y, of the frames", default=default, err=True))
        answers["size"] = _sizes("the size of the frames", text, (1, 2))
    if not chosen.has_bins:
        answers["bin_ms"] = typer.prompt(
            "Length of a time bin in ms", default=defaults.bin_ms, type=float, err=True
        )
    if chosen.max_ms is None:
        answers["max_ms"] = typer.prompt(
            "Latest time of an event in ms (0: no limit)", default=defaults.max_ms, type=float, err=True
        )
    return replace(chosen, **answers)


def _sizes(what: str, text: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    from spikestore.store_schemas.errors import UsageError

    parts = text.split(",")
    if len(parts) not in lengths or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        wanted = " or ".join(map(str, lengths))
        raise UsageError(f"{what} must be {wanted} positive whole numbers, separated by commas, got {text!r}")
    return tuple(map(int, parts))


def _beside(data: str, recipe_file: Path) -> str:
    """Return the folder of the recordings as a recipe names it: absolute if `data` is absolute, else relative to the recipe's folder."""
    from spikestore.store.machine import expand_home

    folder = expand_home(data)
    if folder.is_absolute():
        return str(folder)
    return Path(os.path.relpath(folder, recipe_file.parent)).as_posix()


def _data_option(source: dict[str, Any]) -> str:
    return "" if "data" in source else " --data FOLDER"


def _write(path: Path, stated: dict[str, Any]) -> None:
    """Check a recipe, and write it into a new file."""
    from spikestore.pipeline.recipes.commented import commented_recipe
    from spikestore.pipeline.recipes.recipe import Recipe
    from spikestore.store_schemas.errors import UsageError

    header = (
        f"Written by `spikestore recipe`. To see what this recipe computes, run: spikestore plan {path.name}{_data_option(stated['source'])}",
        "Lines such as `#   limit: …` describe fields that are not set. All fields: docs/recipes.md",
    )
    text = commented_recipe(stated, header)
    Recipe.from_mapping(tomllib.loads(text), origin=str(path))
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{path} exists already: pass another --out, or delete it", path=str(path)) from None
    except FileNotFoundError:
        raise UsageError(f"no folder at {path.parent} for {path.name}: create it", path=str(path)) from None
    try:
        with file:
            file.write(text)
    except OSError as error:
        path.unlink()
        error.filename = str(path)  # a failed write, for example on a full disk, names no file
        raise
