"""A file of a source, identified by its content."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from spikestore.store_schemas.specs.model import Count, Sha256, Spec


def _relative(name: str) -> str:
    unsafe = any(ord(letter) < 32 or letter == "\\" for letter in name)
    if unsafe or any(part in {"", ".", ".."} for part in name.split("/")):
        raise ValueError(
            f"{name!r} must be a relative path without a leading /, empty parts, . or .., or backslashes"
        )
    return name


class SourceFile(Spec):
    """One file of a source."""

    name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_relative)]
    """Path relative to the dataset's folder, with ``/``; never absolute, never with ``..``."""
    size: Count
    """Bytes."""
    sha256: Sha256
    """SHA-256 of the content."""
