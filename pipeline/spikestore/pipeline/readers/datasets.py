"""Datasets by name: which files each split has, where they may lie, and which reader opens them.

Imports no reader and no HDF5 before `open_reader`: a run that finds everything in the store needs neither.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.readers.reader import Reader
from spikestore.store_schemas.errors import (
    SourceChangedError,
    SourceNotFoundError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.source import Source


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that can be read.

    Attributes
    ----------
    reader : str
        Name of the reader, as in ``Source.reader``.
    reader_version : int
        Version of its results.
    splits : mapping of str to tuple of str
        Files of each split, relative to the dataset's folder, sorted.
    """

    reader: str
    reader_version: int
    splits: Mapping[str, tuple[str, ...]]


_COCHLEA = ("cochlea-hdf5", 1)

DATASETS: Mapping[str, Dataset] = {
    "SHD": Dataset(*_COCHLEA, {"train": ("shd_train.h5",), "test": ("shd_test.h5",)}),
    "SSC": Dataset(
        *_COCHLEA, {"train": ("ssc_train.h5",), "valid": ("ssc_valid.h5",), "test": ("ssc_test.h5",)}
    ),
}
"""The known datasets under their names in `tonic.datasets`."""

_ARCHIVES = (".zip", ".gz")


def dataset_named(name: str) -> Dataset:
    """Return the dataset of that name.

    Raises
    ------
    UnknownNameError
        There is none; the message has the nearest and all names.
    """
    if name not in DATASETS:
        raise _unknown("dataset", name, DATASETS)
    return DATASETS[name]


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
    found: dict[str, list[Path]] = {}
    for name, dataset in DATASETS.items():
        files = [path for path in _places(name, base, _all_files(dataset)) if path.is_file()]
        if files:
            found[name] = files
    if not found:
        wanted = [(name, _all_files(dataset)) for name, dataset in DATASETS.items()]
        names = "; ".join(f"{name} has {', '.join(files)}" for name, files in wanted)
        hint = "".join(_archive_hint(name, base, files) for name, files in wanted)
        raise SourceNotFoundError(
            f"no files of a known dataset in {base}, nor in {' or '.join(DATASETS)} below it ({names}){hint}",
            path=str(base),
        )
    if len(found) > 1:
        listing = "".join(f"\n  {name}: {', '.join(map(str, files))}" for name, files in found.items())
        raise UsageError(
            f"{base} holds files of {' and '.join(found)}: name the folder of the one you mean, "
            f"or the dataset in a recipe{listing}",
            path=str(base),
            candidates=tuple(found),
        )
    return next(iter(found))


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
    """
    splits = dataset_named(dataset).splits
    if split not in splits:
        raise _unknown(f"split of {dataset}", split, splits)
    names = list(splits[split])
    base = _existing(folder)
    roots = (base / dataset, base)
    for root in roots:
        if all((root / name).is_file() for name in names):
            return root, names
    hint = _archive_hint(dataset, base, names)
    raise SourceNotFoundError(
        f"no {' and '.join(names)} for {dataset}/{split}: looked in {roots[0]} and {roots[1]}{hint}",
        path=str(base),
        looked_in=tuple(map(str, roots)),
        names=tuple(names),
    )


def open_reader(source: Source, root: Path) -> Reader:
    """Open the files of a source.

    Parameters
    ----------
    source : Source
        What to read; its ``limit`` is honoured, ``sort`` and ``on_error`` are the caller's business.
    root : pathlib.Path
        The dataset's folder, which the source's names are relative to.

    Raises
    ------
    UnknownNameError
        No such dataset.
    UsageError
        This version of spikestore reads the dataset in another way than the source says.
    SourceNotFoundError
        A file is not there.
    SourceChangedError
        A file has another size than the source says.
    LayoutError
        A file is not in the expected layout.
    """
    from spikestore.pipeline.readers.cochlea import CochleaReader  # here, because it imports h5py

    dataset = dataset_named(source.dataset)
    here = (dataset.reader, dataset.reader_version)
    if (source.reader, source.reader_version) != here:
        raise UsageError(
            f"{source.dataset}/{source.split} is to be read by {source.reader} version {source.reader_version}, "
            f"this spikestore has {here[0]} version {here[1]}: make the source again with it"
        )
    paths = [root / file.name for file in source.files]
    for file, path in zip(source.files, paths, strict=True):
        if not path.is_file():
            raise SourceNotFoundError(f"{path} does not exist", path=str(path))
        if (size := path.stat().st_size) != file.size:
            raise SourceChangedError(
                f"{path} has {size} bytes, the source says {file.size}: it changed since it was hashed, run again",
                path=str(path),
            )
    (path,) = paths  # the only reader so far has one file a split
    return CochleaReader(path, limit=source.limit)


def _existing(folder: Path | str) -> Path:
    try:
        base = Path(folder).expanduser().absolute()
        there, is_folder = base.exists(), base.is_dir()
    except (OSError, RuntimeError) as error:  # no permission, too long a name; ~ of nobody
        raise SourceNotFoundError(
            f"the data folder {folder} can't be looked at: {error}", path=str(folder)
        ) from error
    if not is_folder:
        what = "is not a folder: give the folder that it lies in" if there else "does not exist"
        raise SourceNotFoundError(f"the data folder {base} {what}", path=str(base))
    return base


def _all_files(dataset: Dataset) -> list[str]:
    return [name for names in dataset.splits.values() for name in names]


def _places(dataset: str, base: Path, names: Iterable[str]) -> list[Path]:
    return [root / name for root in (base / dataset, base) for name in names]


def _archive_hint(dataset: str, base: Path, names: Iterable[str]) -> str:
    """Say what to unpack. Tonic wants a ``.zip`` beside each file, an empty one will do: those are no archives."""
    there = [
        archive
        for path in _places(dataset, base, names)
        for archive in (path.with_name(path.name + ending) for ending in _ARCHIVES)
        if archive.is_file() and archive.stat().st_size
    ]
    return f"; unpack {', '.join(map(str, there))} first" if there else ""


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    names = list(known)
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    hint = f", did you mean {by_lower[near[0]]}?" if near else ";"
    return UnknownNameError(
        f"no {what} is called {name!r}{hint} known: {', '.join(names)}", name=name, known=tuple(names)
    )
