"""The recipe: a TOML file that says what to read, what to do to it, and what to call the result."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from spikestore.store_schemas.errors import SourceNotFoundError, SpecError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.model import AsTuple, Count, Location, Name, Size, Spec
from spikestore.store_schemas.specs.source import OnError
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Chain, ExecutorName, Transform
from spikestore.store_schemas.wording import did_you_mean


def _once_each(splits: tuple[str, ...]) -> tuple[str, ...]:
    if not splits:
        raise ValueError("should name at least one split; leave it out for all")
    twice = sorted({split for split in splits if splits.count(split) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} more than once")
    return splits


class RecipeSource(Spec):
    """The table ``[source]``: which recordings to read."""

    dataset: str
    """Name of the dataset, as in ``tonic.datasets``: SSC, SHD."""
    data: str | None = None
    """Folder with the recordings, relative to the recipe's own folder; ``--data`` takes precedence."""
    splits: Annotated[tuple[Name, ...], AsTuple, AfterValidator(_once_each)] | None = None
    """Splits to build; all that the dataset has by default."""
    sort: bool = False
    """Sort each recording's events by time first."""
    on_error: OnError = "raise"
    """``"skip"`` lists recordings that can't be transformed instead of ending the build."""
    limit: Size | None = None
    """Read only this many recordings of each split."""
    columns: Annotated[tuple[Name, ...], AsTuple] = ()
    """Columns to store besides those that the dataset always has."""


class RecipeBuild(Spec):
    """The table ``[build]``: how to build; nothing here changes the result."""

    workers: Count | None = None
    """Processes; one per core by default, 0 works in the one that was started."""
    fragment_samples: Annotated[Size, Field(multiple_of=BLOCK)] | None = None
    """Samples that one task writes."""
    allow_empty: bool = False
    """Accept a set without any event in a time bin, which is an error otherwise."""
    executor: ExecutorName = "auto"
    """Who runs the transform; which one it was is provenance."""


class Recipe(Spec):
    """What to build, from TOML."""

    name: Name
    """Name of the result: a ref with one feature set per split."""
    max_bins: Size = DEFAULT_MAX_BINS
    """A recording with more time bins is an error."""
    upstreams: Annotated[tuple[Location, ...], AsTuple] = ()
    """Stores that are asked, in order, before anything is computed; a folder is relative to the recipe's own."""
    source: RecipeSource
    transform: Chain
    """Operations, ``[[transform]]`` tables in order."""
    build: RecipeBuild = RecipeBuild()

    def transform_spec(self) -> Transform:
        """Return the transform that the recipe describes."""
        return Transform(operations=self.transform, max_bins=self.max_bins)


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    SpecError
        It is no TOML, or does not describe a recipe; every problem is listed with its path.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except IsADirectoryError:
        raise SourceNotFoundError(
            f"the recipe {path} is a folder: name a TOML file", path=str(path)
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFoundError(f"there is no recipe {path}{_near(path)}", path=str(path)) from None
    except OSError as error:
        raise SourceNotFoundError(
            f"the recipe {path} can't be read: {error.strerror}", path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is no UTF-8 text: {error}", path=str(path)) from None
    try:
        mapping = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is no TOML: {error}", path=str(path)) from None
    return Recipe.from_mapping(mapping, origin=str(path))


def _near(path: Path) -> str:
    recipes = [str(recipe) for recipe in sorted(path.parent.glob("*.toml"))] if path.parent.is_dir() else []
    return did_you_mean(str(path), recipes, cutoff=0.0)
