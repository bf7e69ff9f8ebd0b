"""Resolve a recipe: which feature sets it requests, which of them exist, and which are missing.

All commands that take a recipe use this module: ``preprocess`` (also in array jobs), ``plan`` and ``repair``.

1. `OpenedRecipe` is a recipe with its file, its lock and the folder with its recordings.
2. `OpenedRecipe.requested_sets` identifies the sets by their recordings, or by the lock if the recordings are missing.
3. `resolve` looks up each set in the store, then in the upstreams.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.recipes.recipe_lock import LockFile, RecipeLock
from spikestore.pipeline.recipes.requested_sets import RequestedSet, data_folder, sets_of_recipe
from spikestore.pipeline.recipes.shipped import result_name
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store.refs import refuse_wrong_names
from spikestore.store.store import Store
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import ConflictError, SourceNotFoundError, UsageError
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockedSet:
    """A requested feature set whose recordings are missing, so that only the lock can identify it.

    Attributes
    ----------
    split : str
        Name of the split.
    recipe : Recipe
        The recipe.
    pin : Pin or None
        The pin of the split; None if the lock has no pin for the split, so that nothing identifies the set.
    no_recordings : SourceNotFoundError
        The error that says why the set cannot be computed.
    """

    split: str
    recipe: Recipe
    pin: Pin | None
    no_recordings: SourceNotFoundError

    @property
    def label(self) -> str:
        """Name of the set in messages: data set and split."""
        return f"{self.recipe.source.dataset} {self.split}"

    @property
    def transform(self) -> Transform:
        """The transform of the recipe."""
        return self.recipe.transform_spec()

    @property
    def digest(self) -> str | None:
        """Digest that the lock pins; None if there is no pin."""
        return None if self.pin is None else self.pin.digest

    @property
    def address(self) -> Address | None:
        """Address of the set, the same in every store; None if the lock does not pin this set, or pins it with another transform than the recipe's."""
        pin = self.pin
        if pin is None or pin.transform_key != self.transform.key:
            return None
        return Address(pin.transform_key, pin.source_key)

    def refuse_other_set(self, features: FeatureSet) -> None:
        """Raise an error if `features` contradicts the lock or the recipe.

        Raises
        ------
        ConflictError
            The lock pins another digest than that of `features`.
        UsageError
            A field of the source differs from the recipe.
        """
        if self.digest is not None and features.digest != self.digest:
            raise ConflictError(
                f"the lock has {self.label} with digest {self.digest[:12]}, but {features.storage.url} has "
                f"{features.digest[:12]} for the same transform and recordings, so the lock or this set is wrong: verify the store, or delete the lock"
            )
        self.refuse_other_source(features.manifest.source)

    def refuse_other_source(self, source: Source) -> None:
        """Raise `UsageError` if `source`, the source of this set or of a finer set of the same recordings, contradicts the recipe."""
        for field in ("dataset", "sort", "on_error", "limit", "columns"):
            locked, requested = getattr(source, field), getattr(self.recipe.source, field)
            if field == "columns":
                requested = tuple(sorted(set(requested)))
                # A column of texts or real numbers of a folder has other names in the source, those of its parts.
                locked = locked if source.folder is None else tuple(source.folder.values)
            if locked != requested:
                advice = f"set {field} = {json.dumps(locked)}" if locked else f"remove {field}"
                raise UsageError(
                    f"the lock has {self.label} with {_stated(field, locked)}, but the recipe has {_stated(field, requested)}; "
                    "to compute the set of the recipe, the recordings are needed: pass --data FOLDER, "
                    f"or {advice} under [source]"
                )
        # Not above: the module needs NumPy, and a run with nothing to do needs no arrays.
        from spikestore.pipeline.recipes.locked_folder import difference_of_folder

        difference = difference_of_folder(source, self.recipe.source.folder_settings)
        if difference is not None:
            raise UsageError(
                f"the lock has {self.label} with {difference}; "
                "to compute the set of the recipe, the recordings are needed: pass --data FOLDER, or correct the recipe"
            )

    def unavailable(self, store: Store, upstreams: Upstreams) -> SourceNotFoundError:
        """Return the error for a set that neither the store nor an upstream has."""
        if self.pin is None:
            reason = f"the lock does not contain {self.split}"
        elif self.address is None:
            reason = f"the lock has {self.split} with another transform than the recipe"
        else:
            searched = f", nor in {upstreams}" if upstreams else ", and the recipe names no upstreams"
            reason = f"the set that the lock has for {self.split} is not in {store.storage.url}{searched}"
        return SourceNotFoundError(f"{self.no_recordings}; {reason}", **self.no_recordings.details)


def _stated(field: str, value: object) -> str:
    """Return a field as it is written in a recipe, for messages."""
    return f"{field} = {json.dumps(value)}" if value else f"no {field}"


@dataclass(frozen=True, slots=True)
class OpenedRecipe:
    """A recipe with its file, its lock and its recordings.

    Attributes
    ----------
    recipe : Recipe
        The recipe.
    path : Path or None
        The file; None for a recipe created in Python.
    data : str, Path or None
        Folder with the recordings; it takes precedence over the folder in the recipe.
    lock_file : LockFile
        The lock file, which may not exist yet.
    lock : RecipeLock or None
        The lock, if it exists.
    """

    recipe: Recipe
    path: Path | None
    data: str | Path | None
    lock_file: LockFile
    lock: RecipeLock | None

    @classmethod
    def open(
        cls, recipe: Recipe | Path | str, *, data: str | Path | None = None, lock: str | Path | None = None
    ) -> OpenedRecipe:
        """Read a recipe and its lock.

        Parameters
        ----------
        recipe : Recipe, Path or str
            The recipe, or its file.
        data : str or Path, optional
            Folder with the recordings; it takes precedence over the folder in the recipe.
        lock : str or Path, optional
            The file of the lock; by default next to the recipe.

        Raises
        ------
        SourceNotFoundError
            The recipe does not exist.
        SpecError
            The recipe or its lock is invalid.
        NewerFormatError
            A newer version of spikestore wrote the lock.
        UsageError
            `lock` is a folder, or its parent folder does not exist.
        """
        path = None if isinstance(recipe, Recipe) else Path(recipe)
        loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        lock_file = LockFile.of(path, lock)
        return cls(loaded, path, data, lock_file, lock_file.read())

    def variants(self) -> tuple[OpenedRecipe, ...]:
        """Return a recipe for each ``[[sweep]]``, each with its own lock; if there is no ``[[sweep]]``, return only this recipe.

        Raises
        ------
        SpecError
            A value of a variant is invalid, or a lock file is invalid.
        NewerFormatError
            A newer version of spikestore wrote a lock.
        """
        if not self.recipe.sweep:
            return (self,)
        origin = "Recipe" if self.path is None else str(self.path)
        opened = []
        for sweep, recipe in zip(self.recipe.sweep, self.recipe.variants(origin=origin), strict=True):
            lock_file = self.lock_file.of_variant(sweep.suffix)
            opened.append(replace(self, recipe=recipe, lock_file=lock_file, lock=lock_file.read()))
        return tuple(opened)

    def named(self, name: str | None) -> list[tuple[str, OpenedRecipe]]:
        """Return the recipe's variants, each with the name of its sets in the store. Without ``[[sweep]]``, there is one variant.

        Parameters
        ----------
        name : str, optional
            Name of the sets; by default `result_name`. With ``[[sweep]]``, the suffix of each variant is added to this name.

        Raises
        ------
        UsageError
            A name is invalid.
        SpecError
            A value of a variant is invalid, or a lock file is invalid.
        NewerFormatError
            A newer version of spikestore wrote a lock file.
        """
        variants = self.variants()
        names = [variant.result_name for variant in variants]
        if name is not None:
            names = [f"{name}-{sweep.suffix}" for sweep in self.recipe.sweep] or [name]
        refuse_wrong_names(*names)
        return [*zip(names, variants, strict=True)]

    @property
    def result_name(self) -> str:
        """Default name of the result; see `spikestore.pipeline.recipes.shipped.result_name`."""
        return result_name(self.recipe, self.path, self.data)

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Locations of the recipe's upstreams (other stores from which sets are copied)."""
        return locate_upstreams(self.recipe.upstreams, self.path)

    @property
    def data_folder(self) -> Path | None:
        """Folder with the recordings; None if no folder is given, or if the folder does not exist."""
        folder = data_folder(self.recipe, origin=self.path, data=self.data)
        return folder if folder is not None and folder.is_dir() else None

    def pinned_digest(self, address: Address) -> str | None:
        """Return the digest that the lock pins for a set; None if the lock does not list the set."""
        for variant in self.variants():
            for pin in variant.lock.splits.values() if variant.lock is not None else ():
                if (pin.transform_key, pin.source_key) == address:
                    return pin.digest
        return None

    def requested_sets(self) -> Sequence[RequestedSet] | Sequence[LockedSet]:
        """Return the sets that the recipe requests; if the recordings are missing, return the sets of the lock.

        Raises
        ------
        SpecError
            The data set, a split or a column does not exist.
        SourceNotFoundError
            The recordings are missing, and either the recipe has no lock or `self.data` is not None.
        """
        try:
            requested = sets_of_recipe(self.recipe, origin=self.path, data=self.data)
        except SourceNotFoundError as error:
            if self.lock is None or self.data is not None:
                raise
            pins = self.lock.splits
            splits = self.recipe.source.splits or tuple(pins)
            return [LockedSet(split, self.recipe, pins.get(split), error) for split in splits]
        return [replace(wanted, digest=self.pinned_digest(wanted.address)) for wanted in requested]


@dataclass(frozen=True, slots=True)
class Resolution:
    """Requested sets by state: existing, missing or unavailable.

    Attributes
    ----------
    existing : dict of str to FeatureSet
        Sets that need no computation, by split: they are in the store or, with ``copy=False``, in an upstream.
    missing : list of RequestedSet
        Sets to compute.
    unavailable : dict of str to SourceNotFoundError
        Why a set can be neither found nor computed, by split.
    """

    existing: dict[str, FeatureSet]
    missing: list[RequestedSet]
    unavailable: dict[str, SourceNotFoundError]


def resolve(
    requested: Iterable[RequestedSet | LockedSet],
    store: Store,
    upstreams: Upstreams,
    *,
    copy: bool = True,
    progress: Progress | None = None,
) -> Resolution:
    """Look up sets in the store, then in the upstreams. Return which sets exist, are missing, or are unavailable.

    Parameters
    ----------
    requested : iterable of RequestedSet or LockedSet
        The sets.
    store : Store
        The store to search first and to copy into.
    upstreams : Upstreams
        Stores to search for sets that the store lacks.
    copy : bool
        Whether sets of an upstream are copied into the store, or only looked up, as for ``plan``.
    progress : callable, optional
        Called during copies as ``progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    ConflictError
        A set in the store has another digest than the lock states. spikestore cannot decide which digest is right, because the
        recordings are missing.
    UsageError
        A field of the locked source differs from the recipe.
    StoreError
        The store cannot be written to, or is full.
    """
    resolution = Resolution({}, [], {})
    for wanted in requested:
        features = _find(wanted, store, upstreams, copy=copy, progress=progress)
        if features is not None:
            if isinstance(wanted, LockedSet):
                wanted.refuse_other_set(features)
            resolution.existing[wanted.split] = features
        elif isinstance(wanted, RequestedSet):
            resolution.missing.append(wanted)
        else:
            resolution.unavailable[wanted.split] = wanted.unavailable(store, upstreams)
    return resolution


def _find(
    wanted: RequestedSet | LockedSet,
    store: Store,
    upstreams: Upstreams,
    *,
    copy: bool,
    progress: Progress | None,
) -> FeatureSet | None:
    if wanted.address is None:
        return None
    features = store.find(wanted.address)
    if features is None:
        label, digest = wanted.label, wanted.digest
        if copy:
            return upstreams.fetch(store, wanted.address, label=label, digest=digest, progress=progress)
        return upstreams.look(store, wanted.address, label=label, digest=digest)
    if isinstance(wanted, LockedSet):  # before a line that says so
        wanted.refuse_other_set(features)
    if copy:
        logger.info(
            "%s is in the store already (%s, digest %s): nothing to compute%s",
            wanted.label,
            plural(len(features), "sample"),
            features.digest[:12],
            "; the set matches the lock, so no recordings are needed"
            if isinstance(wanted, LockedSet)
            else "",
        )
    return features
