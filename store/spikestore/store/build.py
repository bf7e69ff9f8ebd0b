"""One build of a feature set: start or resume it, store its fragments, commit the set.

The order of writes makes every crash harmless (docs/format.md, "Building"):

1. The plan is written if it is absent; later builders follow the stored plan.
2. The plan's Zarr metadata are written if they are absent; metadata that exist already must be equal, byte for byte.
3. The objects of a fragment are written before its record. So all objects that a record lists exist.
4. The manifest is written last. The set exists if and only if its manifest exists.

Locks are not needed: builders of one plan write only absent objects, and each plan has its own folder for its objects.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from spikestore.store.columns.digest import set_digest
from spikestore.store.columns.fragment_encoder import EncodedFragment, encode_rows
from spikestore.store.columns.fragment_facts import refuse_filled_skips, refuse_many_values
from spikestore.store.columns.reader import FragmentDecoder
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store.feature_set import FeatureSet
from spikestore.store.storage import Storage
from spikestore.store.storage.staging import put_together
from spikestore.store.trust.documents import plan_of, record_of_build
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, ObjectEntry, Record, SkippedRow
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    MissingObjectError,
    StoreError,
    UsageError,
)
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.specs.canonical import canonical_json, sha256_hex
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)


class Build:
    """An unfinished build: a storage and the plan that all its builders follow.

    Parameters
    ----------
    storage : Storage
        Storage of the set.
    plan : Plan
        Plan of the build. `join_or_start` finds the plan in the store, or makes a new plan.
    """

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self.storage = storage
        self.plan = plan
        self.address = Address(plan.transform_key, plan.source_key)
        self._hash = plan.hash
        self._id = self._hash[:12]

    @classmethod
    def join_or_start(
        cls,
        storage: Storage,
        address: Address,
        wish: Callable[[], Plan],
        *,
        restart: bool = False,
    ) -> Build:
        """Return the unfinished build of a feature set; start a new build if there is none, or if `restart` is true.

        Parameters
        ----------
        storage : Storage
            Storage of the set.
        address : Address
            Keys of the set.
        wish : callable
            Returns this builder's own plan; called only if the store has no plan to join.
        restart : bool
            Delete the stored plan first, and reuse no fragments of earlier builds. If the new plan's folder exists already,
            the new plan gets a higher `attempt`, which leads to another folder.

        Raises
        ------
        DamagedError
            The stored plan is damaged.
        NewerFormatError
            The stored plan has a newer format.
        ConflictError
            The stored Zarr metadata differ from the Zarr metadata in the plan.
        """
        if restart:
            storage.delete(address.plan)
        plan: Plan | None = None
        while plan is None:
            try:
                data = storage.get(address.plan)
            except MissingObjectError:
                # Another builder may be faster: the next round reads its plan.
                wished = _in_folder_of_its_own(storage, address, wish()) if restart else wish()
                storage.put_if_absent(address.plan, wished.to_bytes())
                continue
            with _with_advice("run again with --restart"):
                plan = plan_of(address, data)
        build = cls(storage, plan)
        build._put_metadata()
        return build

    def refuse_other_shape(self, layout: Layout, samples: int) -> None:
        """Raise `ConflictError` if the plan has a layout other than `layout`, or a number of samples other than `samples`."""
        if (self.plan.layout, self.plan.samples) != (layout, samples):
            if self.plan.samples == samples:
                found = "other columns than this version of spikestore"
            else:
                found = (
                    f"{plural(self.plan.samples, 'sample')}, but this version of spikestore plans {samples:,}"
                )
            raise ConflictError(
                f"{self.address.plan} plans {found}: use the version that wrote this plan, or run again with --restart",
                path=self.address.plan,
            )

    def unfinished(self) -> list[int]:
        """Return the numbers of the fragments without a record, ascending."""
        folder = f"{self.address.build(self._id)}/records"
        finished = {entry.path for entry in self.storage.list(folder)}
        paths = [self.address.record(self._id, fragment) for fragment in range(self.plan.fragments)]
        return [fragment for fragment, path in enumerate(paths) if path not in finished]

    def has_fragment(self, fragment: int) -> bool:
        """Return whether a fragment has a record; raise `DamagedError` or `NewerFormatError` if the record cannot be used."""
        try:
            self._record(fragment)
        except MissingObjectError:
            return False
        return True

    def put_fragment(
        self,
        fragment: int,
        columns: SampleColumns,
        *,
        skipped: Iterable[SkippedRow] = (),
        events: EventCounts | None = None,
    ) -> Record:
        """Store a fragment: its objects, then its record.

        Parameters
        ----------
        fragment : int
            Number of the fragment.
        columns : SampleColumns
            All rows of the fragment.
        skipped : iterable of SkippedRow
            The skipped rows.
        events : EventCounts, optional
            Numbers of events read, cropped and dropped, and of lossy samples.

        Raises
        ------
        ConflictError
            Another builder stored other content at the same path.
        DamagedError
            An object at one of the paths cannot be decoded.
        UsageError
            The columns violate the format or contradict the plan, or `skipped` contradicts the columns.
        """
        self._refuse_other_size(fragment, len(columns), len(columns.index))
        content = encode_rows(self.plan, fragment, columns)
        return self.put_encoded_fragment(fragment, content, skipped=skipped, events=events)

    def put_encoded_fragment(
        self,
        fragment: int,
        content: EncodedFragment,
        *,
        skipped: Iterable[SkippedRow] = (),
        events: EventCounts | None = None,
    ) -> Record:
        """Store a fragment whose ``index`` and ``value`` are encoded already; see `put_fragment`.

        Parameters
        ----------
        fragment, skipped, events
            See `put_fragment`.
        content : EncodedFragment
            All rows of the fragment.

        Raises
        ------
        ConflictError, DamagedError, UsageError
            See `put_fragment`.
        """
        samples, facts, encoded, _ = content
        self._refuse_other_size(fragment, len(samples), facts.nnz)
        skipped = tuple(skipped)
        refuse_filled_skips(self.plan.rows(fragment), samples, skipped)
        data = self.address.data(self._id)
        objects = encode_fragment(self.plan, fragment, samples, facts.check, encoded)
        taken = set(put_together(self.storage, {f"{data}/{path}": each for path, each in objects.items()}))
        stored = {
            path: self.storage.get(f"{data}/{path}") if f"{data}/{path}" in taken else mine
            for path, mine in objects.items()
        }
        if stored != objects:
            # Other library versions may encode equal values as other bytes, so the decoded values are compared. The
            # bytes that are decoded are those in the record, because a second read may return others.
            self._compare(fragment, objects, stored)
        record = Record(
            plan=self._hash,
            fragment=fragment,
            objects=tuple(ObjectEntry(path=p, size=len(s), sha256=sha256_hex(s)) for p, s in stored.items()),
            samples=len(samples),
            nnz=facts.nnz,
            n_bins=int(samples.n_bins.max()),
            max_index=facts.max_index,
            max_value=facts.max_value,
            blocks=facts.blocks,
            skipped=skipped,
            events=events or EventCounts(),
        )
        self._put_or_equal(self.address.record(self._id, fragment), record.to_bytes())
        return record

    def _refuse_other_size(self, fragment: int, samples: int, nnz: int) -> None:
        """Raise `UsageError` if the number of rows or non-zeros contradicts the plan."""
        rows = self.plan.rows(fragment)
        if samples != len(rows):
            raise UsageError(f"fragment {fragment} must have {plural(len(rows), 'row')}, got {samples:,}")
        refuse_many_values(self.plan, fragment, nnz)

    def commit(
        self,
        transform: Transform,
        source: Source,
        provenance: Mapping[str, Any],
        *,
        review: Callable[[Manifest], None] | None = None,
    ) -> FeatureSet:
        """Commit the feature set and return it; every fragment must have a record. If an equal set is committed already, return this set.

        Before anything is written, `review` is called with the manifest. If it raises an error, the build stays unfinished and can be committed
        later. Then all objects are listed with their sizes, and the manifest is stored, which commits the set.

        Raises
        ------
        DamagedError
            A record is missing or damaged, or an object is missing or has another size.
        ConflictError
            The set is committed already, with another digest.
        UsageError
            Transform and source do not belong to the build, or `provenance` has no canonical JSON form.
        """
        if (transform.key, source.key) != self.address:
            raise UsageError(
                f"transform and source do not belong to the build in {self.address.folder}: pass the transform and the source with which this build was planned"
            )
        try:
            records = [self._record(fragment) for fragment in range(self.plan.fragments)]
        except MissingObjectError as error:
            raise DamagedError(f"{error}: run the command again", objects=(error.details["path"],)) from error
        parsed = [record for record, _ in records]
        digest = set_digest(
            self.plan.layout,
            self.plan.samples,
            [row.row for record in parsed for row in record.skipped],
            [block for record in parsed for block in record.blocks],
        )
        manifest = Manifest.of_records(
            records, self.plan, transform=transform, source=source, digest=digest, provenance=provenance
        )
        if review is not None:
            review(manifest)
        # A restart may have removed the plan during this build, but a committed set has a plan.
        self.storage.put_if_absent(self.address.plan, self.plan.to_bytes())
        self._all_there(parsed)
        if not self.storage.put_if_absent(self.address.manifest, manifest.to_bytes()):
            committed = FeatureSet.open(self.storage, self.address)
            if committed.digest != manifest.digest:
                raise ConflictError(
                    f"two builds of the same feature set differ: {self.address.manifest} has digest {committed.digest[:12]}, "
                    f"but this build has {manifest.digest[:12]}; look for a recording that changed, or report a bug",
                    path=self.address.manifest,
                )
            return committed
        return FeatureSet(self.storage, self.address, manifest)

    def _put_metadata(self) -> None:
        data = self.address.data(self._id)
        metadata = {
            f"{data}/{path}": canonical_json(document) for path, document in documents(self.plan.zarr).items()
        }
        for path in put_together(self.storage, metadata):
            self._refuse_other(path, metadata[path])

    def _put_or_equal(self, path: str, data: bytes) -> None:
        if not self.storage.put_if_absent(path, data):
            self._refuse_other(path, data)

    def _refuse_other(self, path: str, data: bytes) -> None:
        if self.storage.get(path) != data:
            raise ConflictError(
                f"two builds of the same feature set differ in {path}: build again with --restart, and report a bug",
                path=path,
            )

    def _compare(self, fragment: int, mine: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> None:
        path = f"{self.address.data(self._id)} (fragment {fragment})"
        decoder = FragmentDecoder(self.plan, self.plan.zarr)
        try:
            equal = decoder.are_equal(fragment, mine, theirs)
        except StoreError as error:
            raise DamagedError(
                f"cannot read {path} ({error}): run the build again with --restart",
                path=path,
                objects=tuple(
                    f"{self.address.data(self._id)}/{each}" for each in theirs if theirs[each] != mine[each]
                ),
            ) from error
        if not equal:
            raise ConflictError(
                f"two builds of the same feature set differ in {path}: check whether a recording changed during the build, or report a bug",
                path=path,
            )
        logger.info(
            "%s: another builder stored the same values in another encoding; the object of the other builder is kept",
            path,
        )

    def _record(self, fragment: int) -> tuple[Record, str]:
        path = self.address.record(self._id, fragment)
        data = self.storage.get(path)
        with _with_advice("run again with --restart"):
            record = record_of_build(self.address, self.plan, self._hash, fragment, data)
        return record, sha256_hex(data)

    def _all_there(self, records: list[Record]) -> None:
        data = self.address.data(self._id)
        sizes = {entry.path: entry.size for entry in self.storage.list(data)}
        expected = {f"{data}/{entry.path}": entry.size for record in records for entry in record.objects}
        expected |= {f"{data}/{p}": len(canonical_json(d)) for p, d in documents(self.plan.zarr).items()}
        wrong = [path for path, size in expected.items() if sizes.get(path) != size]
        if wrong:
            raise DamagedError(
                f"{wrong[0]} {'is missing' if wrong[0] not in sizes else 'has another size'} "
                f"({plural(len(wrong), 'missing or changed object')}): run the build again with --restart",
                objects=tuple(wrong),
            )


def _in_folder_of_its_own(storage: Storage, address: Address, plan: Plan) -> Plan:
    # An equal plan would have the folder of the old build, whose fragments a restart must not reuse.
    taken = set(storage.folders(f"{address.folder}/builds"))
    while plan.hash[:12] in taken:
        plan = plan.model_copy(update={"attempt": plan.attempt + 1})
    return plan


@contextlib.contextmanager
def _with_advice(advice: str) -> Iterator[None]:
    """Add advice to each `DamagedError` of the ``with`` block, for the user who runs the build."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}: {advice}", **error.details) from error
