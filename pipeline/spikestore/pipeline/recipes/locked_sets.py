"""What the lock of a recipe pins: feature sets that are found without the recordings."""

from __future__ import annotations

import logging

from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.recipe_lock import RecipeLock
from spikestore.store.feature_set import FeatureSet
from spikestore.store.sharing.copy_set import Progress
from spikestore.store.store import Store
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import ConflictError, SourceNotFoundError, UsageError

logger = logging.getLogger(__name__)


def pinned_digest(lock: RecipeLock | None, split: str, address: Address) -> str | None:
    """Return the digest that a lock pins for a set, or None if it pins another set or none."""
    pin = lock.splits.get(split) if lock is not None else None
    same = pin is not None and (pin.transform_key, pin.source_key) == address
    return pin.digest if pin is not None and same else None


def pinned_sets(
    recipe: Recipe,
    lock: RecipeLock,
    store: Store,
    upstreams: Upstreams,
    *,
    missing: SourceNotFoundError,
    progress: Progress | None = None,
) -> dict[str, FeatureSet]:
    """Return the feature sets that a lock pins, from the store or from an upstream.

    Parameters
    ----------
    recipe : Recipe
        The recipe that the lock belongs to.
    lock : RecipeLock
        Keys and digests.
    store : Store
        Where the sets are, or go.
    upstreams : Upstreams
        Stores to ask for what is not there.
    missing : SourceNotFoundError
        Why nothing can be computed.
    progress : callable, optional
        Called during copies as ``progress(bytes_done, bytes_total, label)``.

    Raises
    ------
    SourceNotFoundError
        A set is nowhere to be found, or the lock does not pin it under the recipe's transform.
    UsageError
        The lock is of recordings that are read in another way than the recipe says.
    ConflictError
        The store has another digest than the lock pins.
    """
    found: dict[str, FeatureSet] = {}
    for split in recipe.source.splits or tuple(lock.splits):
        pin, label = lock.splits.get(split), f"{recipe.source.dataset} {split}"
        if pin is None:
            raise _lacking(missing, f"the lock does not pin {split}")
        if pin.transform_key != recipe.transform_spec().key:
            raise _lacking(missing, f"the lock pins {split} under another transform than the recipe has now")
        address = Address(pin.transform_key, pin.source_key)
        features = store.find(address)
        if features is not None and features.digest != pin.digest:
            raise ConflictError(
                f"the lock pins {label} with digest {pin.digest[:12]}, {store.storage.url} has {features.digest[:12]} under "
                "the same keys: one of the two is wrong; verify the store, or delete the lock"
            )
        if features is not None:
            logger.info("%s is in the store already, as the lock pins it: no recordings are needed", label)
        else:
            features = upstreams.fetch(store, address, label=label, digest=pin.digest, progress=progress)
        if features is None:
            asked = f", nor in {upstreams}" if upstreams else ", and the recipe names no upstreams"
            raise _lacking(missing, f"{split}, as the lock pins it, is not in {store.storage.url}{asked}")
        _refuse_other_source(recipe, features, label)
        found[split] = features
    return found


def _lacking(missing: SourceNotFoundError, why: str) -> SourceNotFoundError:
    return SourceNotFoundError(f"{missing}; and {why}", **missing.details)


def _refuse_other_source(recipe: Recipe, features: FeatureSet, label: str) -> None:
    source = features.manifest.source
    for field in ("dataset", "sort", "on_error", "limit"):
        then, now = getattr(source, field), getattr(recipe.source, field)
        if then != now:
            raise UsageError(
                f"the lock pins {label} with {field} = {then!r}, the recipe says {now!r}: without the recordings only "
                "what is pinned can be had"
            )
