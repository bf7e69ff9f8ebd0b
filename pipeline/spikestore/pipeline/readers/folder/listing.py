"""Functions that find the files, labels, splits and columns of a folder by the rules of the recipe."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from spikestore.pipeline.readers.folder.kept_column import KeptColumn
from spikestore.pipeline.readers.folder.pattern import Pattern
from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.readers.folder.splits import split_of
from spikestore.pipeline.readers.folder.table import Table
from spikestore.pipeline.readers.formats.registry import format_named, format_of
from spikestore.store_schemas.errors import LayoutError, SourceError, SourceNotFoundError, UnknownNameError
from spikestore.store_schemas.specs.model import NAME
from spikestore.store_schemas.wording import did_you_mean, plural

logger = logging.getLogger(__name__)

DEFAULT_SPLIT = "all"
"""Name of the only split of a folder without splits."""


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """The recordings of one split.

    Attributes
    ----------
    files : tuple of str
        Paths relative to the data folder, sorted.
    labels : tuple of int
        Label of each file.
    columns : dict of str to tuple of int
        For each requested column, the values of all files, as in `FolderContent.columns`.
    """

    files: tuple[str, ...]
    labels: tuple[int, ...]
    columns: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Listing:
    """The recordings of a folder, by split.

    Attributes
    ----------
    classes : tuple of str
        Class names of all splits.
    formats : tuple of str
        Names of the formats of the files, sorted.
    splits : dict of str to FolderSplit
        Splits: ``train``, ``valid``, ``validation``, ``val`` and ``test`` first, then the other splits, sorted by name.
    """

    classes: tuple[str, ...]
    formats: tuple[str, ...]
    splits: dict[str, FolderSplit]


def list_folder(root: Path, settings: FolderSettings, columns: Sequence[str] = ()) -> Listing:
    """Return the recordings of a folder.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    settings : FolderSettings
        The description of the folder in the recipe.
    columns : sequence of str
        Names of fields of the pattern, or of columns of the table, whose values are stored for each recording.

    Raises
    ------
    SourceNotFoundError
        The folder has no recordings; or the table, or a file that the table lists, does not exist.
    LayoutError
        A file does not fit the pattern or the table, has no label, or has a name or a value that cannot be stored; `settings`
        lists no formats, but the files have several; the table is not valid, or has a column with the name of a field of the
        pattern; there are both shares and a field with splits; the name of a split is not valid; a split has no recording;
        or, because of links, a file is in the folder twice.
    UnknownNameError
        `settings` or `columns` name a format or a field that does not exist.
    SourceError
        A folder cannot be listed, or the table cannot be read.
    """
    table = None if settings.table is None else Table(root, settings.table, settings.file)
    files, formats = _files(root, settings, table)
    facts = _facts(root, files, settings, table)
    known = sorted({name for one in facts.values() for name in one})
    needed = [("label", settings.label), ("group", settings.group), *(("columns", name) for name in columns)]
    if settings.split != "split":  # without a field of this default name, there are shares or only one split
        needed.append(("split", settings.split))
    for use, field in needed:
        if field is not None and field not in known:
            raise UnknownNameError(
                f"there is no field {field!r}{did_you_mean(field, known) or ';'} the pattern and the table have {', '.join(map(repr, known)) or 'none'}: "
                f"change the value of {use} under [source{'' if use == 'columns' else '.folder'}]",
                name=field,
                known=known,
            )
    split_by_file = _splits(facts, settings)
    used = {settings.label, settings.group, settings.split, *columns}
    unused = [name for name in known if name not in used]
    if unused:
        logger.info(
            "fields that are not stored: %s. To store a field, add its name to columns under [source]",
            ", ".join(unused),
        )
    kept = [KeptColumn.of(column, facts) for column in columns]
    classes = _classes((one[settings.label] for one in facts.values()), settings)
    splits: dict[str, FolderSplit] = {}
    for split in _in_order(set(split_by_file.values()) | set(settings.shares)):
        own = tuple(file for file in files if split_by_file[file] == split)
        if not own:
            what = "recordings" if settings.group is None else f"values of {settings.group}"
            groups = (
                len(files) if settings.group is None else len({one[settings.group] for one in facts.values()})
            )
            raise LayoutError(
                f"the split {split!r} of {root} has no recording: its share is {settings.shares[split]:g}, and by chance none of {groups:,} {what} "
                "falls into this share; make the share larger, or replace shares by a table with the split of each recording (table = … and split = … under [source.folder])",
                path=str(root),
            )
        splits[split] = FolderSplit(
            own,
            tuple(classes.index(_label(file, facts[file], settings, classes)) for file in own),
            {name: values for one in kept for name, values in one.parts(facts, own).items()},
        )
    return Listing(classes, formats, splits)


def _files(root: Path, settings: FolderSettings, table: Table | None) -> tuple[list[str], tuple[str, ...]]:
    """Return the sorted paths of all recordings in the data folder, and the names of the formats that occur."""
    wanted = [format_named(name).name for name in settings.formats]
    excluded = [Pattern(text) for text in settings.exclude]
    by_format: dict[str, list[str]] = {}
    other: Counter[str] = Counter()
    left_out = ""
    for file in walk(root):
        if table is not None and root / file == table.path:
            continue
        if any(one.fit(file) is not None for one in excluded):
            left_out = file
            continue
        known = format_of(file)
        if known is None or (wanted and known.name not in wanted):
            other["".join(Path(file).suffixes[-2:]) or file] += 1
        else:
            by_format.setdefault(known.name, []).append(file)
    if other:
        logger.info(
            "%s: %s not read, because the format is not known or not in formats = […] under [source.folder] (their endings or names: %s)",
            root,
            plural(sum(other.values()), "file"),
            ", ".join(sorted(other)[:10]),
        )
    if not by_format:
        names = ", ".join(sorted(other)[:10])
        if other and wanted:
            why = f"it has {names} files, but the field formats under [source.folder] lists {', '.join(wanted)}: change this field"
        elif other:
            why = f"there are only {names} files: convert them to a format that spikestore reads, such as .npy with the fields t, x, y and p"
        elif left_out:
            why = f"the field exclude under [source.folder] leaves out all files, such as {left_out}: change this field"
        elif table is not None:
            why = f"the table {table.path} is the only file: add the recordings"
        else:
            why = "it is empty"
        raise SourceNotFoundError(f"no recording in {root}: {why}", path=str(root))
    if table is not None and settings.unlisted == "ignore":
        by_format = {
            name: kept
            for name, files in by_format.items()
            if (kept := [file for file in files if file in table.rows])
        }
    if len(by_format) > 1 and not wanted:
        counts = ", ".join(
            f"{len(files):,} of {name} ({files[0]})" for name, files in sorted(by_format.items())
        )
        quoted = ", ".join(f'"{name}"' for name in sorted(by_format))
        raise LayoutError(
            f"{root} has files of {len(by_format)} formats: {counts}. If all these files are recordings, set formats = [{quoted}] under "
            "[source.folder]; if some are not recordings, list only the formats of the recordings",
            path=str(root),
        )
    return sorted(file for files in by_format.values() for file in files), tuple(sorted(by_format))


def walk(root: Path) -> list[str]:
    """Return the paths of all files below a folder: relative to it, with ``/``, sorted. Names that start with a dot are left out.

    Links to folders are followed. Raises `LayoutError` if a folder would be read twice, or if a name has a backslash
    or a control character. Raises `SourceError` if a folder cannot be listed.
    """
    files: list[str] = []
    seen: dict[tuple[int, int], str] = {}
    for path, folders, names in os.walk(root, followlinks=True, onerror=_not_listed):
        status = Path(path).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            raise LayoutError(
                f"{path} and {seen[identity]} are the same folder: remove the one that is a link", path=path
            )
        seen[identity] = path
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        parts = Path(path).relative_to(root).parts
        files += ["/".join((*parts, name)) for name in names if not name.startswith(".")]
    wrong = next((file for file in files if "\\" in file or any(ord(letter) < 32 for letter in file)), None)
    if wrong is not None:
        raise LayoutError(
            f"{wrong!r} in {root} has a backslash or a control character in its name, which cannot be stored: rename it",
            path=wrong,
        )
    return sorted(files)


def _not_listed(error: OSError) -> NoReturn:
    raise SourceError(
        f"the folder {error.filename} can't be listed: {error.strerror}", path=str(error.filename)
    ) from error


def _facts(
    root: Path, files: Sequence[str], settings: FolderSettings, table: Table | None
) -> dict[str, dict[str, str]]:
    """Return the values of all fields of each file, from the pattern and the table."""
    facts: dict[str, dict[str, str]] = {file: {} for file in files}
    text = settings.effective_pattern
    if text is not None:
        pattern = Pattern(text)
        fitted = {file: pattern.fit(file) for file in files}
        wrong = [file for file, values in fitted.items() if values is None]
        if wrong:
            raise LayoutError(
                f"{len(wrong):,} of {plural(len(files), 'recording')} {'does' if len(wrong) == 1 else 'do'} not fit the pattern {text}; the first is {wrong[0]}: set pattern = … under "
                "[source.folder], such as {split}/{label}/*, or list these files in exclude = […]",
                path=wrong[0],
            )
        facts = {file: dict(values or {}) for file, values in fitted.items()}
    if table is None:
        return facts
    missing = [file for file in table.rows if file not in facts]
    if missing:
        line = f"{table.path}: line {table.line_of(missing[0])} lists {missing[0]}"
        if Path(missing[0]).is_absolute() or ".." in Path(missing[0]).parts:
            raise LayoutError(
                f"{line}, which is not a path inside the data folder {root}: write the path relative to this folder, without '..'",
                path=missing[0],
            )
        if (root / missing[0]).is_file():
            raise LayoutError(
                f"{line}, a file that is not read: the path matches exclude = […], a part of the path starts with a dot, or the format is not known or not in formats = […] under [source.folder]. Correct the line",
                path=missing[0],
            )
        raise SourceNotFoundError(
            f"{line}, a file that does not exist ({plural(len(missing), 'such line')}): correct or remove the lines, or add the files",
            path=missing[0],
        )
    unlisted = [file for file in files if file not in table.rows]
    if unlisted:
        raise LayoutError(
            f"{len(unlisted):,} of {plural(len(files), 'recording')} {'has' if len(unlisted) == 1 else 'have'} no line in {table.path}; the first is {unlisted[0]}: add lines, or set "
            'unlisted = "ignore" under [source.folder]',
            path=unlisted[0],
        )
    both = sorted(set(table.columns) & set(next(iter(facts.values()))))
    if both:
        raise LayoutError(
            f"{both[0]} is a field of the pattern and a column of {table.path}: rename the field or the column",
            path=str(table.path),
        )
    return {file: values | table.rows[file] for file, values in facts.items()}


def _splits(facts: dict[str, dict[str, str]], settings: FolderSettings) -> dict[str, str]:
    """Return the name of the split of each file."""
    has_split = settings.split in next(iter(facts.values()))
    if has_split and settings.shares:
        raise LayoutError(
            f"the pattern or the table has the field {settings.split}, so shares must not be set: remove this field, or remove shares under [source.folder]"
        )
    if has_split:
        for file, values in facts.items():
            if NAME.match(values[settings.split]) is None:
                raise LayoutError(
                    f"{file} has the split {values[settings.split]!r}, which is not a valid name: rename the split; a name has 1 to 63 "
                    "lower-case letters, digits, '.', '_' or '-', and starts with a letter or digit",
                    path=file,
                )
        return {file: values[settings.split] for file, values in facts.items()}
    if settings.shares:
        group = settings.group
        return {
            file: split_of(file if group is None else values[group], settings.shares)
            for file, values in facts.items()
        }
    return dict.fromkeys(facts, DEFAULT_SPLIT)


def _in_order(splits: Iterable[str]) -> list[str]:
    usual = ("train", "valid", "validation", "val", "test")
    return sorted(splits, key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def _classes(labels: Iterable[str], settings: FolderSettings) -> tuple[str, ...]:
    """Return the class names: the classes of the recipe, or else all labels, sorted. If all labels consist of digits, they are sorted as numbers."""
    if settings.classes:
        return settings.classes
    present = {label for label in labels if label}
    if all(label.isascii() and label.isdigit() for label in present):
        return tuple(sorted(present, key=lambda label: (int(label), label)))
    return tuple(sorted(present))


def _label(file: str, values: dict[str, str], settings: FolderSettings, classes: tuple[str, ...]) -> str:
    label = values[settings.label]
    if label not in classes:
        why = (
            f"has the label {label!r}, which is not in classes under [source.folder]: correct the label, or add it to classes"
            if label
            else "has no label: write a label into the table"
        )
        raise LayoutError(f"{file} {why}", path=file)
    return label
