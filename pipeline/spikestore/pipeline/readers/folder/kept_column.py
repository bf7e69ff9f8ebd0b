"""A column of a folder that the recipe requests: the type of its values, and how the source stores them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spikestore.store_schemas.errors import LayoutError
from spikestore.store_schemas.specs.column_values import LONGEST_NAME, MOST_BYTES, Kind, parts_of
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

_INT32 = 2**31

Facts = Mapping[str, Mapping[str, str]]
"""Texts of all fields of each file."""


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A field of the recordings that is stored as a column; its type is the same in all splits.

    Attributes
    ----------
    name : str
        Name of the field.
    kind : {"whole", "real", "text"}
        ``whole`` if all values are whole numbers of 32 bits (without the smallest, -2^31); else ``real`` if all values are finite numbers of 64 bits; else
        ``text``.
    size : int
        Number of integer columns that together store the texts (see `parts`); 0 if `kind` is not ``text``.
    """

    name: str
    kind: Kind
    size: int

    @classmethod
    def of(cls, name: str, facts: Facts) -> KeptColumn:
        """Return the column; its kind is the narrowest that fits all values.

        Raises
        ------
        LayoutError
            Some recordings have numbers, and other recordings have no value; a text is too long or not printable; or the name is too long.
        """
        texts = {file: values[name] for file, values in facts.items()}
        given = {file: text for file, text in texts.items() if text}
        kind: Kind = "text"
        if given and all(_whole(text) is not None for text in given.values()):
            kind = "whole"
        elif given and all(_real(text) is not None for text in given.values()):
            kind = "real"
        if kind != "text" and len(given) < len(texts):
            file = next(file for file in texts if file not in given)
            raise LayoutError(
                f"{file} has no {name}, but all other values of {name} are numbers: write a number into the table, or do not list {name} in columns under [source]",
                path=file,
            )
        if kind != "whole" and len(name) > LONGEST_NAME:
            raise LayoutError(
                f"the name of the column {name!r} is too long: use at most {LONGEST_NAME} characters, the limit for columns of texts or real numbers"
            )
        size = 0
        if kind == "text":
            for file, text in texts.items():
                _refuse_text(name, file, text)
            _report_numbers(name, given)
            size = len(parts_of(name, "text", [*texts.values()]))
        return cls(name, kind, size)

    def parts(self, facts: Facts, files: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the values of the field in some files, as one or more columns of whole numbers.

        The keys of the result are the names of the columns. These names depend only on `self`, not on the files.
        """
        texts = [facts[file][self.name] for file in files]
        if self.kind == "whole":
            return {self.name: tuple(int(text) for text in texts)}
        if self.kind == "real":
            return parts_of(self.name, "real", [float(text) for text in texts])
        return parts_of(self.name, "text", texts, self.size)


def _whole(text: str) -> int | None:
    """Return the text as a whole number of 32 bits; None if the text is not such a number."""
    if "_" in text:  # Python would read the session 1_1 as 11, which may be another session
        return None
    try:
        value = int(text)
    except ValueError:
        return None
    return value if -_INT32 < value < _INT32 else None


def _real(text: str) -> float | None:
    """Return the text as a finite number; None if the text is not a finite number, or is a whole number that float64 cannot hold."""
    if "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    try:
        exact = int(text) == value
    except ValueError:
        exact = True
    return value if math.isfinite(value) and exact else None


def _refuse_text(name: str, file: str, text: str) -> None:
    # First, because bytes of a file name that are not UTF-8 cannot be encoded.
    if not text.isprintable():
        raise LayoutError(
            f"{file!r} has {name} = {text!r}, which is not UTF-8 or has a character that is not printable: correct the value, or do not list "
            f"{name} in columns under [source]",
            path=file,
        )
    size = len(text.encode("utf-8"))
    if size > MOST_BYTES:
        raise LayoutError(
            f"{file} has a value of {name} with {size:,} bytes, but at most {MOST_BYTES} are kept: shorten the value, or do not list {name} in "
            "columns under [source]",
            path=file,
        )


def _report_numbers(name: str, given: Mapping[str, str]) -> None:
    """Log one line if only some values of a column are numbers. All values are then stored as texts. The cause may be a typo in a number."""
    others = [file for file, text in given.items() if _real(text) is None]
    if 0 < len(others) < len(given):
        logger.info(
            "%s is kept as text, because %s of %s %s; the first is %r of %s",
            name,
            f"{len(others):,}",
            plural(len(given), "value"),
            "is not a number" if len(others) == 1 else "are not numbers",
            given[others[0]],
            others[0],
        )
