"""Parses the documents of a store, and compares each document with its path and with the documents that refer to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.record import EventCounts, Record
from spikestore.store_schemas.documents.ref import Ref
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, Layout
from spikestore.store_schemas.specs.canonical import sha256_hex
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.store_schemas.documents.partition import Partition
    from spikestore.store_schemas.documents.plan import Plan

_ATTEMPTS = 100
"""Maximum number of values of ``attempt`` that are tried to find the plan of a build."""


def manifest_of(address: Address, data: bytes) -> Manifest:
    """Return the manifest of the set at `address`, after comparing the keys of its specs with those of `address`.

    Raises
    ------
    DamagedError
        The manifest is damaged, contradicts itself, or belongs to another set.
    NewerFormatError
        The manifest has a newer format.
    """
    return Manifest.from_store(data, path=address.manifest, **address._asdict())


def plan_of(address: Address, data: bytes) -> Plan:
    """Return the plan in the bytes of a set's plan document.

    Raises
    ------
    DamagedError
        The plan is damaged, contradicts itself, or belongs to another set.
    NewerFormatError
        The document has a newer format.
    """
    from spikestore.store_schemas.documents.plan import Plan  # only builds need it

    plan = Plan.from_bytes(data, path=address.plan)
    if (plan.transform_key, plan.source_key) != address:
        why = "belongs to another feature set"
        raise DamagedError(f"{address.plan} {why}", path=address.plan, objects=(address.plan,), why=why)
    return plan


def committed_plan(address: Address, manifest: Manifest, root: dict[str, Any]) -> Plan:
    """Return the plan of a committed build, derived from the build's other documents.

    Parameters
    ----------
    address : Address
        Transform key and source key of the set.
    manifest : Manifest
        Manifest of the set; it has all fields of the plan except ``attempt``.
    root : dict
        ``data.zarr/zarr.json`` of the set, checked.

    Raises
    ------
    DamagedError
        The manifest's fields give a plan with another hash than the one that the manifest lists.
    """
    from spikestore.store_schemas.documents.plan import Plan

    for attempt in range(_ATTEMPTS):
        plan = Plan(
            **address._asdict(),
            samples=manifest.samples,
            fragment_samples=manifest.fragment_samples,
            shard_values=manifest.shard_values,
            layout=manifest.layout,
            attempt=attempt,
            zarr=root,
        )
        if plan.hash == manifest.plan:
            return plan
    raise DamagedError(
        f"{address.manifest} refers to the plan {manifest.plan_id}, but the other fields of this manifest contradict this plan",
        objects=(address.manifest,),
    )


def root_of(address: Address, manifest: Manifest, data: bytes) -> dict[str, Any]:
    """Return ``data.zarr/zarr.json``, after comparing its SHA-256 and its arrays with the manifest.

    Raises
    ------
    DamagedError
        The SHA-256 or the arrays differ.
    """
    from spikestore.store_schemas.documents.checked_root import checked_root  # only reads need it

    path = f"{address.data(manifest.plan_id)}/zarr.json"
    if sha256_hex(data) != manifest.zarr:
        why = "its SHA-256 differs from the manifest"
        raise DamagedError(f"{path} is damaged: {why}", objects=(path,), why=why)
    return checked_root(address, manifest, data)


def record_of(address: Address, manifest: Manifest, fragment: int, data: bytes) -> Record:
    """Return the record of a fragment, after comparing it with the manifest.

    Raises
    ------
    DamagedError
        The record is damaged, belongs to another fragment, does not list exactly the objects of the fragment, or contradicts
        the manifest.
    NewerFormatError
        The document has a newer format.
    """
    path = address.record(manifest.plan_id, fragment)
    record, row = Record.from_bytes(data, path=path), manifest.fragments[fragment]
    counts = (record.plan, record.fragment, record.samples, record.nnz, record.n_bins)
    if counts != (manifest.plan, fragment, row.samples, row.nnz, row.n_bins):
        raise DamagedError(
            f"{path} contradicts the manifest: it belongs to another plan or fragment, or has another number of rows, non-zeros or time bins",
            objects=(path,),
        )
    _refuse_other_objects(record, manifest.layout, path)
    rows = manifest.rows(fragment)
    if [row.row for row in record.skipped] != manifest.skipped_rows(rows).tolist():
        raise DamagedError(f"{path} contradicts the manifest: it lists other skipped rows", objects=(path,))
    for name in ("max_index", "max_value"):
        largest, limit = getattr(record, name), getattr(manifest, name)
        if largest > limit:
            raise DamagedError(
                f"{path} contradicts the manifest: its {name} is {largest:.16g}, but the manifest allows at most {limit:.16g}",
                objects=(path,),
            )
    return record


def record_of_build(address: Address, plan: Plan, plan_hash: str, fragment: int, data: bytes) -> Record:
    """Return the record of a fragment in an unfinished build; another builder may have written it.

    `plan_hash` is the hash of `plan`. The caller passes it, because computing it for each of thousands of fragments takes seconds.

    Raises
    ------
    DamagedError
        The record is damaged, belongs to another fragment or plan, does not list exactly the objects of the fragment, or
        contradicts the plan.
    NewerFormatError
        The document has a newer format.
    """
    path = address.record(plan_hash[:12], fragment)
    record = Record.from_bytes(data, path=path)
    if (record.plan, record.fragment) != (plan_hash, fragment):
        raise DamagedError(f"{path} belongs to another fragment", objects=(path,))
    rows = len(plan.rows(fragment))
    if record.samples != rows:
        raise DamagedError(
            f"{path} contradicts the plan: it has {plural(record.samples, 'row')}, but the fragment has {rows:,}",
            objects=(path,),
        )
    if record.nnz > plan.shard_values:
        raise DamagedError(
            f"{path} contradicts the plan: it has {plural(record.nnz, 'non-zero')}, but at most {plan.shard_values:,} are possible",
            objects=(path,),
        )
    _refuse_other_objects(record, plan.layout, path)
    return record


def _refuse_other_objects(record: Record, layout: Layout, path: str) -> None:
    listed = [entry.path for entry in record.objects]
    if sorted(listed) != sorted(layout.fragment_objects(record.fragment, record.nnz)):
        raise DamagedError(f"{path} lists other objects than fragment {record.fragment} has", objects=(path,))
    expected = -(-record.samples // BLOCK)
    if len(record.blocks) != expected:
        why = f"it has {plural(len(record.blocks), 'block digest')}, expected {expected:,} for {plural(record.samples, 'row')}"
        raise DamagedError(f"{path} contradicts itself: {why}", objects=(path,))


def partition_of(source_key: str, name: str, data: bytes) -> Partition:
    """Return a partition of a source.

    Raises
    ------
    DamagedError
        The partition is damaged, or belongs to another source or name.
    NewerFormatError
        The partition has a newer format.
    """
    from spikestore.store_schemas.documents.partition import Partition  # only partitions need it

    path = partition_path(source_key, name)
    partition = Partition.from_bytes(data, path=path)
    if (partition.source_key, partition.name) != (source_key, name):
        raise _damaged(
            path, f"it contains the partition {partition.name!r} of the source {partition.source_key[:12]}"
        )
    return partition


def partition_path(source_key: str, name: str) -> str:
    """Return the path of a partition, below the store's root."""
    return f"partitions/{source_key}/{name}.json"


def ref_of(name: str, number: int, data: bytes) -> Ref:
    """Return an entry in the log of a name.

    Raises
    ------
    DamagedError
        The entry is damaged, or has another name or number.
    NewerFormatError
        The document has a newer format.
    """
    path = ref_path(name, number)
    ref = Ref.from_bytes(data, path=path)
    if (ref.name, ref.number) != (name, number):
        raise _damaged(
            path,
            f"it contains entry {ref.number} of the name {ref.name!r} instead of entry {number} of {name!r}",
        )
    return ref


def ref_path(name: str, number: int) -> str:
    """Return the path, below the store's root, of the entry with this number in the log of a name."""
    return f"refs/{name}/{number:08d}.json"


class RecordTotals:
    """Sums over the records of a set, to compare them with its manifest.

    Readers choose dtypes by ``max_index`` and ``max_value``. No digest covers these two numbers, so they are compared too.
    """

    def __init__(self) -> None:
        self.records = 0
        self._max_index, self._max_value, self._events = 0, 0.0, EventCounts()
        self._blocks = bytearray()

    def add(self, record: Record) -> None:
        """Add a record; records must be added in the order of fragments."""
        self.records += 1
        self._max_index = max(self._max_index, record.max_index)
        self._max_value = max(self._max_value, record.max_value)
        self._events = self._events.plus(record.events)
        self._blocks += b"".join(map(bytes.fromhex, record.blocks))

    def contradiction(self, manifest: Manifest) -> str | None:
        """Return a text that describes how the manifest differs from its records, or None if they agree."""
        from spikestore.store.columns.digest import set_digest

        blocks = (self._blocks[at : at + 32].hex() for at in range(0, len(self._blocks), 32))
        skipped = [row.row for row in manifest.skipped]
        digest = set_digest(manifest.layout, manifest.samples, skipped, blocks)
        pairs = {
            "digest": (manifest.digest[:12], digest[:12]),
            "max_index": (manifest.max_index, self._max_index),
            "max_value": (manifest.max_value, self._max_value),
            "events": (manifest.events, self._events),
        }
        for name, (stated, total) in pairs.items():
            if stated != total:
                return f"has {name} = {stated}, but its records give {total}"
        return None


def _damaged(path: str, why: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: {why}", path=path, objects=(path,), why=why)
