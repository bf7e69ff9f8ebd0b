"""``export``: write feature sets into a folder of plain files."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from spikestore.pipeline.exporting.array_files import write_hdf5, write_zarr
from spikestore.pipeline.exporting.dense_files import write_class_folders, write_shards
from spikestore.pipeline.exporting.description import SplitToWrite, describe, meanings, readme
from spikestore.store import FeatureSet
from spikestore.store.machine import absolute_path
from spikestore.store.progress import Progress, UnlabelledProgress, labelled
from spikestore.store.storage.system_calls import sync_all
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.model import NAME

ExportForm = Literal["zarr", "npz", "hdf5", "webdataset"]


class _Form(NamedTuple):
    write: Callable[[SplitToWrite], None]
    sparse: bool
    layout: str
    """Text for the README about the names of the files and folders, and how to read them."""


_FORMS: Mapping[str, _Form] = {
    "zarr": _Form(
        write_zarr,
        True,
        "SPLIT.zarr is a Zarr v3 group. Its arrays contain the non-zeros of all samples, one sample after another, as the rows\n"
        "of a CSR matrix; the attributes of the group describe the set:",
    ),
    "hdf5": _Form(
        write_hdf5,
        True,
        "SPLIT.h5 is an HDF5 file. Its data sets contain the non-zeros of all samples, one sample after another, as the rows of\n"
        "a CSR matrix; the data set 'classes' contains the class names, and the attributes of the file describe the set:",
    ),
    "npz": _Form(
        write_class_folders,
        False,
        "SPLIT/NUMBER-CLASS/ROW.npz is a sample. Programs that number the sorted folders, such as torchvision's and\n"
        "SpikingJelly's DatasetFolder, give each class this NUMBER. Each file contains:",
    ),
    "webdataset": _Form(
        write_shards,
        False,
        "Each SPLIT-NUMBER.tar is a shard for WebDataset. Each sample consists of ROW.cls (the class number, as text) and\n"
        "ROW.npz. A hash of the row number chose the shard, so each shard is a random share of the set. ROW.npz contains:",
    ),
}


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes
    ----------
    folder : Path
        Absolute path of the folder.
    form : str
        Name of the form.
    samples : mapping of str to int
        Number of samples in each split; skipped recordings are not counted.
    nbytes : int
        Size of all files, in bytes.
    """

    folder: Path
    form: str
    samples: Mapping[str, int]
    nbytes: int


def export(
    features: FeatureSet | Mapping[str, FeatureSet],
    to: str | Path,
    form: ExportForm = "zarr",
    *,
    progress: Progress | None = None,
) -> Exported:
    """Write feature sets into a folder of plain files, which other programs read without spikestore.

    All rows are checked while they are read. The files are written into a temporary folder beside `to`. At the end, the
    temporary folder is renamed to `to`, so an interrupted export never looks complete. Skipped recordings are left out.
    docs/exports.md describes the forms.

    Parameters
    ----------
    features : FeatureSet or mapping of str to FeatureSet
        A set, or a mapping of splits to sets, such as ``Store.splits`` returns.
    to : str or Path
        Folder that does not exist, or is empty.
    form : {"zarr", "npz", "hdf5", "webdataset"}
        ``zarr`` and ``hdf5`` contain non-zeros, as a CSR matrix; ``npz`` and ``webdataset`` contain one file with dense frames
        for each sample.
    progress : callable, optional
        Called as ``progress(samples_done, samples_total, split)``.

    Returns
    -------
    Exported
        Folder, form, number of samples by split, and size in bytes.

    Raises
    ------
    UsageError
        The form does not exist; `features` has another type; the folder is not empty, is a file or a URL, or cannot be replaced;
        another export into the folder is running or was interrupted; or the frames of a sample are too large for a dense form.
    MissingExtraError
        The form is ``hdf5``, and h5py is not installed.
    StoreError
        A stored object is damaged or missing, or cannot be read; nothing is exported.
    OSError
        A file cannot be written, for example because the disk is full; nothing is exported.
    """
    given: object = features  # callers may pass other types
    sets = {features.manifest.source.split: features} if isinstance(features, FeatureSet) else features
    if form not in _FORMS:
        raise UsageError(f"form must be one of {', '.join(get_args(ExportForm))}, got {form!r}")
    if (
        not isinstance(given, FeatureSet | Mapping)
        or not sets
        or any(NAME.match(split) is None for split in sets)
    ):
        raise UsageError(
            f"pass a feature set, or a mapping from names of splits to feature sets, got {sets!r}"
        )
    chosen = _FORMS[form]
    descriptions = {split: describe(one) for split, one in sets.items()}
    arrays = {split: meanings(one, sparse=chosen.sparse) for split, one in sets.items()}
    with _new_folder(to) as (folder, temporary):
        for split, one in sets.items():
            report: UnlabelledProgress = labelled(progress, split) if progress else lambda done, total: None
            chosen.write(SplitToWrite(one, split, temporary, descriptions[split], arrays[split], report))
        text = readme(form, chosen.layout, descriptions, arrays)
        (temporary / "README.txt").write_text(text, encoding="utf-8")
        document = {
            "form": form,
            "splits": {split: {**descriptions[split], "arrays": arrays[split]} for split in sets},
        }
        (temporary / "description.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    samples = {split: facts["samples"] for split, facts in descriptions.items()}
    return Exported(folder, form, samples, size)


@contextlib.contextmanager
def _new_folder(to: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a new folder, and a temporary folder, which is renamed to this path at the end of the ``with`` block."""
    if "://" in str(to):
        raise UsageError(
            f"{to} is a URL, but an export needs a folder on this machine: pass a folder, and copy its files to the URL afterwards"
        )
    folder = absolute_path(to)
    if folder.is_symlink():
        folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.part")
    if folder.exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise UsageError(
                f"{folder} is {'not empty' if folder.is_dir() else 'a file'}: pass a new folder with --to",
                path=str(folder),
            )
        try:
            folder.rmdir()
        except OSError as error:
            raise UsageError(
                f"{folder} can't be replaced ({error.strerror}): pass --to with a new folder inside it, such as {folder / 'export'}",
                path=str(folder),
            ) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(
            f"{folder} is inside a file: pass another folder with --to", path=str(folder)
        ) from None
    try:
        temporary.mkdir()
    except FileExistsError:
        raise UsageError(
            f"{temporary} exists: an export was interrupted, or another export into {folder} is running. If no "
            f"export is running, delete {temporary} and run the command again",
            path=str(temporary),
        ) from None
    try:
        yield folder, temporary
        sync_all()  # before the name: after a power failure, an export is complete or absent
        temporary.rename(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(folder)  # a failed write, for example on a full disk, names no file
        raise
