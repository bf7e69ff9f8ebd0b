"""What a recipe knows of sets that are damaged: who else may have them, what they must be, where the recordings are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.recipe_lock import RecipeLock, lock_path, read_lock
from spikestore.store.storage import Storage
from spikestore.store.store import Store
from spikestore.store.upstreams import Upstreams, beside, locate_upstreams
from spikestore.store_schemas.documents.address import Address


@dataclass(frozen=True, slots=True)
class RepairRecipe:
    """A recipe, as far as a repair asks it; without one there is nothing to ask.

    Attributes
    ----------
    upstreams : Upstreams, optional
        Stores to fetch from.
    lock : RecipeLock, optional
        Keys and digests that the recipe gave.
    data : Path, optional
        Folder with the recordings, if it is there.
    """

    upstreams: Upstreams | None = None
    lock: RecipeLock | None = None
    data: Path | None = None

    @classmethod
    def load(cls, path: Path) -> RepairRecipe:
        """Read a recipe and its lock.

        Raises
        ------
        SpecError
            The recipe is wrong.
        """
        recipe = load_recipe(path)
        folder = None if recipe.source.data is None else beside(recipe.source.data, path)
        return cls(
            upstreams=Upstreams(locate_upstreams(recipe.upstreams, path)),
            lock=read_lock(lock_path(path)),
            data=folder if folder is not None and folder.is_dir() else None,
        )

    def digest(self, address: Address) -> str | None:
        """Return the digest that the lock pins for a set, or None."""
        for pin in self.lock.splits.values() if self.lock is not None else ():
            if (pin.transform_key, pin.source_key) == address:
                return pin.digest
        return None

    def upstream(self, store: Store, address: Address, label: str, digest: str | None) -> Storage | None:
        """Return the first upstream that has a set, with the digest if one is pinned."""
        if self.upstreams is None:
            return None
        found = self.upstreams.look(store, address, label=label, digest=digest)
        return found.storage if found is not None else None
