"""A file of a source, identified by its content."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spikestore.store_schemas.specs.model import Count, Sha256, Spec

_UNSAFE = re.compile(r"[\x00-\x1f\\]|(?:^|/)\.{0,2}(?:/|\Z)")
"""Control characters, backslashes, and parts of a path that are empty, ``.`` or ``..``."""


def _relative(name: str) -> str:
    if _UNSAFE.search(name):
        raise ValueError(
            f"{name!r} must be a relative path: no / at the beginning, no empty parts, no parts . or .., no backslashes, and no control characters"
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
