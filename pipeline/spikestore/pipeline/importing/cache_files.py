"""Files of a cache that Tonic's ``DiskCachedDataset`` wrote: one HDF5 file ``INDEX_COPY.hdf5`` for each item.

A file has the datasets ``data/0`` (the frames) and ``target/0`` (the label). It does not say which transform made the frames, so their
shapes and counts are compared with the transform that the user states.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files.hdf5 import HDF5_ERRORS, fault_of_system, one_line, open_hdf5
from spikestore.store_schemas.errors import LayoutError, SourceNotFoundError
from spikestore.store_schemas.specs.transform import Transform
from spikestore.store_schemas.wording import plural

_NAME = re.compile(r"(0|[1-9][0-9]*)_(0|[1-9][0-9]*)\.hdf5")
_EXPECTED = "expected the HDF5 file of one item, as tonic.DiskCachedDataset writes it"
_REMEDY = "delete the file, and read this item of the DiskCachedDataset again, which writes a new file"
_LARGEST_COUNT = 2**32 - 2


class CachedSample(NamedTuple):
    """The frames of one item, as non-zeros, and its target.

    Attributes
    ----------
    indices, values : integer arrays, shape (non-zeros,)
        `indices` has the place of each non-zero: its row-major index over the axes of the frames, in ascending order. `values`
        has the counts. In results of `read_sample`, the dtype is int64; samples that an import keeps in memory have smaller
        dtypes.
    n_bins : int
        Number of frames.
    has_y : bool
        Whether the frames have an axis y.
    target : int or str
        Number or name of the class.
    """

    indices: npt.NDArray[Any]
    values: npt.NDArray[Any]
    n_bins: int
    has_y: bool
    target: int | str


def list_cache(folder: Path) -> list[str]:
    """Return the names of a cache's files, in the order of the items.

    Raises
    ------
    SourceNotFoundError
        `folder` does not exist, or is not a folder.
    LayoutError
        The folder is not a cache, an item is missing, or there are several copies of an item.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise SourceNotFoundError(f"the cache {folder} {what}", path=str(folder))
    numbers = []
    for name in sorted(path.name for path in folder.iterdir()):
        if not name.endswith(".hdf5"):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise _wrong(
                folder / name,
                "is not a file of a DiskCachedDataset, whose files have names such as 0_0.hdf5 (INDEX_COPY.hdf5): move it to another folder",
            )
        if match[2] != "0":
            raise _wrong(
                folder / name,
                "is a second copy of an item. Copies (num_copies) are made for random transforms, whose results cannot be "
                "imported: fill a cache with num_copies=1 and without random transforms",
            )
        numbers.append(int(match[1]))
    if not numbers:
        raise _wrong(
            folder,
            "has no files INDEX_0.hdf5: pass the cache_path of a tonic.DiskCachedDataset (other caches cannot be imported)",
        )
    largest = max(numbers)
    if largest >= len(numbers):
        known = {*numbers}
        first = next(number for number in itertools.count() if number not in known)
        raise _wrong(
            folder,
            f"has {largest}_0.hdf5, but not {first}_0.hdf5 ({largest + 1 - len(numbers):,} of the items 0 to {largest} are "
            "missing): read every item of the DiskCachedDataset once, so that it writes the missing files",
        )
    return [f"{number}_0.hdf5" for number in range(len(numbers))]


def read_sample(path: Path, transform: Transform) -> CachedSample:
    """Return the sample in a file, after checking that the transform can have made its frames.

    Raises
    ------
    LayoutError
        The file is damaged or incomplete, has no frames or no label, or has frames that the transform cannot have made.
    SourceNotFoundError, SourceError
        The file cannot be read.
    """
    with open_hdf5(path, expected=_EXPECTED, remedy=_REMEDY) as file:
        try:
            frames = _only_dataset(file, "data", path)
            _compare_shape(frames, transform, path)
            cells = frames[()].reshape(-1)
            target = _target(_only_dataset(file, "target", path), path)
            n_bins, has_y = frames.shape[0], frames.ndim == 4
        except LayoutError:
            raise
        except HDF5_ERRORS as error:
            if (fault := fault_of_system(path, error)) is not None:
                raise fault from error
            raise _wrong(path, f"is damaged ({one_line(error)}): {_REMEDY}") from error
    indices = np.flatnonzero(cells).astype(np.int64, copy=False)
    return CachedSample(indices, _counts(cells[indices], transform, path), n_bins, has_y, target)


def _only_dataset(file: Any, name: str, path: Path) -> Any:
    """Return the only array of a group; raise an error if the group or the array is a link."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _wrong(path, f"has no group {name}, so it is incomplete: {_REMEDY}")
    members = [*file[name]]
    if members != ["0"]:
        raise _wrong(
            path,
            f"has {len(members)} arrays in {name}, expected one: import a cache whose items are (frames, target)",
        )
    if not isinstance(file[name].get("0", getlink=True), h5py.HardLink):
        raise _wrong(path, f"has a link instead of the array {name}/0, and links are not followed: {_REMEDY}")
    dataset = file[name]["0"]
    if not isinstance(dataset, h5py.Dataset):
        raise _wrong(
            path, f"has a group {name}/0 with several arrays: import a cache whose items are (frames, target)"
        )
    if dataset.external or dataset.is_virtual:
        raise _wrong(
            path,
            f"has an array {name}/0 whose values are in other HDF5 files, which spikestore does not read: {_REMEDY}",
        )
    return dataset


def _compare_shape(frames: Any, transform: Transform, path: Path) -> None:
    if frames.dtype.names is not None:
        raise _wrong(
            path,
            "has events, not frames: pass list(tonic.DiskCachedDataset(None, FOLDER)) to preprocess, with transform= and version=",
        )
    if frames.dtype.kind not in "biuf":
        raise _wrong(path, f"has an array of {frames.dtype}, but frames must be arrays of numbers")
    sites, frame = transform.sites(has_y=frames.ndim == 4), transform.to_frame
    if frames.shape[1:] != sites or (frames.ndim == 3 and frame.sensor_size[1] != 1):
        expected = ", ".join(map(str, transform.sites(has_y=frame.sensor_size[1] != 1)))
        raise _wrong(
            path,
            f"has the shape {frames.shape}, but the frames of the recipe have the shape (bins, {expected}): use the recipe whose transform "
            "filled the cache",
        )
    bins = frame.bins
    if (bins is not None and frames.shape[0] != bins) or frames.shape[0] > transform.max_bins:
        raise _wrong(
            path,
            f"has {plural(frames.shape[0], 'bin')}, but the recipe gives {'at most ' if bins is None else ''}{bins or transform.max_bins:,}: "
            "use the recipe whose transform filled the cache",
        )


def _counts(values: npt.NDArray[Any], transform: Transform, path: Path) -> npt.NDArray[np.int64]:
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        wrong = values[~(np.isfinite(values) & (values == np.rint(values)))][0]
        raise _wrong(
            path,
            f"has the value {wrong:g}, but counts of events are whole numbers: fill the cache with ToFrame alone",
        )
    largest = _LARGEST_COUNT if transform.max_count is None else transform.max_count
    outside = (values < 0) | (values > largest)
    if outside.any():
        wrong = values[outside][0]
        why = (
            "counts cannot be negative (Tonic's frames are int16, so a count above 32,767 overflows)"
            if wrong < 0
            else f"the recipe allows at most {largest:,}"
        )
        raise _wrong(path, f"has the count {wrong:g}, but {why}")
    return values.astype(np.int64)


def _target(dataset: Any, path: Path) -> int | str:
    value = dataset[()]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if np.ndim(value) or not isinstance(value, np.integer) or not 0 <= value < 2**31:
        what = (
            f"shape {np.shape(value)}"
            if np.ndim(value)
            else repr(value.item() if hasattr(value, "item") else value)
        )
        raise _wrong(path, f"has a target of {what}: a label is one whole number from 0, or a text")
    return int(value)


def _wrong(path: Path, what: str) -> LayoutError:
    return LayoutError(f"{path} {what}", path=str(path))
