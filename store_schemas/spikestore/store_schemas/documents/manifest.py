"""The manifest: the document whose existence commits a feature set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from spikestore.store_schemas.documents.record import EventCounts, Record, SkippedRow
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import FILL, Layout, layout_of
from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, newer_format, sha256_hex, unseal
from spikestore.store_schemas.specs.column_values import Values
from spikestore.store_schemas.specs.model import AsTuple, Count, Document, Sha256, Size
from spikestore.store_schemas.specs.operations import OPERATIONS
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from spikestore.store_schemas.documents.plan import Plan


class FragmentRow(NamedTuple):
    """One fragment in the manifest's list."""

    samples: Size
    nnz: Count
    n_bins: Count
    """Largest number of time bins of a sample."""
    record: Sha256
    """SHA-256 of the record's bytes."""


class Manifest(Document):
    """Description of a committed feature set: its specs, sizes, digest and build."""

    format: Literal[1] = FORMAT
    transform: Transform
    source: Source
    layout: Layout
    digest: Sha256
    """Digest of the logical content."""
    samples: Size
    """Rows, including skipped rows."""
    nnz: Count
    """Non-zeros of all samples."""
    n_bins: Count
    """Largest number of time bins of a sample."""
    max_index: Count
    """Largest index of a non-zero; 0 without non-zeros."""
    max_value: Annotated[float, Field(ge=0)]
    """Largest value, or largest absolute value of real numbers; 0 without non-zeros."""
    plan: Sha256
    """SHA-256 of the plan; its first 12 digits name the build's folder."""
    zarr: Sha256
    """SHA-256 of ``data.zarr/zarr.json``."""
    fragment_samples: Size
    """Rows of a fragment."""
    shard_values: Size
    """Length of a shard of ``index`` and ``value``, R: the values of fragment k start at k·R."""
    fragments: Annotated[tuple[Annotated[FragmentRow, AsTuple], ...], AsTuple, Field(min_length=1)]
    skipped: Annotated[tuple[SkippedRow, ...], AsTuple] = ()
    """Skipped rows, ascending. `FeatureSet.read` returns them without bins; loaders leave them out."""
    events: EventCounts = EventCounts()
    """Numbers of events read, cropped and dropped in all recordings, and of lossy samples."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """When and with what the set was built; not part of the digest."""

    @classmethod
    def of_records(
        cls,
        records: Sequence[tuple[Record, str]],
        plan: Plan,
        *,
        transform: Transform,
        source: Source,
        digest: str,
        provenance: Mapping[str, Any],
    ) -> Self:
        """Return the manifest of a build whose fragments are all stored.

        Parameters
        ----------
        records : sequence of (Record, str)
            Record of each fragment in order, and the SHA-256 of its bytes.
        plan : Plan
            Plan of the build.
        transform, source : Transform, Source
            Specs of the set.
        digest : str
            Digest of the logical content.
        provenance : mapping
            When and with what the set was built.
        """
        parsed = [record for record, _ in records]
        events = EventCounts()
        for record in parsed:
            events = events.plus(record.events)
        return cls(
            transform=transform,
            source=source,
            layout=plan.layout,
            digest=digest,
            samples=plan.samples,
            nnz=sum(record.nnz for record in parsed),
            n_bins=max(record.n_bins for record in parsed),
            max_index=max(record.max_index for record in parsed),
            max_value=max(record.max_value for record in parsed),
            plan=parsed[0].plan,  # hashing the plan again takes milliseconds
            zarr=sha256_hex(canonical_json(plan.zarr)),
            fragment_samples=plan.fragment_samples,
            shard_values=plan.shard_values,
            fragments=tuple(FragmentRow(r.samples, r.nnz, r.n_bins, sha) for r, sha in records),
            skipped=tuple(row for record in parsed for row in record.skipped),
            events=events,
            provenance=dict(provenance),
        )

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(row.samples for row in self.fragments) != self.samples:
            raise ValueError("the samples of the fragments do not add up to the samples of the set")
        sizes = {row.samples for row in self.fragments[:-1]} | {self.fragment_samples}
        if len(sizes) != 1 or self.fragments[-1].samples > self.fragment_samples:
            raise ValueError("the sizes of the fragments contradict fragment_samples")
        if self.layout != layout_of(
            self.transform,
            has_y="y" in self.layout.axes,
            classes=self.layout.classes,
            extras=self.layout.extras,
        ):
            raise ValueError("the layout contradicts the transform")
        rows = [skipped.row for skipped in self.skipped]
        if rows != sorted(set(rows)) or (rows and rows[-1] >= self.samples):
            raise ValueError("skipped rows must ascend and be below the number of samples")
        if sum(row.nnz for row in self.fragments) != self.nnz:
            raise ValueError("the non-zeros of the fragments do not add up to the non-zeros of the set")
        self._refuse_impossible_numbers()
        return self

    def _refuse_impossible_numbers(self) -> None:
        """Raise `ValueError` if numbers of the manifest are impossible, because readers choose dtypes and sizes of arrays by these numbers."""
        if self.n_bins != max(row.n_bins for row in self.fragments):
            raise ValueError("n_bins must be the largest n_bins of the fragments")
        if self.n_bins > self.transform.max_bins:
            raise ValueError(
                f"n_bins must be at most max_bins = {self.transform.max_bins}, got {self.n_bins}"
            )
        places = self.n_bins * self.layout.site_count
        if any(row.nnz > min(self.shard_values, row.samples * places) for row in self.fragments):
            raise ValueError("a fragment has more non-zeros than its shard or its frames can contain")
        if self.max_index >= max(places, 1):
            raise ValueError(f"max_index must be below n_bins × sites = {places}, got {self.max_index}")
        most = FILL[dict(self.layout.columns)["value"]]
        if isinstance(most, int) and (self.max_value >= most or not self.max_value.is_integer()):
            raise ValueError(f"max_value must be an integer below {most}, got {self.max_value:.16g}")
        if (self.max_value > 0) != (self.nnz > 0) or (self.max_index > 0 and not self.nnz):
            raise ValueError("max_index and max_value contradict the number of non-zeros")

    @property
    def plan_id(self) -> str:
        """Name of the build's folder: the first 12 digits of `plan`."""
        return self.plan[:12]

    @property
    def source_columns(self) -> dict[str, Values]:
        """By name, the optional columns whose values are in the member ``source`` of this manifest; each column has one value per file.

        Columns whose values are in arrays of ``data.zarr`` are left out. The result is empty unless the data set is ``folder``.
        """
        folder = self.source.folder
        columns = {} if folder is None else folder.values
        return {name: values for name, values in columns.items() if name not in self.layout.extras}

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of all optional columns with one value for each sample: first those stored in arrays, then those listed in `source`."""
        return (*self.layout.extras, *self.source_columns)

    def skipped_rows(self, rows: range) -> npt.NDArray[np.int64]:
        """Return the skipped rows among consecutive rows: int64, ascending, numbered in the whole set."""
        skipped = self._all_skipped
        return skipped[slice(*skipped.searchsorted([rows.start, rows.stop]))]

    @cached_property
    def _all_skipped(self) -> npt.NDArray[np.int64]:
        import numpy as np  # a run with nothing to do needs no arrays

        return np.array([row.row for row in self.skipped], np.int64)

    def rows(self, fragment: int) -> range:
        """Return the numbers of a fragment's rows in the set."""
        start = fragment * self.fragment_samples
        return range(start, min(start + self.fragment_samples, self.samples))

    @classmethod
    def from_bytes(cls, data: bytes, *, path: str) -> Self:
        """Return the manifest in `data`; see `Document.from_bytes`.

        Raises
        ------
        DamagedError
            The bytes do not match the hash that they contain, or are not a valid manifest.
        NewerFormatError
            The manifest has a newer format, or names an operation that this version does not know.
        """
        try:
            return super().from_bytes(data, path=path)
        except DamagedError:
            document = unseal(data, path=path)
            # The bytes match their hash, so the operation is what the writer wrote.
            for op in _operations_of(document):
                if op not in OPERATIONS:
                    problem = f"{path} has the operation {op}, which this version of spikestore does not know"
                    raise newer_format(document, problem, path=path) from None
            raise

    @classmethod
    def from_store(cls, data: bytes, *, path: str, transform_key: str, source_key: str) -> Self:
        """Parse a manifest and compare the keys of its specs with the keys in its path.

        Raises
        ------
        DamagedError
            The manifest is damaged, or belongs to another feature set.
        NewerFormatError
            The manifest has a newer format or an unknown operation.
        """
        manifest = cls.from_bytes(data, path=path)
        if (manifest.transform.key, manifest.source.key) != (transform_key, source_key):
            raise DamagedError(
                f"{path} describes another feature set ({manifest.transform.key[:12]}/{manifest.source.key[:12]})",
                path=path,
                objects=(path,),
            )
        return manifest


def _operations_of(document: dict[str, Any]) -> Iterator[str]:
    """Yield the names of a manifest's operations, also if the manifest does not fit the model; values that are not names are left out."""
    transform = document.get("transform")
    operations = transform.get("operations") if isinstance(transform, dict) else None
    for operation in operations if isinstance(operations, list) else []:
        op = operation.get("op") if isinstance(operation, dict) else None
        if isinstance(op, str) and re.fullmatch("[a-z0-9_]{1,63}", op):
            yield op
