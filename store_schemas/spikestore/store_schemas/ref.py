"""The ref: a mutable name for feature sets, one per split, kept as a log of immutable entries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.canonical import FORMAT
from spikestore.store_schemas.model import Document, Name, Sha256, Spec


class Pin(Spec):
    """One feature set, by its keys and its content."""

    transform_key: Sha256
    source_key: Sha256
    digest: Sha256
    """Digest of the content: what the name promises."""


class Ref(Document):
    """One entry of the log ``refs/<name>/``; the entry with the highest number is the name's value."""

    format: Literal[1] = FORMAT
    name: Name
    number: Annotated[int, Field(ge=1, le=99_999_999)]
    """Place of the entry in the log: an old entry can't stand in for a newer one."""
    splits: Annotated[dict[Name, Pin], Field(min_length=1)]
    """The feature set of each split."""
