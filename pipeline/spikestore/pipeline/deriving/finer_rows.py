"""Computing rows of a coarse set from rows of a finer set of the same source, in a task; the recordings are not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from spikestore.pipeline.growing.former_rows import FormerRows, RowRun
from spikestore.store.columns.digest import block_digests
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet
from spikestore.store.rebinning.rebinning import Rebinning
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, Layout


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FinerRows(FormerRows):
    """Rows of a new set that can be computed from the rows of one finer set (a set with more time bins or channels).

    Attributes
    ----------
    rebinning : Rebinning
        How the cells of the finer set are summed.
    layout : Layout
        Layout of the new set.
    compiled : bool
        Whether a compiled loop sums the cells.
    compares_digests : bool
        Whether rows of the finer set are also compared with the digests of their blocks. True if the finer set is in an upstream
        (another store), because upstreams are not trusted.
    """

    kind: ClassVar[str] = "the finer set"
    derives: ClassVar[bool] = True
    share_of_time: ClassVar[float] = 1.0
    """Deriving a row takes about as long as reading its recording (measured by ``python -m benchmarks.transforms --rows derive``)."""
    rebinning: Rebinning
    layout: Layout
    compiled: bool
    compares_digests: bool

    @property
    def finer(self) -> FeatureSet:
        """The finer set: it has more time bins or channels than the new set, and its values are summed."""
        return self.sets[0].features

    def describe(self) -> str:
        """Return a text that names the finer set (the set whose cells are summed) by the beginnings of its keys and of its digest.

        If the set is in an upstream, the text also has the location of the upstream.
        """
        where = f" in {self.finer.storage.url}" if self.compares_digests else ""
        return f"the finer set {super(FinerRows, self).describe()}{where}"

    @property
    def provenance(self) -> dict[str, Any]:
        """What the manifest of the new set records about the finer set."""
        return {"transform_key": self.finer.address.transform_key, "digest": self.finer.digest}

    def read(self, rows: range) -> tuple[list[RowRun], list[str]]:
        """Return the rows of the range `rows` that can be computed from the finer set; see `FormerRows.read`.

        Both sets have the same source, so labels and the reader's columns are already right for the new set.
        """
        runs, problems = FormerRows.read(self, rows)
        return [
            RowRun(first, self.rebinning.rows(columns, self.layout, compiled=self.compiled))
            for first, columns in runs
        ], problems

    def _rows_of(self, features: FeatureSet, start: int, stop: int) -> SampleColumns:
        """Return the rows `start` to `stop` - 1, which are in one fragment.

        If ``self.compares_digests`` is true, the digests of the blocks with these rows are computed. If they differ from the
        fragment's record, `DamagedError` is raised.
        """
        if not self.compares_digests:
            return features.read(start, stop)
        size = features.manifest.fragment_samples
        fragment, inside = divmod(start, size)
        first_block, end_block = inside // BLOCK, -(-(inside + stop - start) // BLOCK)
        first = fragment * size + first_block * BLOCK
        columns = features.read(first, min(fragment * size + end_block * BLOCK, len(features)))
        if (
            tuple(block_digests(columns, features.layout))
            != features.record(fragment).blocks[first_block:end_block]
        ):
            raise DamagedError(
                f"fragment {fragment} of {features.data_path} in {features.storage.url} contradicts its record: do not trust this store"
            )
        return columns.rows(start - first, stop - first)
