"""OwnOperation: an operation from events to events that another package registers."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER
from spikestore.store_schemas.specs.model import Name, Size, Spec


def _argument(value: object) -> object:
    """Return an argument as it is read back from JSON: lists as tuples, and whole numbers as int, because 1 and 1.0 have the same key."""
    if isinstance(value, list | tuple):
        return tuple(_single(item) for item in value)
    return _single(value)


def _single(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_INTEGER:
        return int(value)
    if (
        isinstance(value, bool | str)
        or (isinstance(value, int) and abs(value) <= LARGEST_INTEGER)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise ValueError(
        f"must be a string, true, false, a finite number (integers up to 2^53 - 1), or a list of these, got {value!r}"
    )


class OwnOperation(Spec):
    """Apply a function that another package registers as an entry point of the group ``spikestore.operations``.

    The transform key contains the name, the version and the parameters, but not the code: the author of the package promises that a version
    always gives the same events. Reading a set does not need the package.
    """

    op: Literal["own_operation"] = "own_operation"
    name: Name
    """Name of the package and of the entry point, such as ``wand-lab.thin``."""
    version: Size
    """Version of the results, which the package states."""
    parameters: dict[str, Annotated[Any, BeforeValidator(_argument)]] = Field(default_factory=dict)
    """Arguments of the function by name: booleans, numbers, texts, and tuples of these."""

    def __hash__(self) -> int:
        return hash((self.name, self.version))
