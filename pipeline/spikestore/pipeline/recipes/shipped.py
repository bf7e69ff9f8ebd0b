"""The recipes that come with spikestore, and which one is meant."""

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
"""Where the recipes are in an installed package; an editable install has them at the top of its checkout."""


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name: those in the package, or in the checkout of an editable install."""
    for folder in (INSTALLED, _HERE.parents[3] / "recipes"):
        if recipes := {path.stem: path for path in sorted(folder.glob("*.toml"))}:
            return recipes
    return {}


def is_shipped(path: Path) -> bool:
    """Tell whether a recipe is one that comes with spikestore, rather than somebody's own beside it."""
    known = {"demo", *map(str.lower, DATASETS)}
    resolved = path.parent.resolve() / path.name
    return any(
        resolved == recipe.parent.resolve() / recipe.name
        for name, recipe in shipped_recipes().items()
        if name in known
    )


def result_name(recipe: Recipe, origin: Path | None, data: str | Path | None) -> str:
    """Return what to call the sets that a recipe gives, where nobody says so.

    That is the recipe's own name; but a shipped recipe on somebody's own recordings gives sets that are called after
    the folder too: ``ssc-100ch-4ms-birdsong``.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    origin : Path, optional
        Its file.
    data : str or Path, optional
        Folder with recordings that takes precedence over the recipe's.
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
    if not plain:  # letters that no name may have
        plain = hashlib.sha256(str(folder.name).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{recipe.name}-{plain}"[:63].rstrip("-")


def choose_recipe(
    recipe: str | None, data: str | None, *, ask: Callable[[list[str]], str] | None = None
) -> Path:
    """Return the recipe that somebody means.

    Parameters
    ----------
    recipe : str, optional
        A file, or the name of a shipped recipe.
    data : str, optional
        Folder with recordings; without `recipe` the dataset is found by its files.
    ask : callable, optional
        Asks a person for one of several datasets; without it that is an error.

    Raises
    ------
    UsageError
        Neither was given, or the folder's dataset is not clear.
    SourceNotFoundError
        The folder has no known dataset.
    """
    shipped = shipped_recipes()
    if recipe is not None:
        # A file goes before a shipped recipe; a name without a suffix and without a file can only be the latter.
        return shipped[recipe] if recipe in shipped and not Path(recipe).is_file() else Path(recipe)
    if data is None:
        raise UsageError(
            f"say which recipe (shipped are {', '.join(shipped)}), or --data FOLDER with files of {_or(DATASETS)}"
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
            raise UsageError(f"{answer!r} is none of {', '.join(candidates)}") from None
        dataset = by_lower[answer.lower()]
    return shipped[dataset.lower()]


def _or(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"
