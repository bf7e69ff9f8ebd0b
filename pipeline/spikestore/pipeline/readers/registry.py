"""Registry of data sets, built-in and of other packages: find files, open readers.

A data set is one module; see `spikestore.pipeline.readers.dataset`. HDF5 is imported by `open_reader` only: a run that finds
everything in the store does without.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from spikestore.pipeline.readers.cochlea_files.datasets import SHD, SSC
from spikestore.pipeline.readers.cochlea_files.ntidigits import NTIDIGITS18
from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.event_files.asldvs import ASLDVS
from spikestore.pipeline.readers.event_files.dvsgesture import DVSGESTURE
from spikestore.pipeline.readers.event_files.dvslip import DVSLIP
from spikestore.pipeline.readers.event_files.ncaltech101 import NCALTECH101
from spikestore.pipeline.readers.event_files.ncars import NCARS
from spikestore.pipeline.readers.event_files.nmnist import NMNIST
from spikestore.pipeline.readers.event_files.pokerdvs import POKERDVS
from spikestore.pipeline.readers.event_files.stmnist import STMNIST
from spikestore.pipeline.readers.folder.folder_reader import FOLDER
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
"""Entry points of this group, each a `Dataset` under its own name, add data sets of other packages."""

_BUILT_IN = (ASLDVS, DVSGESTURE, DVSLIP, NCALTECH101, NCARS, NMNIST, NTIDIGITS18, POKERDVS, SHD, SSC, STMNIST)

DATASETS: Mapping[str, Dataset] = {dataset.name: dataset for dataset in _BUILT_IN}
"""Built-in data sets, under their names in `tonic.datasets` if Tonic has them."""


def dataset_named(name: str) -> Dataset:
    """Return the data set of that name.

    Raises
    ------
    UnknownNameError
        There is none; the message has the nearest and all names.
    UsageError
        A package registers it, and it can't be loaded; or two packages do.
    """
    if name == FOLDER.name:
        return FOLDER
    if name in DATASETS:
        return DATASETS[name]
    registered = _entry_points()
    if name not in registered:
        raise _unknown("dataset", name, [*DATASETS, *registered, FOLDER.name])
    return _load(name)


def readable_datasets() -> list[Dataset]:
    """Return all data sets; those of other packages that cannot be loaded are reported and skipped."""
    datasets = list(DATASETS.values())
    for name in _entry_points():
        try:
            datasets.append(_load(name))
        except UsageError as error:
            logger.warning("%s", error)
    return datasets


@functools.cache
def _entry_points() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return data sets of other packages by name; those with the name of a built-in one are reported and skipped."""
    registered: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in DATASETS or entry.name == FOLDER.name:
            logger.warning(
                "the package %s registers a data set %s, which spikestore reads itself: its own is used",
                package_of(entry),
                entry.name,
            )
        else:
            registered[entry.name] = (*registered.get(entry.name, ()), entry)
    return dict(sorted(registered.items()))


@functools.cache
def _load(name: str) -> Dataset:
    """Return a data set of another package, whose reader is called after the package: two packages can't share a key."""
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
    """Return the names of a dataset's splits, training first.

    Raises
    ------
    UnknownNameError
        No such dataset.
    """
    return tuple(dataset_named(dataset).splits)


def find_dataset(folder: Path | str) -> str:
    """Return the name of the dataset whose files lie in a folder.

    Parameters
    ----------
    folder : pathlib.Path or str
        Tonic's ``save_to``, or the folder with the files themselves.

    Raises
    ------
    SourceNotFoundError
        No file of a known dataset is there.
    UsageError
        Files of more than one are; the message lists them.
    """
    base = _existing(folder)
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
            f"no files of a known dataset in {base}, nor in a folder with its name below it{hint}{listing}\n"
            f'for recordings of your own, write a recipe with dataset = "{FOLDER.name}" (docs/own_recordings.md)',
            path=str(base),
        )
    if len(present) > 1:
        listing = "".join(f"\n  {name}: {', '.join(map(str, files))}" for name, files in present.items())
        raise UsageError(
            f"{base} holds files of {' and '.join(present)}: name the folder of the one you mean, "
            f"or the dataset in a recipe{listing}",
            path=str(base),
            candidates=tuple(present),
        )
    return next(iter(present))


def dataset_files(dataset: str, split: str, folder: Path | str) -> tuple[Path, list[str]]:
    """Find the files of one split.

    Parameters
    ----------
    dataset, split : str
        Their names.
    folder : pathlib.Path or str
        Tonic's ``save_to`` (the files lie in ``folder/SSC``), or the folder with the files themselves; the first
        goes before. ``~`` is the home folder.

    Returns
    -------
    root : pathlib.Path
        The dataset's folder, absolute.
    names : list of str
        Files relative to it, sorted: the same whichever folder was given.

    Raises
    ------
    UnknownNameError
        No such dataset or split.
    SourceNotFoundError
        The folder or a file is not there; the message says where it was looked for.
    SourceError
        A folder can't be listed.
    """
    splits = dataset_named(dataset).splits
    if split not in splits:
        raise _unknown(f"split of {dataset}", split, splits)
    files = splits[split]
    base = _existing(folder)
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
    """Open the files of a source.

    Parameters
    ----------
    source : Source
        What to read; its ``limit`` is honoured, ``sort`` and ``on_error`` are the caller's business.
    root : pathlib.Path
        The dataset's folder, which the source's names are relative to.
    first_row : int
        Row of the first file, if `source` is a part of a source with one file per recording (`LocatedSource.part`).

    Raises
    ------
    UnknownNameError
        No such dataset.
    UsageError
        The source was described for another version of the reader.
    SourceNotFoundError
        A file is missing.
    SourceChangedError
        A file has another size than in the source. (With one file per recording, perhaps 60,000 files, a missing or
        changed file is noticed only when it is read.)
    LayoutError
        A file is not in the expected layout.
    """
    dataset = dataset_named(source.dataset)
    installed = (dataset.reader, dataset.reader_version)
    if (source.reader, source.reader_version) != installed:
        raise UsageError(
            f"{source.dataset}/{source.split} is to be read by {source.reader} version {source.reader_version}, "
            f"this spikestore has {installed[0]} version {installed[1]}: make the source again with it"
        )
    return dataset.open(source, root, first_row)


def _existing(folder: Path | str) -> Path:
    try:
        base = absolute_path(folder)
        exists, is_folder = base.exists(), base.is_dir()
    except (OSError, UsageError) as error:  # no permission, too long a name; ~ of nobody
        raise SourceNotFoundError(
            f"cannot read the data folder {folder}: {error}", path=str(folder)
        ) from error
    if not is_folder:
        what = "is not a folder: pass its parent folder" if exists else "does not exist"
        raise SourceNotFoundError(f"the data folder {base} {what}", path=str(base))
    return base


def _roots(dataset: str, base: Path) -> tuple[Path, Path]:
    return base / dataset, base


def _archive_hint(roots: Iterable[Path], splits: Iterable[SplitFiles]) -> str:
    """Return a hint that names archives to unpack, or an empty text."""
    archives = [str(archive) for root in roots for files in splits for archive in files.archives(root)]
    return f"; unpack {', '.join(archives)} first" if archives else ""


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    names = list(known)
    hint = did_you_mean(name, names) or ";"
    return UnknownNameError(
        f"no {what} is called {name!r}{hint} known: {', '.join(names)}", name=name, known=tuple(names)
    )
