"""Registry of built-in data sets and of data sets of other packages. Functions find the files of a data set and open readers.

See `spikestore.pipeline.readers.dataset`. Only `open_reader` imports HDF5, because a run that finds all feature sets in the
store does not need HDF5.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.folder.settings import FOLDER
from spikestore.pipeline.readers.packages import package_of
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.split_files import SplitFiles
from spikestore.store.machine import absolute_path
from spikestore.store_schemas.errors import (
    SourceNotFoundError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.wording import did_you_mean

logger = logging.getLogger(__name__)

GROUP = "spikestore.datasets"
"""Group of the entry points by which other packages add data sets; each refers to a `Dataset` of the same name."""

_MODULES = {
    "ASLDVS": "event_files.asldvs",
    "CIFAR10DVS": "event_files.cifar10dvs",
    "DVSGesture": "event_files.dvsgesture",
    "DVSLip": "event_files.dvslip",
    "NCALTECH101": "event_files.ncaltech101",
    "NCARS": "event_files.ncars",
    "NMNIST": "event_files.nmnist",
    "NTIDIGITS18": "cochlea_files.ntidigits",
    "POKERDVS": "event_files.pokerdvs",
    "SHD": "cochlea_files.datasets",
    "SSC": "cochlea_files.datasets",
    "STMNIST": "event_files.stmnist",
}
"""Modules of the built-in data sets; each has a constant with the data set's name in capital letters."""


class _BuiltIn(Mapping[str, Dataset]):
    """The built-in data sets; the module of a data set is imported when the data set is first used."""

    def __getitem__(self, name: str) -> Dataset:
        module = import_module(f"spikestore.pipeline.readers.{_MODULES[name]}")
        dataset: Dataset = getattr(module, name.upper())
        return dataset

    def __contains__(self, name: object) -> bool:
        return name in _MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


DATASETS: Mapping[str, Dataset] = _BuiltIn()
"""Built-in data sets by name, which is that of the class in `tonic.datasets` if Tonic has one."""


def dataset_named(name: str) -> Dataset:
    """Return the data set with this name.

    Raises
    ------
    UnknownNameError
        No data set has this name; the message suggests the most similar name and lists all names.
    UsageError
        The package that registers the data set cannot be loaded, or two packages register it.
    """
    if name == FOLDER:
        from spikestore.pipeline.readers.folder import folder_reader

        return folder_reader.FOLDER
    if name in DATASETS:
        return DATASETS[name]
    registered = _entry_points()
    if name not in registered:
        raise _unknown("dataset", name, [*DATASETS, *registered, FOLDER])
    return _load(name)


def readable_datasets() -> list[Dataset]:
    """Return all data sets except ``folder``. If a data set of another package cannot be loaded, it is reported and skipped."""
    datasets = list(DATASETS.values())
    for name in _entry_points():
        try:
            datasets.append(_load(name))
        except UsageError as error:
            logger.warning("%s", error)
    return datasets


@functools.cache
def _entry_points() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the data sets of other packages by name.

    If such a data set has the name of a built-in data set, it is reported and skipped.
    """
    registered: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in DATASETS or entry.name == FOLDER:
            logger.warning(
                "the package %s registers a data set %s, but spikestore has a data set of this name: the data set of spikestore is used",
                package_of(entry),
                entry.name,
            )
        else:
            registered[entry.name] = (*registered.get(entry.name, ()), entry)
    return dict(sorted(registered.items()))


@functools.cache
def _load(name: str) -> Dataset:
    """Return a data set of another package.

    In the result, the name of the reader begins with the name of the package, so sets of two packages never have the same key.
    """
    entry, *others = _entry_points()[name]
    package = package_of(entry)
    if others:
        packages = " and ".join(map(package_of, (entry, *others)))
        raise UsageError(f"the packages {packages} both register a data set {name}: uninstall one of them")
    try:
        dataset = entry.load()
        if not isinstance(dataset, Dataset) or dataset.name != name:
            raise TypeError(
                f"{entry.value} must be a spikestore.pipeline.readers.Dataset with the name of the entry point"
            )
        return dataclasses.replace(dataset, reader=f"{package}.{dataset.reader}")
    except Exception as error:
        raise UsageError(
            f"the data set {name} of the package {package} can't be loaded ({type(error).__name__}: {error}): "
            "update or uninstall the package"
        ) from error


def splits_of(dataset: str) -> tuple[str, ...]:
    """Return the names of a data set's splits, the training split first.

    Raises
    ------
    UnknownNameError
        The data set does not exist.
    UsageError
        The package that registers the data set cannot be loaded, or two packages register it.
    """
    return tuple(dataset_named(dataset).splits)


def find_dataset(folder: Path | str) -> str:
    """Return the name of the data set whose files a folder contains.

    Parameters
    ----------
    folder : pathlib.Path or str
        Tonic's ``save_to``, or the folder with the files themselves.

    Raises
    ------
    SourceNotFoundError
        The folder does not exist, or has no files of a known data set.
    UsageError
        The folder has files of several data sets; the message lists them.
    """
    base = existing_folder(folder)
    present: dict[str, list[Path]] = {}
    datasets = sorted(readable_datasets(), key=lambda dataset: dataset.name)
    for dataset in datasets:
        roots, splits = _roots(dataset.name, base), dataset.splits.values()
        paths = [path for root in roots for files in splits for path in files.present(root)]
        if paths:
            present[dataset.name] = paths
    if not present:
        wanted = [(dataset.name, list(dataset.splits.values())) for dataset in datasets]
        listing = "".join(
            f"\n  {name}: {', '.join(dict.fromkeys(map(str, splits)))}" for name, splits in wanted
        )
        hint = "".join(_archive_hint(_roots(name, base), splits) for name, splits in wanted)
        raise SourceNotFoundError(
            f"no files of a known dataset in {base}, nor in a subfolder with the name of a dataset{hint}{listing}\n"
            f'for recordings of your own, write a recipe with dataset = "{FOLDER}" (docs/own_recordings.md)',
            path=str(base),
        )
    if len(present) > 1:
        listing = "".join(f"\n  {name}: {', '.join(map(str, files))}" for name, files in present.items())
        raise UsageError(
            f"{base} holds files of {' and '.join(present)}: pass the folder of one data set, "
            f"or name the dataset in a recipe{listing}",
            path=str(base),
            candidates=tuple(present),
        )
    return next(iter(present))


def dataset_files(dataset: str, split: str, folder: Path | str) -> tuple[Path, list[str]]:
    """Return the files of one split, and the folder that contains them.

    Parameters
    ----------
    dataset, split : str
        Names of the data set and the split.
    folder : pathlib.Path or str
        Tonic's ``save_to``, which has the files in a subfolder that is named after the data set, such as ``folder/SSC``; or the
        folder with the files themselves. If both the folder and the subfolder have files, the subfolder takes precedence. ``~``
        is the home folder.

    Returns
    -------
    root : pathlib.Path
        Absolute path of the data set's folder.
    names : list of str
        Sorted paths of the files, relative to `root`.

    Raises
    ------
    UnknownNameError
        The data set or the split does not exist.
    UsageError
        The package that registers the data set cannot be loaded, or two packages register it.
    SourceNotFoundError
        The folder or a file does not exist; if a file is missing, the message lists the folders that were searched.
    SourceError
        A folder cannot be listed.
    """
    splits = dataset_named(dataset).splits
    if split not in splits:
        raise _unknown(f"split of {dataset}", split, splits)
    files = splits[split]
    base = existing_folder(folder)
    roots = _roots(dataset, base)
    for root in roots:
        if names := files.find(root):
            return root, names
    hint = _archive_hint(roots, [files])
    raise SourceNotFoundError(
        f"no {files} for {dataset}/{split}: looked in {roots[0]} and {roots[1]}{hint}",
        path=str(base),
        looked_in=tuple(map(str, roots)),
    )


def open_reader(source: Source, root: Path, *, first_row: int = 0) -> Reader:
    """Return an open reader of a source.

    Parameters
    ----------
    source : Source
        The source. Of its fields, the reader applies ``limit``, and the caller applies ``sort`` and ``on_error``.
    root : pathlib.Path
        The data set's folder; the names of the source's files are relative to it.
    first_row : int
        Row of the first file, if `source` is a part of a source with one file per recording (`LocatedSource.part`).

    Raises
    ------
    UnknownNameError
        The data set does not exist.
    UsageError
        The source was created for another reader or version, or the package that registers the data set cannot be loaded.
    SourceNotFoundError
        A file is missing.
    SourceChangedError
        The size of a file differs from the size in the source. If each recording is one file, the errors
        for a missing or changed file are raised only when the file is read.
    LayoutError
        A file does not have the expected layout.
    """
    dataset = dataset_named(source.dataset)
    installed = (dataset.reader, dataset.reader_version)
    if (source.reader, source.reader_version) != installed:
        raise UsageError(
            f"{source.dataset}/{source.split} needs the reader {source.reader} version {source.reader_version}, "
            f"but this version of spikestore has {installed[0]} version {installed[1]}: "
            "use the same version of spikestore in all processes; if this source was pickled, create it again with make_source"
        )
    return dataset.open(source, root, first_row)


def existing_folder(folder: Path | str) -> Path:
    """Return the absolute path of a data folder; raise `SourceNotFoundError` if there is no folder, or the path cannot be accessed."""
    try:
        base = absolute_path(folder)
        exists, is_folder = base.exists(), base.is_dir()
    except (OSError, UsageError) as error:  # no permission, a name that is too long, or ~ of an unknown user
        raise SourceNotFoundError(
            f"cannot read the data folder {folder}: {error}", path=str(folder)
        ) from error
    if not is_folder:
        what = (
            "is not a folder: pass the folder that contains the recordings"
            if exists
            else "does not exist: pass another --data, or change data = … under [source]"
        )
        raise SourceNotFoundError(f"the data folder {base} {what}", path=str(base))
    return base


def _roots(dataset: str, base: Path) -> tuple[Path, Path]:
    return base / dataset, base


def _archive_hint(roots: Iterable[Path], splits: Iterable[SplitFiles]) -> str:
    """Return a text that names archives to unpack, or an empty text."""
    archives = [str(archive) for root in roots for files in splits for archive in files.archives(root)]
    return f"; unpack {', '.join(archives)} first" if archives else ""


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    names = list(known)
    hint = did_you_mean(name, names) or ";"
    return UnknownNameError(
        f"no {what} is called {name!r}{hint} known: {', '.join(names)}", name=name, known=tuple(names)
    )
