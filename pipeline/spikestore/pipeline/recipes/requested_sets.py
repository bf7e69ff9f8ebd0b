"""The feature sets that a user requests with a recipe or a data set. The recordings determine the keys of the sets."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spikestore.pipeline.readers.folder.settings import FOLDER
from spikestore.pipeline.readers.registry import dataset_named, splits_of
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
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

if TYPE_CHECKING:
    from spikestore.pipeline.sources.item_lists import Leaf


logger = logging.getLogger(__name__)


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
    notes : tuple of (str, str)
        Names and texts that the manifest of a new set records as provenance, such as ``citation``.
    """

    split: str
    located: LocatedSource
    transform: Transform
    digest: str | None = None
    notes: tuple[tuple[str, str], ...] = ()

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
        The file of the recipe. The path ``data`` in the recipe is relative to the folder of this file; if there is no file, the
        path is relative to the working directory.
    data : str or Path, optional
        Folder with the recordings; it takes precedence over the folder in the recipe.

    Raises
    ------
    SpecError
        The data set, a split or a column does not exist; the message lists the valid names.
    SourceNotFoundError
        The folder has no recordings, or neither the recipe nor the caller names a folder.
    LayoutError, SourceChangedError, SourceError, UsageError
        See `make_source` and `make_folder_sources`.
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
    notes = tuple(recipe.notes.items())
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
        requested.append(RequestedSet(split, located, recipe.transform_spec(), notes=notes))
    return requested


def _folder_of(recipe: Recipe, where: str, origin: Path | None, data: str | Path | None) -> Path:
    folder = data_folder(recipe, origin=origin, data=data)
    if folder is None:
        raise SourceNotFoundError(
            f"{where} has no data folder: pass --data FOLDER, or set data under [source]"
        )
    return folder


def _sets_of_folder(recipe: Recipe, where: str, folder: Path) -> list[RequestedSet]:
    # Imported here, because other kinds of sources do not need it.
    from spikestore.pipeline.sources.folder_sources import make_folder_sources

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
    transform, notes = recipe.transform_spec(), tuple(recipe.notes.items())
    return [RequestedSet(split, one, transform, notes=notes) for split, one in located.items()]


def set_of_dataset(
    dataset: object,
    transform: object,
    *,
    version: str | None = None,
    hash_events: bool = False,
    split: str | None = None,
) -> RequestedSet:
    """Identify the recordings and the transform of a data set in Python, and return them as the request for a feature set.

    `dataset` may also be a `LocatedSource`; `spikestore.pipeline.preprocess` documents the other parameters.

    Raises
    ------
    UnsupportedTransformError
        A part of the transform has no spec; the message names it.
    UsageError
        No transform is given, or `dataset` has a transform although `transform` is given; or the recordings cannot be identified.
    """
    from spikestore.pipeline.sources.item_lists import is_composed, leaf_of_object, list_items
    from spikestore.pipeline.sources.item_sources import refuse_unidentified, source_of_dataset
    from spikestore.pipeline.transforms.from_tonic import rows_of_items

    if isinstance(dataset, LocatedSource):
        if version is not None or hash_events or split is not None:
            raise UsageError(
                "a LocatedSource already identifies its recordings and its split: omit version=, hash_events= and split="
            )
        if transform is None:
            raise UsageError("a LocatedSource has no transform: pass transform=")
        return RequestedSet(dataset.source.split, dataset, _spec(transform))
    leaves = list_items(dataset).leaves if is_composed(dataset) else [leaf_of_object(dataset)]
    refuse_unidentified(leaves, version=version, hash_events=hash_events)
    known = leaves[0].known
    chosen = _transform_of(leaves, transform)
    if not is_composed(dataset) and known is not None and split in (None, known.split):
        located = make_source(known.dataset, known.split, known.folder)
        rows = rows_of_items(dataset, known)
        if (rows[1:] < rows[:-1]).any():
            logger.info(
                "row i of the set is not item i of %s: rows are in the order of the file names, but Tonic uses the order of the file system. "
                "spikestore.pipeline.rows_of_items(dataset) returns the row of each item",
                leaves[0].name,
            )
    else:
        located = source_of_dataset(dataset, version=version, hash_events=hash_events, split=split)
    return RequestedSet(located.source.split, located, chosen)


def _transform_of(leaves: list[Leaf], transform: object) -> Transform:
    """Return `transform` or the transform of the Tonic data sets. Raise `UsageError` if both are given, if neither is, or if the data sets have different transforms."""
    own = [(leaf.name, leaf.known.transform) for leaf in leaves if leaf.known is not None]
    if transform is not None:
        for name, other in own:
            if other is not None:
                raise UsageError(
                    f"{name} has a transform already: omit transform=, or create the data set without a transform"
                )
        return _spec(transform)
    if all(other is None for _, other in own):
        what = own[0][0] if len(leaves) == 1 and own else ""
        raise UsageError(
            f"no transform: pass transform= to {what}() or to preprocess()"
            if what
            else "no transform: pass transform="
        )
    specs = [None if other is None else _spec(other) for _, other in own]
    if len(own) < len(leaves) or any(spec != specs[0] for spec in specs):
        raise UsageError(
            "the data sets have different transforms: create the data sets without a transform, and pass one transform as transform="
        )
    return _spec(own[0][1])


def _spec(transform: object) -> Transform:
    from spikestore.pipeline.transforms.from_tonic import transform_from_tonic

    return transform if isinstance(transform, Transform) else transform_from_tonic(transform)


def data_folder(recipe: Recipe, *, origin: Path | None, data: str | Path | None = None) -> Path | None:
    """Return the folder with a recipe's recordings: `data`, or else the folder that the recipe names, or else None.

    The folder need not exist. A relative folder in the recipe is relative to the folder of `origin`, the recipe's file.
    """
    if data is not None:
        return Path(data)
    return None if recipe.source.data is None else beside(recipe.source.data, origin)


def _wrong(where: str, field: str, error: UnknownNameError) -> SpecError:
    problem = Problem(field, error.message)
    return SpecError(f"{where}: 1 problem\n  {field}: {error.message}", origin=where, problems=[problem])
