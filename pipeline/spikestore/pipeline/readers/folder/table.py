"""The table of a folder: a CSV file with one line per recording."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from spikestore.store_schemas.errors import LayoutError, SourceError, SourceNotFoundError
from spikestore.store_schemas.wording import did_you_mean, plural

_LARGEST = 2**28


class Table:
    """The lines of a CSV file that describes the recordings of a folder.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    name : str
        Path of the CSV file, relative to the data folder.
    file_column : str
        Name of the column with the paths of recordings.

    Attributes
    ----------
    columns : tuple of str
        Names of the other columns.
    rows : dict of str to dict of str to str
        Values of the other columns by path of the recording.

    Raises
    ------
    SourceNotFoundError
        The file does not exist.
    SourceError
        The file cannot be read.
    LayoutError
        The file is not a table, lists no recording, or has more than 2^28 bytes; a column is missing or named twice; a recording
        has two lines; or a line has no path of a recording, or too few or too many values.
    """

    def __init__(self, root: Path, name: str, file_column: str) -> None:
        self.path = root / name
        (_, header), *lines = self._lines() or [(1, [])]
        names = [one.strip() for one in header]
        if not any(names):
            raise self._wrong("has no columns: its first line must name them")
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise self._wrong(f"names the column {twice[0]!r} twice")
        if file_column not in names:
            hint = did_you_mean(file_column, names) or ";"
            raise self._wrong(
                f"has no column {file_column!r}{hint} its first line names the columns {', '.join(map(repr, names))}: "
                'under [source.folder], set file = "COLUMN", where COLUMN is the column with the paths of the recordings'
            )
        self.columns = tuple(one for one in names if one != file_column)
        self.rows: dict[str, dict[str, str]] = {}
        numbers: dict[str, int] = {}
        for number, values in lines:
            if not any(values):
                continue
            if len(values) != len(names):
                raise self._wrong(
                    f"has {plural(len(values), 'value')} in line {number}, but the first line names {plural(len(names), 'column')}"
                )
            row = dict(zip(names, (value.strip() for value in values), strict=True))
            file = row.pop(file_column).replace("\\", "/").removeprefix("./")
            if not file:
                raise self._wrong(
                    f"has no file name in line {number}: add the path of the recording, or remove the line"
                )
            if file in numbers:
                raise self._wrong(
                    f"names {file} twice, in the lines {numbers[file]} and {number}: remove one of these lines"
                )
            numbers[file], self.rows[file] = number, row
        if not self.rows:
            raise self._wrong("has no line with a recording")
        self._numbers = numbers

    def line_of(self, file: str) -> int:
        """Return the number of the line at which the entry of a recording begins in the table's file, counted from 1."""
        return self._numbers[file]

    def _lines(self) -> list[tuple[int, list[str]]]:
        """Return the values of each line, with the number of the line in the file."""
        try:
            if self.path.stat().st_size > _LARGEST:
                raise self._wrong(f"has more than {_LARGEST:,} bytes, the limit for a table of recordings")
            text = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise SourceNotFoundError(
                f"the table {self.path} does not exist: under [source.folder], set table = … to its path, relative to the data folder",
                path=str(self.path),
            ) from None
        except OSError as error:
            raise SourceError(f"{self.path} can't be read: {error.strerror}", path=str(self.path)) from error
        except UnicodeDecodeError as error:
            raise self._wrong(f"is not UTF-8 text ({error})") from None
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines: list[tuple[int, list[str]]] = []
        before = 0
        try:
            for values in reader:
                lines.append((before + 1, values))
                before = reader.line_num  # a quoted value may contain line breaks
        except csv.Error as error:
            raise self._wrong(f"is not CSV ({error})") from None
        return lines

    def _wrong(self, what: str) -> LayoutError:
        return LayoutError(f"the table {self.path} {what}", path=str(self.path))
