"""The recipes that spikestore ships, and the choice of a recipe by its name, its file or the recordings."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from spikestore.pipeline.readers.registry import DATASETS, find_dataset
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.store.machine import expand_home
from spikestore.store.upstreams import beside
from spikestore.store_schemas.errors import UsageError

_HERE = Path(__file__).parent

INSTALLED = _HERE
"""Folder of the recipes in an installed package; an editable install has them at the top of its checkout."""


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name, from the package, or from the checkout of an editable install."""
    for folder in (INSTALLED, _HERE.parents[3] / "recipes"):
        if recipes := {path.stem: path for path in sorted(folder.glob("*.toml"))}:
            return recipes
    return {}


PAPERS = (
    "asrc-ssc",
    "dcls-shd",
    "dcls-ssc",
    "delrec-shd",
    "delrec-ssc",
    "plif-cifar10dvs",
    "plif-dvsgesture",
    "se-adlif-shd",
    "se-adlif-ssc",
    "sew-resnet-dvsgesture",
    "silif-shd",
    "silif-ssc",
    "sparch-shd",
    "sparch-ssc",
    "spikcommander-shd",
    "spikcommander-ssc",
    "spikescr-shd",
    "spikescr-ssc",
    "spikformer-cifar10dvs",
    "spyx-shd",
    "tcja-ncaltech101",
)
"""Names of the shipped recipes of publications, which are in the folder ``papers`` beside the other recipes."""


def paper_recipes() -> dict[str, Path]:
    """Return the shipped recipes of publications by name; each states its `citation`."""
    return {
        name: path
        for folder in sorted({recipe.parent for recipe in shipped_recipes().values()})
        for name in PAPERS
        if (path := folder / "papers" / f"{name}.toml").is_file()
    }


def is_shipped(path: Path) -> bool:
    """Return whether spikestore ships this recipe file; a user's file in the same folder is not shipped."""
    known = {"demo", *PAPERS, *map(str.lower, DATASETS)}
    resolved = path.parent.resolve() / path.name
    return any(
        resolved == recipe.parent.resolve() / recipe.name
        for name, recipe in (shipped_recipes() | paper_recipes()).items()
        if name in known
    )


def result_name(recipe: Recipe, origin: Path | None, data: str | Path | None) -> str:
    """Return the default name of the result of a recipe.

    The default name is the name in the recipe. If the recipe is shipped with spikestore and `data` is not the
    folder that the recipe names, the name of the folder `data` is appended: ``ssc-100ch-4ms-birdsong``. The name is cut
    after 63 characters.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    origin : Path, optional
        The file of the recipe.
    data : str or Path, optional
        Folder with the recordings; it takes precedence over the folder in the recipe.
    """
    if data is None or origin is None or not is_shipped(origin):
        return recipe.name
    folder = expand_home(data).resolve()
    if recipe.source.data is not None:
        own = beside(recipe.source.data, origin).resolve()
        if folder in (own, own / recipe.source.dataset):
            return recipe.name
    plain = unicodedata.normalize("NFKD", folder.name).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not plain:  # no letter of the folder is allowed in a name
        plain = hashlib.sha256(str(folder.name).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{recipe.name}-{plain}"[:63].rstrip("-")


def choose_recipe(
    recipe: str | None, data: str | None, *, ask: Callable[[list[str]], str] | None = None
) -> Path:
    """Return the file of the recipe that the arguments select.

    Parameters
    ----------
    recipe : str, optional
        A file, or the name of a shipped recipe.
    data : str, optional
        Folder with recordings; if `recipe` is None, the files in this folder identify the data set.
    ask : callable, optional
        If several data sets are possible, called with their names; returns the user's choice. If `ask` is None, several
        possible data sets are an error.

    Raises
    ------
    UsageError
        Neither `recipe` nor `data` was given; the files fit several data sets, and the user chose none of them; or there is no shipped
        recipe for the data set, because another package adds the data set.
    SourceNotFoundError
        The folder does not exist, or has no files of a known data set.
    """
    shipped = shipped_recipes()
    if recipe is not None:
        # An existing file takes precedence over a shipped recipe of this name.
        named = shipped | paper_recipes()
        return named[recipe] if recipe in named and not Path(recipe).is_file() else Path(recipe)
    if data is None:
        raise UsageError(
            f"neither a recipe nor recordings were given: pass a recipe (shipped: {', '.join(shipped)}), "
            f"or --data FOLDER with files of {_or(DATASETS)}"
        )
    try:
        dataset = find_dataset(data)
    except UsageError as error:
        candidates = error.details.get("candidates")
        if ask is None or not candidates:
            raise
        answer = ask(list(candidates)).strip()
        by_lower = {name.lower(): name for name in candidates}
        if answer.lower() not in by_lower:
            raise UsageError(f"the data set must be {_or(candidates)}, got {answer!r}") from None
        dataset = by_lower[answer.lower()]
    if dataset not in DATASETS or dataset.lower() not in shipped:
        raise UsageError(
            f'{data} has files of the data set {dataset}, for which there is no shipped recipe: pass a recipe with dataset = "{dataset}"; '
            f"to write one, run: spikestore recipe --dataset {dataset} --data {data} --sensor-size X,Y,P"
        )
    return shipped[dataset.lower()]


def _or(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"
