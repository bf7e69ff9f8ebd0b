"""Storage of texts and real numbers in columns of whole numbers.

The source document of a folder of recordings has only columns of whole numbers. A text or a real number is therefore stored in several such columns,
its *parts* (docs/format.md, "Folder"). Programs that do not know this rule see columns of numbers with unusual names.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy.typing as npt

Values = tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""Values of a column, all of one type."""

Kind = Literal["whole", "real", "text"]
"""Type of the values of a column."""

MOST_BYTES = 120
"""Maximum length of a text, in bytes of UTF-8."""

LONGEST_NAME = 54
"""Maximum length of the name of a column of texts or real numbers, because the names of its parts are longer."""

_PART_BYTES = 3
_PART = re.compile(r"(.+)\.(text|real)-(0|[1-9][0-9]?)")


def is_part(name: str) -> bool:
    """Return whether a column has the name of a part."""
    return _PART.fullmatch(name) is not None


def parts_of(
    name: str, kind: Literal["real", "text"], values: Sequence[Any], least: int = 1
) -> dict[str, tuple[int, ...]]:
    """Encode a column of texts or real numbers as columns of whole numbers, called parts; return the parts by name.

    Parameters
    ----------
    name : str
        Name of the column, at most `LONGEST_NAME` characters.
    kind : {"real", "text"}
        Type of the values.
    values : sequence of float or str
        Finite numbers; or texts of at most `MOST_BYTES` bytes in UTF-8, without the character NUL.
    least : int
        Minimum number of parts, so that all splits of a folder have the same number of parts.
    """
    encoded = [_bytes_of(kind, value) for value in values]
    count = max(least, -(-max(map(len, encoded), default=0) // _PART_BYTES))
    size = count * _PART_BYTES
    padded = [data.ljust(size, b"\0") for data in encoded]
    return {
        f"{name}.{kind}-{part}": tuple(
            int.from_bytes(data[part * _PART_BYTES : (part + 1) * _PART_BYTES], "big") for data in padded
        )
        for part in range(count)
    }


def values_of(columns: Mapping[str, tuple[int, ...]], reserved: frozenset[str]) -> dict[str, Values]:
    """Return the columns of a source, with texts and real numbers decoded.

    A column of texts or real numbers is stored as several columns of whole numbers, its parts. The parts are called
    ``COLUMN.text-0``, ``COLUMN.text-1``, …, or ``COLUMN.real-0``, …; the result has the column itself in their place.

    Columns with such names are not parts, and stay as they are, in these cases:

    - the numbers at the end of their names have a gap, or do not begin at 0;
    - the values are not values that `parts_of` writes;
    - COLUMN has parts of both types;
    - the name ``COLUMN`` belongs to another column or is in `reserved`.
    """
    families: dict[str, dict[str, set[str]]] = {}
    for name in columns:
        found = _PART.fullmatch(name)
        if found is not None:
            families.setdefault(found[1], {}).setdefault(found[2], set()).add(name)
    decoded: dict[str, Values] = {}
    used: set[str] = set()
    for base, kinds in families.items():
        if len(kinds) > 1 or base in columns or base in reserved:
            continue
        ((kind, names),) = kinds.items()
        parts = {
            name: columns[name]
            for number in range(len(names))
            if (name := f"{base}.{kind}-{number}") in names
        }
        values = _decode(kind, [*parts.values()]) if len(parts) == len(names) else None
        # A builder writes only one form of each value, so another form is a column of another origin.
        form: Literal["real", "text"] = "real" if kind == "real" else "text"
        if values is not None and parts_of(base, form, values, len(parts)) == parts:
            decoded[base] = values
            used |= names
    rest = {name: values for name, values in columns.items() if name not in used}
    return dict(sorted({**rest, **decoded}.items()))


def kind_of(values: Values) -> Kind:
    """Return the type of the values of a column."""
    first = values[0] if values else 0
    return "text" if isinstance(first, str) else "real" if isinstance(first, float) else "whole"


def array_of(values: Values) -> npt.NDArray[Any]:
    """Return the values as an int32, float64 or ``<U…`` array, shape (values,)."""
    import numpy as np  # commands that read no rows start without it

    dtypes: dict[Kind, type[Any]] = {"whole": np.int32, "real": np.float64, "text": np.str_}
    return np.array(values, dtypes[kind_of(values)])


def _bytes_of(kind: str, value: Any) -> bytes:
    return struct.pack(">d", value + 0.0) if kind == "real" else str(value).encode("utf-8")


def _decode(kind: str, parts: Sequence[tuple[int, ...]]) -> Values | None:
    """Return the values of a column, decoded from its parts; None if `parts` are not encoded values of this kind."""
    limit = 256**_PART_BYTES
    if any(not 0 <= number < limit for part in parts for number in part):
        return None
    encoded = [
        b"".join(number.to_bytes(_PART_BYTES, "big") for number in numbers)
        for numbers in zip(*parts, strict=True)
    ]
    if kind == "text":
        try:
            texts = tuple(data.rstrip(b"\0").decode("utf-8") for data in encoded)
        except UnicodeDecodeError:
            return None
        return None if any("\0" in text for text in texts) else texts
    if len(parts) != struct.calcsize(">d") // _PART_BYTES + 1:
        return None
    reals = tuple(struct.unpack(">d", data[:8])[0] for data in encoded)
    return reals if all(map(math.isfinite, reals)) else None
