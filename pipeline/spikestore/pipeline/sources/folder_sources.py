"""Sources of the data set ``folder``: finds the recordings, identifies them by content, and determines their fields."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spikestore.pipeline.readers.folder.folder_reader import FOLDER
from spikestore.pipeline.readers.folder.listing import list_folder
from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.readers.formats.clean_events import name_fields
from spikestore.pipeline.readers.formats.registry import format_named, format_of
from spikestore.pipeline.readers.registry import existing_folder
from spikestore.pipeline.sources.source_files import LocatedSource, identify_files
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import (
    LayoutError,
    SourceError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.column_values import is_part
from spikestore.store_schemas.specs.folder import RESERVED_COLUMNS, Decoding
from spikestore.store_schemas.specs.source import OnError, Source
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

_TRIED = 20
"""If bad recordings are skipped, at most this many recordings are read to find out which fields recordings have."""


def make_folder_sources(
    settings: FolderSettings,
    folder: Path | str,
    *,
    splits: Sequence[str] | None = None,
    sort: bool = False,
    on_error: OnError = "raise",
    limit: int | None = None,
    columns: Iterable[str] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, LocatedSource]:
    """Return the splits of a folder of recordings. The files of each split are hashed, and the hashes are part of the split's source key.

    Parameters
    ----------
    settings : FolderSettings
        Rules that select the recordings and determine their labels, splits and columns.
    folder : pathlib.Path or str
        The data folder.
    splits : sequence of str, optional
        Splits to return; all by default.
    sort, on_error, limit, columns, cache, progress
        See `spikestore.pipeline.sources.source_files.make_source`.

    Raises
    ------
    UnknownNameError
        A split, format, field or column does not exist, or a column has a name that is reserved in sets.
    SourceNotFoundError
        The folder, its table or a file does not exist.
    LayoutError
        Files, labels or fields do not fit the settings.
    MissingExtraError
        A library that a file needs is not installed.
    SourceChangedError, SourceError, SpecError
        See `spikestore.pipeline.sources.source_files.make_source`.
    """
    root = existing_folder(folder)
    asked = sorted(set(columns))
    reserved = [name for name in asked if name in RESERVED_COLUMNS or is_part(name)]
    if reserved:
        raise UnknownNameError(
            f"a column cannot be stored under the name {reserved[0]!r}, which has another meaning in a set: rename the column in the table or the pattern",
            name=reserved[0],
        )
    listing = list_folder(root, settings, asked)
    for split in splits or ():
        if split not in listing.splits:
            raise UnknownNameError(
                f"the folder {root} has no split {split!r}; its splits are {', '.join(listing.splits)}",
                name=split,
                known=tuple(listing.splits),
            )
    decoding = Decoding(
        formats={name: format_named(name).version for name in listing.formats},
        fields=("t", "x"),
        order=settings.fields,
        names=settings.names,
        time_unit=settings.time_unit,
        offset=settings.offset,
        clock_bits=settings.clock_bits,
    )
    files = sorted(file for split in listing.splits.values() for file in split.files)
    fields = _fields(root, files[: _TRIED if on_error == "skip" else 1], decoding)
    decoding_mapping = {**decoding.to_mapping(), "fields": fields}
    located = {}
    for split in splits or tuple(listing.splits):
        own = listing.splits[split]
        identified, stamps = identify_files(
            root, own.files, f"{FOLDER.name}/{split}", cache=cache, progress=progress
        )
        source = Source.from_mapping(
            {
                "reader": FOLDER.reader,
                "reader_version": FOLDER.reader_version,
                "dataset": FOLDER.name,
                "split": split,
                "sort": sort,
                "on_error": on_error,
                "limit": limit,
                "files": identified,
                **({"columns": sorted(own.columns)} if asked else {}),
                "folder": {
                    "decoding": decoding_mapping,
                    "classes": listing.classes,
                    "labels": own.labels,
                    "columns": own.columns,
                },
            },
            origin=f"source {FOLDER.name}/{split}",
        )
        located[split] = LocatedSource(source, root, stamps)
    _warn_of_copies(located)
    counts = ", ".join(f"{name} {len(split.files):,}" for name, split in listing.splits.items())
    logger.info("%s: %s; recordings: %s", root, plural(len(listing.classes), "class"), counts)
    return located


def _warn_of_copies(located: Mapping[str, LocatedSource]) -> None:
    """Log a warning if recordings of equal content are in two splits, or have two labels."""
    first: dict[str, tuple[str, str, int]] = {}
    across: list[str] = []
    relabelled: list[str] = []
    for split, one in located.items():
        labels = one.source.folder.labels if one.source.folder is not None else ()
        for file, label in zip(one.source.files, labels, strict=True):
            name, other_split, other_label = first.setdefault(file.sha256, (file.name, split, label))
            if other_split != split:
                across.append(f"{name} and {file.name}")
            if other_label != label:
                relabelled.append(f"{name} and {file.name}")
    for pairs, what in ((across, "are in different splits"), (relabelled, "have different labels")):
        if pairs:
            logger.warning(
                "recordings with equal content %s: %s (%s)", what, pairs[0], plural(len(pairs), "such pair")
            )


def locate_recorded(source: Source, folder: Path | str) -> LocatedSource:
    """Find the files of a stored set's source in `folder`, by their names, and hash them again. If a hash differs, the returned source has another key.

    Raises
    ------
    SourceNotFoundError, SourceChangedError, SourceError
        See `spikestore.pipeline.sources.source_files.make_source`.
    """
    root = existing_folder(folder)
    names = [file.name for file in source.files]
    files, stamps = identify_files(root, names, f"{source.dataset}/{source.split}")
    mapping = {**source.to_mapping(), "files": files}
    return LocatedSource(
        Source.from_mapping(mapping, origin=f"source {source.dataset}/{source.split}"), root, stamps
    )


def _fields(root: Path, files: Sequence[str], decoding: Decoding) -> list[str]:
    """Return the fields of the first readable recording among `files`."""
    problems = []
    for file in files:
        known = format_of(file)
        try:
            content = (root / file).read_bytes()
            present = name_fields(known.events_of(file, content), decoding) if known is not None else {}
        except OSError as error:
            raise SourceError(
                f"{root / file} can't be read: {error.strerror}", path=str(root / file)
            ) from error
        except UsageError:  # also a ValueError: a library is not installed
            raise
        except ValueError as error:
            problems.append(f"{file}: {error}")
        else:
            return [field for field in ("t", "x", "y", "p") if field in present]
    raise LayoutError(f"{root}: {problems[0]}", path=str(root / files[0]))
