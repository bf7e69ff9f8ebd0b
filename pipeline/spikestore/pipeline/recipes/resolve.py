"""From a recipe to its feature sets: which ones it asks for, which of them exist already, and what is missing.

Used by everything that takes a recipe: preprocess, jobs of an array, plan and repair.

1. `OpenedRecipe` is a recipe with what belongs to it: its file, its lock, the folder with the recordings.
2. `OpenedRecipe.requested_sets` identifies the sets: by their recordings, or by the lock where there are none.
3. `resolve` looks for each of them in the store, then in the upstreams.
"""

from __future__ import annotations

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
from spikestore.store.store import Store
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import ConflictError, SourceNotFoundError, UsageError
from spikestore.store_schemas.specs.transform import Transform

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockedSet:
    """A feature set that a recipe asks for without recordings: only the lock can identify it.

    Attributes
    ----------
    split : str
        Name of the split.
    recipe : Recipe
        The recipe.
    pin : Pin or None
        What the lock pins for the split.
    no_recordings : SourceNotFoundError
        Why nothing can be computed.
    """

    split: str
    recipe: Recipe
    pin: Pin | None
    no_recordings: SourceNotFoundError

    @property
    def label(self) -> str:
        """What to call it in messages."""
        return f"{self.recipe.source.dataset} {self.split}"

    @property
    def transform(self) -> Transform:
        """What the recipe does to the recordings."""
        return self.recipe.transform_spec()

    @property
    def digest(self) -> str | None:
        """Digest that the lock pins."""
        return None if self.pin is None else self.pin.digest

    @property
    def address(self) -> Address | None:
        """Where the set lies in any store; None if the lock pins none under the recipe's transform."""
        pin = self.pin
        if pin is None or pin.transform_key != self.transform.key:
            return None
        return Address(pin.transform_key, pin.source_key)

    def refuse_other_set(self, features: FeatureSet) -> None:
        """Raise if a set that was found is not what the lock and the recipe say.

        Raises
        ------
        ConflictError
            It has another digest than the lock pins.
        UsageError
            Its recordings were read in another way than the recipe says.
        """
        if self.digest is not None and features.digest != self.digest:
            raise ConflictError(
                f"the lock pins {self.label} with digest {self.digest[:12]}, {features.storage.url} has "
                f"{features.digest[:12]} under the same keys: one of the two is wrong; verify the store, or delete the lock"
            )
        source = features.manifest.source
        for field in ("dataset", "sort", "on_error", "limit", "columns"):
            locked, asked = getattr(source, field), getattr(self.recipe.source, field)
            if field == "columns":
                asked = tuple(sorted(set(asked)))
            if locked != asked:
                raise UsageError(
                    f"the lock pins {self.label} with {field} = {locked!r}, the recipe says {asked!r}: without the "
                    "recordings only what is pinned can be had"
                )

    def unavailable(self, store: Store, upstreams: Upstreams) -> SourceNotFoundError:
        """Return the error that the set is neither in the store nor in an upstream."""
        if self.pin is None:
            why = f"the lock does not pin {self.split}"
        elif self.address is None:
            why = f"the lock pins {self.split} under another transform than the recipe has now"
        else:
            asked = f", nor in {upstreams}" if upstreams else ", and the recipe names no upstreams"
            why = f"{self.split}, as the lock pins it, is not in {store.storage.url}{asked}"
        return SourceNotFoundError(f"{self.no_recordings}; and {why}", **self.no_recordings.details)


@dataclass(frozen=True, slots=True)
class OpenedRecipe:
    """A recipe with what belongs to it.

    Attributes
    ----------
    recipe : Recipe
        What to build.
    path : Path or None
        Its file; None for one that was made in Python.
    data : str, Path or None
        Folder with recordings that takes precedence over the recipe's.
    lock_file : LockFile
        Where its lock is read and written.
    lock : RecipeLock or None
        The lock, if there is one.
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
            Folder with the recordings, instead of the recipe's.
        lock : str or Path, optional
            The lock's file; beside the recipe by default.

        Raises
        ------
        SourceNotFoundError
            There is no such recipe.
        SpecError
            The recipe or its lock is wrong.
        UsageError
            `lock` can't be written.
        """
        path = None if isinstance(recipe, Recipe) else Path(recipe)
        loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        lock_file = LockFile.of(path, lock)
        return cls(loaded, path, data, lock_file, lock_file.read())

    @property
    def result_name(self) -> str:
        """What to call the result, where nobody says so; see `spikestore.pipeline.recipes.shipped.result_name`."""
        return result_name(self.recipe, self.path, self.data)

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Locations of the recipe's upstreams."""
        return locate_upstreams(self.recipe.upstreams, self.path)

    @property
    def data_folder(self) -> Path | None:
        """Folder with the recordings, if it is there."""
        folder = data_folder(self.recipe, origin=self.path, data=self.data)
        return folder if folder is not None and folder.is_dir() else None

    def pinned_digest(self, address: Address) -> str | None:
        """Return the digest that the lock pins for a set, or None."""
        for pin in self.lock.splits.values() if self.lock is not None else ():
            if (pin.transform_key, pin.source_key) == address:
                return pin.digest
        return None

    def requested_sets(self) -> Sequence[RequestedSet] | Sequence[LockedSet]:
        """Return the sets that the recipe asks for; those of the lock where there are no recordings.

        Raises
        ------
        SpecError
            The dataset or a split does not exist.
        SourceNotFoundError
            The recordings are not there, and there is no lock, or their folder was given by the caller.
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
    """Which of the requested sets exist.

    Attributes
    ----------
    existing : dict of str to FeatureSet
        Sets that need no computation, by split: in the store; in an upstream, where nothing is copied.
    missing : list of RequestedSet
        Sets that have to be computed.
    unavailable : dict of str to SourceNotFoundError
        Why sets can be neither found nor computed, by split.
    """

    existing: dict[str, FeatureSet]
    missing: list[RequestedSet]
    unavailable: dict[str, SourceNotFoundError]

    def refuse_unavailable(self) -> None:
        """Raise the first `SourceNotFoundError` of `unavailable`, if there is one."""
        for error in self.unavailable.values():
            raise error


def resolve(
    requested: Iterable[RequestedSet | LockedSet],
    store: Store,
    upstreams: Upstreams,
    *,
    copy: bool = True,
    progress: Progress | None = None,
) -> Resolution:
    """Look for sets in the store, then in the upstreams.

    Parameters
    ----------
    requested : iterable of RequestedSet or LockedSet
        The sets.
    store : Store
        Where they are, or go.
    upstreams : Upstreams
        Stores to ask for what is not there.
    copy : bool
        Copy what an upstream has into the store; otherwise it is only looked up, for ``plan``.
    progress : callable, optional
        Called during copies as ``progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    ConflictError
        The store has another digest than the lock pins, and there are no recordings to tell which one is right.
    UsageError
        The lock is of recordings that are read in another way than the recipe says.
    StoreError
        The store can't be written to, or is full.
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
    if copy:
        logger.info(
            "%s is in the store already (%d samples, digest %s): nothing to compute%s",
            wanted.label,
            len(features),
            features.digest[:12],
            ", and as the lock pins it: no recordings are needed" if isinstance(wanted, LockedSet) else "",
        )
    return features
