"""``spikestore preprocess``: compute the feature sets of a recipe."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption, open_store
from spikestore.store.cli.console import copy_lines, print_json, progress
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from spikestore.store.feature_set import FeatureSet

logger = logging.getLogger(__name__)


def _shipped_names(incomplete: str) -> list[str]:
    """Return the shipped recipes whose names begin with `incomplete`, for completion in a shell."""
    from spikestore.pipeline.recipes.shipped import paper_recipes, shipped_recipes

    return [name for name in shipped_recipes() | paper_recipes() if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]",
        help="A TOML file, or the name of a shipped recipe. `spikestore recipes` lists all shipped recipes. The shipped recipes of data sets are: asldvs, cifar10dvs, demo, dvsgesture, dvslip, ncaltech101, ncars, nmnist, ntidigits18, pokerdvs, shd, ssc, stmnist.",
        autocompletion=_shipped_names,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder with the recordings; takes precedence over the folder in the recipe.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the feature sets; by default the recipe's name. If a shipped recipe gets another folder with --data, the default also contains the folder's name. If the recipe has a sweep, the suffix of each variant is added to the name.",
    ),
]
LockOption = Annotated[
    str | None,
    typer.Option(
        "--lock",
        metavar="FILE",
        help="File of the recipe's lock; by default next to the recipe. A shipped recipe has no lock by default.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Number of worker processes; with 0, this process does the work. By default the number in the recipe. If the recipe has no number, spikestore starts one worker process per core, or uses threads of this process if these are faster.",
    ),
]


class Executor(StrEnum):
    """Values of `spikestore.store_schemas.specs.transform.ExecutorName` as an enum for typer."""

    AUTO = "auto"
    FUSED = "fused"
    TONIC = "tonic"


def preprocess(
    recipe: RecipeArgument = None,
    data: DataOption = None,
    store: StoreOption = None,
    name: NameOption = None,
    move: Annotated[
        bool,
        typer.Option(
            "--move",
            help="Move the name to the new sets even if the name refers to other recordings or another transform.",
        ),
    ] = False,
    lock: LockOption = None,
    workers: WorkersOption = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            help="Address of a running Dask scheduler to use instead of local workers.",
        ),
    ] = None,
    fragment_samples: Annotated[
        int | None,
        typer.Option(
            "--fragment-samples", min=1, help="Samples per fragment, rounded up to a multiple of 64."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start a new build instead of resuming an unfinished build.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            "--part", metavar="I/N", help="Build only part I of N, and commit nothing: for job arrays."
        ),
    ] = None,
    finalise: Annotated[
        bool,
        typer.Option(
            "--finalise",
            help="Compute nothing; commit the fragments that the --part jobs have stored.",
        ),
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty",
            help="Accept a set that has no event in any time bin; otherwise such a set is an error.",
        ),
    ] = False,
    no_reuse: Annotated[
        bool,
        typer.Option(
            "--no-reuse",
            help="Copy no rows from stored sets of the same transform. By default, if such a set has some of the recordings, the rows of these recordings are copied.",
        ),
    ] = False,
    no_derive: Annotated[
        bool,
        typer.Option(
            "--no-derive",
            help="Compute no set from a finer set. By default, a set is computed from a finer set of the same recordings if this gives the same samples.",
        ),
    ] = False,
    executor: Annotated[
        Executor | None,
        typer.Option(
            "--executor", help="Implementation of the transform. All implementations give the same samples."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute feature sets from recordings; a set that is already in the store is not computed again.

    If no recipe is given, the files in the folder of --data determine the recipe. An interrupted run resumes when it is started
    again.

    Examples
    --------
    spikestore preprocess recipes/demo.toml --store ./feature_store
    spikestore preprocess --data ~/data/SSC --store s3://team/features
    spikestore preprocess ssc --part 3/16       # in job 3 of 16
    spikestore preprocess ssc --finalise        # after the last job
    """
    from spikestore.pipeline.building.options import BuildOptions, parse_part
    from spikestore.pipeline.building.recipe_builds import preprocess_recipes
    from spikestore.pipeline.recipes.resolve import OpenedRecipe

    recipes = OpenedRecipe.open(chosen_recipe(recipe, data), data=data, lock=lock).named(name)
    opened = open_store(store)
    share = None if part is None else parse_part(part)
    with progress("samples") as report:
        options = BuildOptions(
            workers=workers,
            scheduler=scheduler,
            fragment_samples=fragment_samples,
            restart=restart,
            executor="auto" if executor is None else executor.value,
            part=share,
            finalise=finalise,
            allow_empty=allow_empty,
            reuse=not no_reuse,
            derive=not no_derive,
            progress=report,
            copy_progress=copy_lines(),
        )
        built = preprocess_recipes(recipes, opened, options, move=move)
    if share is None or as_json:
        results = {result: sets for (result, _), sets in zip(recipes, built, strict=True)}
        _report(opened.storage.url, results, as_json=as_json)


def chosen_recipe(recipe: str | None, data: str | None) -> Path:
    """Return the recipe of the command line, or else the recipe that fits the recordings.

    If the recordings fit several data sets and the command runs on a terminal, the user is asked.
    """
    from spikestore.pipeline.recipes.shipped import choose_recipe

    def ask(candidates: list[str]) -> str:
        return str(typer.prompt(f"Which data set? ({', '.join(candidates)})", err=True))

    return choose_recipe(recipe, data, ask=ask if sys.stdin is not None and sys.stdin.isatty() else None)


def _report(url: str, results: dict[str, dict[str, FeatureSet]], *, as_json: bool) -> None:
    if as_json:
        documents = [
            {
                "store": url,
                "name": name,
                "feature_sets": {
                    split: {
                        **features.address._asdict(),
                        "digest": features.digest,
                        "samples": len(features),
                        "nnz": features.manifest.nnz,
                    }
                    for split, features in sets.items()
                },
            }
            for name, sets in results.items()
        ]
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    labelled = {f"{name}:{split}": each for name, sets in results.items() for split, each in sets.items()}
    width = max(map(len, labelled))
    logger.info("in %s:", url)
    for label, features in labelled.items():
        counts = f"{plural(len(features), 'sample'):>15}  {plural(features.manifest.nnz, 'non-zero'):>23}"
        logger.info("  %s  %s  digest %s", label.ljust(width), counts, features.digest[:12])
