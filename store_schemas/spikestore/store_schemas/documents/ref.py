"""The ref: a name that refers to one feature set for each split. It is stored as a log of immutable entries; the newest entry counts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from spikestore.store_schemas.specs.canonical import FORMAT
from spikestore.store_schemas.specs.model import Document, Name, Sha256, Spec


class Pin(Spec):
    """Keys and digest of one feature set."""

    transform_key: Sha256
    source_key: Sha256
    digest: Sha256
    """Digest of the content."""


NOTHING = Pin(transform_key="0" * 64, source_key="0" * 64, digest="0" * 64)
"""Placeholder for no feature set; no content has these hashes."""


class Ref(Document):
    """One entry of the log ``refs/<name>/``; the entry with the highest number is the name's current value."""

    format: Literal[1] = FORMAT
    name: Name
    number: Annotated[int, Field(ge=1, le=99_999_999)]
    """Position of the entry in the log, so that an old entry cannot replace a newer entry."""
    splits: Annotated[dict[Name, Pin], Field(min_length=1)]
    """The feature set of each split."""

    @property
    def forgotten(self) -> bool:
        """Whether this entry says that the name was removed."""
        return all(pin == NOTHING for pin in self.splits.values())

    @classmethod
    def tombstone(cls, name: str, number: int) -> Self:
        """Return the entry that removes a name. Its only split refers to `NOTHING`, because an entry must have a split."""
        return cls(name=name, number=number, splits={"forgotten": NOTHING})
