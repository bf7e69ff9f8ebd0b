"""A map-style data set with the samples of a feature set, for scripts that use a DataLoader."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any, Never

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import frame_byte_limit, refuse_giant_frames
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import callables, refuse_arguments, whole_number
from spikestore.train.data.frames.padding import checked_padding, truncated
from spikestore.train.data.packed import PackedColumns, pack, refuse_other_than_features
from spikestore.train.data.placement import set_label
from spikestore.train.data.rebinning.rebinned_set import rebinned
from spikestore.train.data.subsets import packed_positions, subset_rows

_OF_THE_DATALOADER = {
    name: "pass it to the DataLoader that uses the data set"
    for name in inspect.signature(DataLoader).parameters
    if name != "dataset"
}
"""Arguments of torch's DataLoader."""


class FeatureDataset(Dataset[tuple[Any, Any]]):
    """Map-style data set with the samples of a feature set; it replaces ``tonic.datasets.SSC(…, transform=dense_transform)``.

    Items are (frames, label) as in Tonic: frames of shape (time, polarity, [y,] x), and an int64 class number. Counts are
    int16, or int64 in all items if a count of an item does not fit int16; real numbers are float32. Skipped recordings are left out,
    so item numbers may differ from rows of the set. The attribute `rows` has the row of each item. `targets` and
    `column` have one value for each item. If `hold_out` and `rows_where` are called with the data set, they return item
    numbers.

    The constructor loads the whole set into packed arrays. A data set holds no thread, no lock and no Rust object, so
    it works in a DataLoader with any number of workers and any start method.

    Parameters
    ----------
    features : FeatureSet or PackedColumns
        The set.
    transform : callable, optional
        Applied to the frames of each item.
    target_transform : callable, optional
        Applied to the label of each item.
    rows : integer or bool array or tensor, or str, optional
        Rows of the set: their numbers, a mask of shape (rows of the set,), or ``PARTITION:PART`` of a partition in the
        store, as in `FeatureLoader`. Items are in the order of the set.
    rebin : tuple of int and int, optional
        Numbers of neighbouring time bins and of neighbouring channels to sum, as in `FeatureLoader`; not with `PackedColumns`.
    progress : callable, optional
        Called during loading as ``progress(samples_done, samples_total, label)``.
    pad_to : int, optional
        Time bins of every item; by default, an item has the time bins of its sample. A longer sample is an error.
    pad_at_least : int, optional
        Minimum number of time bins of an item: shorter samples are padded, longer samples keep their length. Not with
        `pad_to`.
    truncate_to : int, optional
        Keep only the first `truncate_to` time bins of each sample. ``column("n_bins")`` has the lengths after the cut.
    max_frame_bytes : int, optional
        Limit of the frames of an item in bytes; a larger item is an error when it is read. By default 4 GiB, or half of this
        machine's memory if that is less.

    Raises
    ------
    UsageError
        `features` is not a set, or does not fit into memory; `rows` has numbers that are not rows of the set, has duplicates,
        selects no sample, or names a partition that the store does not have; `rebin`, `pad_to`, `pad_at_least`
        or `truncate_to` is invalid for the set; a transform is not callable; or an argument belongs to
        torch's DataLoader.
    TypeError
        A keyword argument is unknown.
    DamagedError
        Stored data differ from the committed data; the message names the object.

    Examples
    --------
    >>> features = Store("store")["ssc-100ch-4ms:train"]                     # doctest: +SKIP
    >>> dense_dataset = FeatureDataset(features)                             # doctest: +SKIP
    >>> loader = DataLoader(dense_dataset, **dataloader_kwargs)              # doctest: +SKIP
    """

    def __init__(
        self,
        features: FeatureSet | PackedColumns,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        rows: npt.ArrayLike | None = None,
        rebin: tuple[int, int] | None = None,
        progress: Progress | None = None,
        pad_to: int | None = None,
        pad_at_least: int | None = None,
        truncate_to: int | None = None,
        max_frame_bytes: int | None = None,
        **others: Never,
    ) -> None:
        refuse_arguments(
            "FeatureDataset", others, _OF_THE_DATALOADER, inspect.signature(FeatureDataset).parameters
        )
        callables("transform", transform, "a function of frames")
        callables("target_transform", target_transform, "a function of the label")
        if not isinstance(features, PackedColumns):
            refuse_other_than_features(features)
            features = rebinned(features, rebin)
            rows = None if rows is None else subset_rows(features, rows)
            self._padding = checked_padding(
                pad_to, pad_at_least, truncate_to, longest=features.manifest.n_bins, of=set_label(features)
            )
            features = pack(features, progress)
        elif rebin is not None:
            raise UsageError("rebin needs a FeatureSet: pass the set instead of PackedColumns", field="rebin")
        else:
            longest = int(features.n_bins.max(initial=0))
            self._padding = checked_padding(pad_to, pad_at_least, truncate_to, longest=longest)
        columns = features.take(packed_positions(features, rows))
        self.columns = truncated(columns, self._padding.truncate_to, columns.site_count)
        self._dtype = _frame_dtype(self.columns.value)
        if max_frame_bytes is not None:
            max_frame_bytes = whole_number("max_frame_bytes", max_frame_bytes, 1)
        self._most_bytes = frame_byte_limit(max_frame_bytes)
        self.transform = transform
        self.target_transform = target_transform

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of labels: index i is the name of label i."""
        return self.columns.classes

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Number of each item's row in the feature set: int64, shape (items,)."""
        return self.columns.rows

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Label of each item, before `target_transform`: int64, shape (items,)."""
        return self.columns.label

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column with one value for each item, such as ``label``, ``speaker`` or ``n_events``.

        Raises
        ------
        UsageError
            No column has that name.
        """
        return self.columns.column(name)

    def __repr__(self) -> str:
        frames = f"{np.dtype(self._dtype).name} (time, {', '.join(map(str, self.columns.sites))})"
        return f"<FeatureDataset: {plural(len(self), 'item')} of frames {frames}, {plural(len(self.classes), 'class')}>"

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, item: int) -> tuple[Any, Any]:
        columns, position = self.columns, operator.index(item)
        if not -len(self) <= position < len(self):
            raise IndexError(f"item must be from {-len(self)} to {len(self) - 1}, got {item}")
        position %= len(self)
        non_zeros = slice(*columns.offsets[position : position + 2])
        own = int(columns.n_bins[position])
        n_bins = self._padding.bins(own)
        needed = n_bins * columns.site_count * np.dtype(self._dtype).itemsize
        row, of = int(columns.rows[position]), self._padding.of
        refuse_giant_frames(row, own, needed, self._most_bytes, padded_to=n_bins, of=of)
        flat = np.zeros(n_bins * columns.site_count, self._dtype)
        flat[columns.index[non_zeros]] = columns.value[non_zeros]
        frames: Any = flat.reshape(n_bins, *columns.sites)
        label: Any = columns.label[position]
        if self.transform is not None:
            frames = self.transform(frames)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return frames, label


def _frame_dtype(value: npt.NDArray[Any]) -> type[np.generic]:
    """Return the dtype of all items: float32 for real numbers; for counts, Tonic's int16 if all counts fit, otherwise int64."""
    if value.dtype.kind == "f":
        return np.float32
    return np.int16 if value.max(initial=0) <= np.iinfo(np.int16).max else np.int64
