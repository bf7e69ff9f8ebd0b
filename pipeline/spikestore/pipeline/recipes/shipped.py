"""The recipes that come with spikestore, and which one is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from spikestore.pipeline.readers.datasets import DATASETS, find_dataset
from spikestore.store_schemas.errors import UsageError

_HERE = Path(__file__).parent

INSTALLED = _HERE
"""Where the recipes are in an installed package; an editable install has them at the top of its checkout."""


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name: those in the package, or in the checkout of an editable install."""
    for folder in (INSTALLED, _HERE.parents[3] / "recipes"):
        if found := {path.stem: path for path in sorted(folder.glob("*.toml"))}:
            return found
    return {}


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
        by_lower = {one.lower(): one for one in candidates}
        if answer.lower() not in by_lower:
            raise UsageError(f"{answer!r} is none of {', '.join(candidates)}") from None
        dataset = by_lower[answer.lower()]
    return shipped[dataset.lower()]


def _or(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"
