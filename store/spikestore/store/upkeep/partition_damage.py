"""Verification and repair of partitions. A partition is a document that all feature sets of a source share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spikestore.store.partitions import all_partitions, load_partition
from spikestore.store.storage import Storage
from spikestore.store.trust.documents import partition_path
from spikestore.store.upkeep.repair_documents import Repaired
from spikestore.store.upkeep.verify import Damage, damage_of
from spikestore.store_schemas.errors import DamagedError, StoreError, UsageError
from spikestore.store_schemas.wording import plural

Samples = Mapping[str, int]
"""Number of rows by the key of the source, for each source of which the store has a feature set."""


def verify_partitions(
    storage: Storage, samples: Samples, *, source_keys: Iterable[str] | None = None
) -> list[Damage]:
    """Return the damaged partitions: those that cannot be read, or that have another number of rows than their source.

    Parameters
    ----------
    storage : Storage
        The store.
    samples : mapping of str to int
        Number of rows of each source, by the key of the source.
    source_keys : iterable of str, optional
        The sources whose partitions are verified; all by default.

    Returns
    -------
    list of Damage
        One for each partition that is damaged or has a newer format.
    """
    damages = []
    for key in [None] if source_keys is None else sorted(set(source_keys)):
        for source_key, name, partition in all_partitions(storage, key):
            path = partition_path(source_key, name)
            if isinstance(partition, StoreError):
                damages.append(damage_of(partition, path))
            elif partition.samples != samples.get(source_key, partition.samples):
                detail = f"it is a partition of {plural(partition.samples, 'row')}, but the source has {samples[source_key]:,}"
                damages.append(Damage(path, detail))
    return damages


def repair_partitions(
    storage: Storage, source_key: str, samples: int, upstream: Storage | None
) -> tuple[list[Repaired], list[Damage]]:
    """Replace the damaged partitions of a source by the partitions of another store.

    No other document has the content of a partition, so only a store that the user names can provide it.

    Returns
    -------
    repaired : list of Repaired
        The replaced partitions.
    left : list of Damage
        The partitions that are still damaged, and what to do.
    """
    repaired, left = [], []
    for damage in verify_partitions(storage, {source_key: samples}, source_keys=[source_key]):
        if damage.kind == "newer":
            left.append(damage)
            continue
        name = damage.path.rpartition("/")[2].removesuffix(".json")
        why = "pass a store that has this partition (--from URL)"
        if upstream is not None:
            try:
                partition = load_partition(upstream, source_key, name)
            except (StoreError, UsageError) as error:
                why = (
                    f"{upstream.url} does not have this partition ({error}): pass another store (--from URL)"
                )
            else:
                if partition.samples == samples:
                    try:
                        storage.replace(damage.path, partition.to_bytes())
                    except (
                        DamagedError
                    ) as error:  # such as a folder that is not empty, in the place of the document
                        left.append(damage_of(error, damage.path))
                    else:
                        repaired.append(Repaired(damage.path, "from the upstream"))
                    continue
                why = f"{upstream.url} has this partition for {plural(partition.samples, 'row')}, but the source has {samples:,}: pass another store (--from URL)"
        advice = f"{why}, or delete this object and call keep_partition again"
        left.append(damage._replace(detail=f"{damage.detail}; {advice}"))
    return repaired, left
