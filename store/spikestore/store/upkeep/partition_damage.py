"""Verify and repair partitions: documents of a source, which serve all of its feature sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spikestore.store.partitions import all_partitions, load_partition
from spikestore.store.storage import Storage
from spikestore.store.trust.documents import partition_path
from spikestore.store.upkeep.repair_documents import Repaired
from spikestore.store.upkeep.verify import Damage, damage_of
from spikestore.store_schemas.errors import StoreError, UsageError

Samples = Mapping[str, int]
"""Rows of each source, by its key, as far as a feature set in the store tells them."""


def verify_partitions(
    storage: Storage, samples: Samples, *, source_keys: Iterable[str] | None = None
) -> list[Damage]:
    """Read partitions and compare them with the sets of their source.

    Parameters
    ----------
    storage : Storage
        The store.
    samples : mapping of str to int
        Rows of each source, by its key.
    source_keys : iterable of str, optional
        The sources whose partitions are verified; all by default.

    Returns
    -------
    list of Damage
        One for each damaged partition.
    """
    damages = []
    for key in [None] if source_keys is None else sorted(set(source_keys)):
        for source_key, name, found in all_partitions(storage, key):
            path = partition_path(source_key, name)
            if isinstance(found, StoreError):
                damages.append(damage_of(found, path))
            elif found.samples != samples.get(source_key, found.samples):
                detail = f"divides {found.samples} rows, the source has {samples[source_key]}"
                damages.append(Damage(path, detail))
    return damages


def repair_partitions(
    storage: Storage, source_key: str, samples: int, upstream: Storage | None
) -> tuple[list[Repaired], list[Damage]]:
    """Replace the damaged partitions of a source by those of another store.

    No other document says what a partition held, so that only a store that the user names can give it back.

    Returns
    -------
    repaired : list of Repaired
        What was replaced.
    left : list of Damage
        What is still damaged, and what to do.
    """
    repaired, left = [], []
    for damage in verify_partitions(storage, {source_key: samples}, source_keys=[source_key]):
        name = damage.path.rpartition("/")[2].removesuffix(".json")
        why = "name a store that has it (--from URL)"
        if upstream is not None:
            try:
                found = load_partition(upstream, source_key, name)
            except (StoreError, UsageError) as error:
                why = f"{upstream.url} does not have it ({error})"
            else:
                if found.samples == samples:
                    storage.replace(damage.path, found.to_bytes())
                    repaired.append(Repaired(damage.path, "from upstream"))
                    continue
                why = f"that of {upstream.url} divides {found.samples} rows, the source has {samples}"
        advice = f"{why}, or delete this object and call keep_partition again"
        left.append(damage._replace(detail=f"{damage.detail}; {advice}"))
    return repaired, left
