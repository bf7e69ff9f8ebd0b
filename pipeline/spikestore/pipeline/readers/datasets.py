"""Datasets by name: which files each split has, where they may lie, and which reader opens them.

Imports no reader and no HDF5 before `open_reader`: a run that finds everything in the store needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.split_files import FileTree, NamedFiles, SplitFiles
from spikestore.store.machine import expand_home
from spikestore.store_schemas.errors import (
    SourceChangedError,
    SourceNotFoundError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that can be read.

    Attributes
    ----------
    reader : str
        Name of the reader, as in ``Source.reader``.
    reader_version : int
        Version of its results.
    splits : mapping of str to SplitFiles
        Where the files of each split are.
    """

    reader: str
    reader_version: int
    splits: Mapping[str, SplitFiles]

    @property
    def file_per_recording(self) -> bool:
        """Whether recording i is file i of the source."""
        return all(isinstance(files, FileTree) for files in self.splits.values())


def _cochlea(*names: str) -> Dataset:
    splits = {name.split("_")[1]: NamedFiles((f"{name}.h5",)) for name in names}
    return Dataset("cochlea-hdf5", 1, splits)


def _digits(folder: str) -> FileTree:
    # Tonic calls the download train.zip, its authors Train.zip.
    return FileTree(
        folder, ".bin", (f"{folder.lower()}.zip", f"{folder}.zip"), tuple(str(digit) for digit in range(10))
    )


def _gestures(folder: str) -> FileTree:
    return FileTree(folder, ".npy", (f"{folder}.tar.gz",))


DATASETS: Mapping[str, Dataset] = {
    "DVSGesture": Dataset(
        "dvsgesture-npy", 1, {"train": _gestures("ibmGestureTrain"), "test": _gestures("ibmGestureTest")}
    ),
    "NMNIST": Dataset("nmnist-bin", 1, {"train": _digits("Train"), "test": _digits("Test")}),
    "SHD": _cochlea("shd_train", "shd_test"),
    "SSC": _cochlea("ssc_train", "ssc_valid", "ssc_test"),
}
"""The known datasets under their names in `tonic.datasets`."""


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
        splits = dataset.splits.values()
        there = [path for root in _roots(name, base) for files in splits for path in files.present(root)]
        if there:
            found[name] = there
    if not found:
        wanted = [(name, list(dataset.splits.values())) for name, dataset in DATASETS.items()]
        names = "; ".join(f"{name} has {', '.join(map(str, splits))}" for name, splits in wanted)
        hint = "".join(_archive_hint(_roots(name, base), splits) for name, splits in wanted)
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
        Row of the first file, where `source` is a part of one with a file per recording (`LocatedSource.part`).

    Raises
    ------
    UnknownNameError
        No such dataset.
    UsageError
        This version of spikestore reads the dataset in another way than the source says.
    SourceNotFoundError
        A file is not there.
    SourceChangedError
        A file has another size than the source says. (With a file per recording, both are noticed when it is
        read: there may be 60,000 of them.)
    LayoutError
        A file is not in the expected layout.
    """
    dataset = dataset_named(source.dataset)
    here = (dataset.reader, dataset.reader_version)
    if (source.reader, source.reader_version) != here:
        raise UsageError(
            f"{source.dataset}/{source.split} is to be read by {source.reader} version {source.reader_version}, "
            f"this spikestore has {here[0]} version {here[1]}: make the source again with it"
        )
    # Imported here, because a run with nothing to read needs none of them.
    if dataset.reader == "nmnist-bin":
        from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader

        return NMNISTReader(root, source.files, first_row=first_row, limit=source.limit)
    if dataset.reader == "dvsgesture-npy":
        from spikestore.pipeline.readers.event_files.dvsgesture import DVSGestureReader

        return DVSGestureReader(root, source.files, first_row=first_row, limit=source.limit)
    from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader

    (file,) = source.files
    path = root / file.name
    if not path.is_file():
        raise SourceNotFoundError(f"{path} does not exist", path=str(path))
    if (size := path.stat().st_size) != file.size:
        raise SourceChangedError(
            f"{path} has {size} bytes, the source says {file.size}: it changed since it was hashed, run again",
            path=str(path),
        )
    return CochleaReader(path, limit=source.limit)


def _existing(folder: Path | str) -> Path:
    try:
        base = expand_home(folder).absolute()
        there, is_folder = base.exists(), base.is_dir()
    except (OSError, UsageError) as error:  # no permission, too long a name; ~ of nobody
        raise SourceNotFoundError(
            f"the data folder {folder} can't be looked at: {error}", path=str(folder)
        ) from error
    if not is_folder:
        what = "is not a folder: give the folder that it lies in" if there else "does not exist"
        raise SourceNotFoundError(f"the data folder {base} {what}", path=str(base))
    return base


def _roots(dataset: str, base: Path) -> tuple[Path, Path]:
    return base / dataset, base


def _archive_hint(roots: Iterable[Path], splits: Iterable[SplitFiles]) -> str:
    """Say what to unpack."""
    there = [str(archive) for root in roots for files in splits for archive in files.archives(root)]
    return f"; unpack {', '.join(there)} first" if there else ""


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    names = list(known)
    hint = did_you_mean(name, names) or ";"
    return UnknownNameError(
        f"no {what} is called {name!r}{hint} known: {', '.join(names)}", name=name, known=tuple(names)
    )
