"""What must hold of a feature set that comes from elsewhere, before any of it is stored here."""

from __future__ import annotations

from collections.abc import Mapping

from spikestore.store.feature_set import FeatureSet
from spikestore.store.trust.documents import RecordTotals
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.documents.zarr_metadata import CHUNK_VALUES
from spikestore.store_schemas.errors import ConflictError, DamagedError
from spikestore.store_schemas.layout import BLOCK


def refuse_giants(features: FeatureSet, record: Record) -> None:
    """Raise `DamagedError` if a record claims more bytes for an object than its values can take."""
    row = features.manifest.fragments[record.fragment]
    counts = {"index": row.nnz, "value": row.nnz, "check": -(-row.samples // BLOCK)}
    chunks = features.manifest.shard_values // CHUNK_VALUES
    for entry in record.objects:
        decoded = 8 * counts.get(entry.path.partition("/")[0], row.samples)
        # No codec adds a quarter; behind the chunks of a shard comes its index, 16 bytes a chunk.
        largest = decoded + decoded // 4 + 2**16 + 16 * chunks
        if entry.size > largest:
            path = features.address.record(features.manifest.plan_id, record.fragment)
            raise DamagedError(
                f"{path} in {features.storage.url} claims {entry.size:,} bytes for {entry.path}, which can have "
                f"{largest:,} at most",
                objects=(path,),
            )


def refuse_other_totals(features: FeatureSet, totals: RecordTotals) -> None:
    """Raise `DamagedError` unless all records of a set give what its manifest says: digest, largest index and value."""
    contradiction = totals.contradiction(features.manifest)
    if contradiction is not None:
        path = features.address.manifest
        raise DamagedError(f"{path} in {features.storage.url} {contradiction}", objects=(path,))


def refuse_other_content(
    features: FeatureSet, checker: FragmentChecker, record: Record, objects: Mapping[str, bytes]
) -> None:
    """Raise `DamagedError` unless the objects of a fragment decode to what its record and its place say.

    Parameters
    ----------
    features : FeatureSet
        The set.
    checker : FragmentChecker
        Of the set.
    record : Record
        Of the fragment.
    objects : mapping of str to bytes
        Stored bytes by path below ``data.zarr``.
    """
    path = features.address.record(features.manifest.plan_id, record.fragment)
    contradiction: str | None
    try:
        contradiction = checker.contradiction(record, checker.read(record.fragment, objects))
    except DamagedError as error:
        contradiction = str(error)
    if contradiction is not None:
        raise DamagedError(
            f"fragment {record.fragment} of {features.data_path} in {features.storage.url} does not hold what its "
            f"record says, though its bytes are unharmed ({contradiction}): do not trust that store",
            objects=(path,),
        )


def other_digest(there: FeatureSet, features: FeatureSet) -> ConflictError:
    """Return the error for two sets of one address that are not the same."""
    return ConflictError(
        f"{there.address.manifest} has digest {there.digest[:12]} in {there.storage.url} and {features.digest[:12]} in "
        f"{features.storage.url}, under the same keys: one of the two is wrong, verify both with --deep",
        path=there.address.manifest,
    )
