"""The recipe: a TOML file with the source, the transform and the name of the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from spikestore.pipeline.readers.folder.settings import FOLDER, FolderSettings
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.model import AsTuple, Count, Location, Name, Size, Spec
from spikestore.store_schemas.specs.source import OnError
from spikestore.store_schemas.specs.toml_file import model_in_toml
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Chain, ExecutorName, Transform


def _once_each(splits: tuple[str, ...]) -> tuple[str, ...]:
    if not splits:
        raise ValueError("must name at least one split; for all splits, omit this field")
    twice = sorted({split for split in splits if splits.count(split) > 1})
    if twice:
        raise ValueError(f"must name each split once, got {', '.join(twice)} more than once")
    return splits


class RecipeSource(Spec):
    """The table ``[source]``: which recordings to read."""

    dataset: str
    """Name of the data set, as in ``tonic.datasets``, such as SSC; `folder` for your own recordings."""
    data: str | None = None
    """Folder with the recordings, relative to the recipe's own folder; ``--data`` takes precedence."""
    splits: Annotated[tuple[Name, ...], AsTuple, AfterValidator(_once_each)] | None = None
    """Splits to build; by default all splits of the data set."""
    sort: bool = False
    """Sort the events of each recording by time before the transform."""
    on_error: OnError = "raise"
    """``"skip"`` lists recordings that cannot be transformed; ``"raise"`` ends the build."""
    limit: Size | None = None
    """Read only this many recordings of each split."""
    columns: Annotated[tuple[Name, ...], AsTuple] = ()
    """Optional columns to store."""
    folder: FolderSettings | None = None
    """Files, labels and splits of the data set ``folder``."""

    @property
    def folder_settings(self) -> FolderSettings:
        """The table ``[source.folder]``, or its defaults."""
        return self.folder or FolderSettings()

    @model_validator(mode="after")
    def _folder_of_folder(self) -> Self:
        if self.folder is not None and self.dataset != FOLDER:
            raise ValueError(f'[source.folder] needs dataset = "{FOLDER}", got "{self.dataset}"')
        return self


class RecipeBuild(Spec):
    """The table ``[build]``: options of the build, which do not change the resulting feature sets."""

    workers: Count | None = None
    """Number of worker processes; if it is 0, this process does the work. By default, one per core; for a small set, threads of this process are used instead."""
    fragment_samples: Annotated[Size, Field(multiple_of=BLOCK)] | None = None
    """Samples per fragment, a multiple of 64; one task writes one fragment."""
    allow_empty: bool = False
    """If true, a set in which no time bin has an event is accepted; if false, such a set is an error."""
    executor: ExecutorName = "auto"
    """Code that computes the transform; the manifest records it as provenance."""


class Sweep(Spec):
    """A table ``[[sweep]]``: a variant of the recipe, with other values of some parameters.

    Each field except `suffix` has the name of an operation and contains new values: ``to_frame.time_window = 4000``.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    suffix: Name
    """The name of the result is the name of the recipe, followed by ``-`` and this suffix."""

    @property
    def values(self) -> dict[str, dict[str, Any]]:
        """Values that this variant gives to parameters of the transform: by operation, then by parameter."""
        return self.__pydantic_extra__


class Recipe(Spec):
    """A recipe: the contents of the TOML file."""

    name: Name
    """Name of the feature sets. The store keeps one feature set per split under this name."""
    citation: str | None = None
    """Publication whose preprocessing this is; never part of a key."""
    licence: str | None = None
    """Licence of the recordings; never part of a key."""
    max_bins: Size = DEFAULT_MAX_BINS
    """Maximum number of time bins of a recording. A recording with more time bins is an error."""
    upstreams: Annotated[tuple[Location, ...], AsTuple] = ()
    """Stores to search, in order, before a set is computed; a relative folder is relative to the recipe's folder."""
    source: RecipeSource
    transform: Chain
    """Operations: ``[[transform]]`` tables, in the order in which they are applied."""
    sweep: Annotated[tuple[Sweep, ...], AsTuple] = ()
    """Variants, which are built instead of the recipe itself; each recording is read once for all of them."""
    build: RecipeBuild = RecipeBuild()

    @model_validator(mode="after")
    def _sweeps_once_each(self) -> Self:
        suffixes = [sweep.suffix for sweep in self.sweep]
        if len(set(suffixes)) < len(suffixes):
            raise ValueError("each [[sweep]] must have a suffix of its own")
        operations: list[str] = [operation.op for operation in self.transform]
        for sweep in self.sweep:
            for op in sweep.values:
                if operations.count(op) != 1:
                    many = "several" if op in operations else "no"
                    raise ValueError(
                        f"[[sweep]] {sweep.suffix} has values for {op}, but the recipe has {many} [[transform]] with this op: give values "
                        f"only for an op that exactly one [[transform]] has; the ops of the recipe are {', '.join(operations)}"
                    )
        return self

    def variants(self, *, origin: str) -> tuple[Recipe, ...]:
        """Return a recipe without ``[[sweep]]`` for each variant; if the recipe has no ``[[sweep]]``, return only the recipe itself.

        Raises
        ------
        SpecError
            The values of a variant are invalid; the message begins with `origin`.
        """
        if not self.sweep:
            return (self,)
        return tuple(self._variant(sweep, origin) for sweep in self.sweep)

    def _variant(self, sweep: Sweep, origin: str) -> Recipe:
        mapping = {**self.to_mapping(), "name": f"{self.name}-{sweep.suffix}", "sweep": []}
        mapping["transform"] = [
            operation | sweep.values.get(operation["op"], {}) for operation in mapping["transform"]
        ]
        return Recipe.from_mapping(mapping, origin=f"{origin}, [[sweep]] {sweep.suffix}")

    @property
    def notes(self) -> dict[str, str]:
        """`citation` and `licence`, if they are stated; the manifest records them as provenance."""
        stated = {"citation": self.citation, "licence": self.licence}
        return {name: text for name, text in stated.items() if text is not None}

    def transform_spec(self) -> Transform:
        """Return the transform that the recipe describes."""
        return Transform(operations=self.transform, max_bins=self.max_bins)


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises
    ------
    SourceNotFoundError
        The file does not exist or cannot be read.
    SpecError
        The file is not TOML or not a recipe; the message lists every problem with the path of its field.
    """
    return model_in_toml(Recipe, path, "recipe")
