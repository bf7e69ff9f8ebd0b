"""Text files with one event per line: ``.csv`` and ``.txt``, also compressed with gzip.

A line has the values of one event, separated by commas, semicolons, tabs or spaces. Lines that start with ``#`` or ``%`` are
comments. The names of the columns may be in the first line that is not a comment, or in the last comment before that line.
``true`` and ``false`` mean 1 and 0.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.formats.format import RawEvents

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?|true|false", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][\w .\[\]()µ-]*")
_WORDS = {re.compile(rb"\btrue\b", re.IGNORECASE): b"1", re.compile(rb"\bfalse\b", re.IGNORECASE): b"0"}
_COMMENTS = ("#", "%")


def read_compressed_text(content: bytes) -> RawEvents:
    """Return the events of a file that is compressed with gzip; raise ValueError if the file is damaged."""
    try:
        return read_text(gzip.decompress(content))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the file is not compressed with gzip, or is damaged ({error})") from None


def read_text(content: bytes) -> RawEvents:
    """Return the events of a file: columns by name, or an array of shape (events, columns).

    Columns of whole numbers are int64; all other columns are float64. If the file has columns of both dtypes and no names, the
    columns are returned by number, from ``"0"``. Raises ValueError with a description of the fault.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of UTF-8, which Excel writes
    if b"\r" in content:  # lines may also end with a carriage return alone
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    comment, first, start = "", "", 0
    for line in content.splitlines(keepends=True):
        text = _decoded(line).strip()
        if text.startswith(_COMMENTS):
            comment = text.lstrip("#% ")
        elif text:
            first = text
            break
        start += len(line)
    if not first:
        return _without_events(content, comment)
    delimiter = next((one for one in ",;\t" if one in first), None)
    tokens = _split(first, delimiter)
    names: list[str] = []
    if not all(map(_NUMBER.fullmatch, tokens)):
        if not all(map(_NAME.fullmatch, tokens)):
            raise ValueError(f"the line {first[:80]!r} has neither numbers nor names of columns")
        names, data = tokens, content[start:].partition(b"\n")[2]
    else:
        data = content[start:]
        described = _split(comment, delimiter)
        if len(described) == len(tokens) and all(map(_NAME.fullmatch, described)):
            names = described
    if len(set(names)) < len(names):
        raise ValueError(f"several columns have the same name: {', '.join(names)}")
    rows = _numbers(data, delimiter, len(names) or len(tokens))
    if names:
        return dict(zip(names, rows, strict=True))
    return np.stack(rows, axis=1) if len({row.dtype for row in rows}) == 1 else _structured(rows)


def _without_events(content: bytes, comment: str) -> RawEvents:
    if not content:
        raise ValueError("the file is empty")
    names = _split(comment, next((one for one in ",;\t" if one in comment), None))
    if len(names) < 2 or not all(map(_NAME.fullmatch, names)):
        raise ValueError(
            "the file has no events, and no header line with the names of the columns: add such a line, or remove the file"
        )
    return {name: np.empty(0, np.int64) for name in names}


def _structured(rows: list[npt.NDArray[Any]]) -> RawEvents:
    """Return the columns under the keys "0", "1", …. Each keeps its own dtype: a common dtype would round integers above 2^53."""
    return {str(number): row for number, row in enumerate(rows)}


def _numbers(data: bytes, delimiter: str | None, count: int) -> list[npt.NDArray[Any]]:
    for word, number in _WORDS.items():
        data = word.sub(number, data)
    first = next(
        (
            line
            for line in map(_decoded, data.splitlines())
            if line.strip() and not line.strip().startswith(_COMMENTS)
        ),
        "",
    )
    tokens = _split(first.strip(), delimiter)
    if not first:
        return [np.empty(0, np.int64) for _ in range(count)]
    if len(tokens) != count:
        raise ValueError(f"the line {first.strip()[:80]!r} has {len(tokens)} values, should have {count}")
    kinds = [np.int64 if re.fullmatch(r"[+-]?\d+", token) else np.float64 for token in tokens]
    while True:
        dtype = np.dtype([(str(number), kind) for number, kind in enumerate(kinds)])
        try:
            table = np.loadtxt(
                io.BytesIO(data), dtype, comments=_COMMENTS, delimiter=delimiter, ndmin=1, encoding="utf-8"
            )
        except (ValueError, OverflowError) as error:
            wrong = re.search(r"to int64 at row (\d+), column (\d+)", str(error))
            if wrong is None or kinds[int(wrong[2]) - 1] is np.float64:
                raise ValueError(f"not all lines hold {count} numbers ({error})") from None
            kinds[int(wrong[2]) - 1] = np.float64  # a column that starts with whole numbers
        else:
            return [np.ascontiguousarray(table[name]) for name in table.dtype.names or ()]


def _split(line: str, delimiter: str | None) -> list[str]:
    return [token.strip().strip('"') for token in line.split(delimiter)]


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")
