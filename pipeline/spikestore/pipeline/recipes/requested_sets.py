"""Feature sets that a recipe or a data set requests, identified by their recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.readers.folder.settings import FOLDER
from spikestore.pipeline.readers.registry import dataset_named, splits_of
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.sources.folder_sources import make_folder_sources
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic, transform_from_tonic
from spikestore.store.upstreams import beside
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import (
    Problem,
    SourceNotFoundError,
    SpecError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.transform import Transform


@dataclass(frozen=True, slots=True)
class RequestedSet:
    """A feature set that a recipe or a data set requests, and whose recordings exist.

    Attributes
    ----------
    split : str
        Name of the split.
    located : LocatedSource
        The recordings.
    transform : Transform
        The transform of the recordings.
    digest : str, optional
        Digest that a lock pins for this set.
    """

    split: str
    located: LocatedSource
    transform: Transform
    digest: str | None = None

    @property
    def address(self) -> Address:
        """Address of the set in any store."""
        return Address(self.transform.key, self.located.source.key)

    @property
    def label(self) -> str:
        """Name of the set in messages: data set and split."""
        return f"{self.located.source.dataset} {self.split}"


def sets_of_recipe(
    recipe: Recipe, *, origin: Path | None, data: str | Path | None = None
) -> list[RequestedSet]:
    """Return the feature sets that a recipe describes, one per split.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    origin : Path, optional
        The file of the recipe; ``data`` in it is relative to the folder of this file, else to the working directory.
    data : str or Path, optional
        Folder with the recordings; takes precedence over the recipe's.

    Raises
    ------
    SpecError
        The data set or a split does not exist; the message names the nearest valid name.
    SourceNotFoundError
        The folder has no recordings, or neither the recipe nor the caller names a folder.
    """
    where = str(origin) if origin is not None else "the recipe"
    source = recipe.source
    if source.dataset == FOLDER:
        return _sets_of_folder(recipe, where, _folder_of(recipe, where, origin, data))
    try:
        known = splits_of(source.dataset)
    except UnknownNameError as error:
        raise _wrong(where, "source.dataset", error) from None
    folder = _folder_of(recipe, where, origin, data)
    requested = []
    for column in source.columns:
        try:
            dataset_named(source.dataset).refuse_unknown_column(column)
        except UnknownNameError as error:
            raise _wrong(where, "source.columns", error) from None
    for split in source.splits or known:
        if split not in known:
            message = f"unknown split {split!r} of {source.dataset}; its splits are {', '.join(known)}"
            raise _wrong(where, "source.splits", UnknownNameError(message))
        located = make_source(
            source.dataset,
            split,
            folder,
            sort=source.sort,
            on_error=source.on_error,
            limit=source.limit,
            columns=source.columns,
        )
        requested.append(RequestedSet(split, located, recipe.transform_spec()))
    return requested


def _folder_of(recipe: Recipe, where: str, origin: Path | None, data: str | Path | None) -> Path:
    folder = data_folder(recipe, origin=origin, data=data)
    if folder is None:
        raise SourceNotFoundError(
            f"{where} has no data folder: pass --data FOLDER, or set data under [source]"
        )
    return folder


def _sets_of_folder(recipe: Recipe, where: str, folder: Path) -> list[RequestedSet]:
    source = recipe.source
    try:
        located = make_folder_sources(
            source.folder_settings,
            folder,
            splits=source.splits,
            sort=source.sort,
            on_error=source.on_error,
            limit=source.limit,
            columns=source.columns,
        )
    except UnknownNameError as error:
        raise _wrong(where, "source", error) from None
    return [RequestedSet(split, one, recipe.transform_spec()) for split, one in located.items()]


def set_of_dataset(dataset: object, transform: object) -> RequestedSet:
    """Return the feature set that a Tonic data set or a located source describes.

    Raises
    ------
    UnsupportedTransformError
        A part of the transform has no spec; the message names it.
    UsageError
        No transform is given, or two are.
    """
    if isinstance(dataset, LocatedSource):
        if transform is None:
            raise UsageError("a LocatedSource has no transform: pass transform=")
        return RequestedSet(dataset.source.split, dataset, _spec(transform))
    known = dataset_from_tonic(dataset)
    if transform is not None and known.transform is not None:
        raise UsageError(
            f"{known.dataset} has a transform already: omit transform=, or create the data set without a transform"
        )
    chosen = transform if transform is not None else known.transform
    if chosen is None:
        raise UsageError(f"no transform: pass {known.dataset}(transform=…) or preprocess(transform=…)")
    return RequestedSet(known.split, make_source(known.dataset, known.split, known.folder), _spec(chosen))


def _spec(transform: object) -> Transform:
    return transform if isinstance(transform, Transform) else transform_from_tonic(transform)


def data_folder(recipe: Recipe, *, origin: Path | None, data: str | Path | None = None) -> Path | None:
    """Return the folder with a recipe's recordings: `data`, or else the recipe's, or else None. It need not exist."""
    if data is not None:
        return Path(data)
    return None if recipe.source.data is None else beside(recipe.source.data, origin)


def _wrong(where: str, field: str, error: UnknownNameError) -> SpecError:
    problem = Problem(field, error.message)
    return SpecError(f"{where}: 1 problem\n  {field}: {error.message}", origin=where, problems=[problem])
