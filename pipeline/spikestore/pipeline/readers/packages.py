"""Names of the packages that register data sets and formats as entry points."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint


def package_of(entry: EntryPoint) -> str:
    """Return the normalised name of the distribution that registers an entry point: lower case, with hyphens."""
    name = "unknown" if entry.dist is None else entry.dist.name
    return re.sub(r"[-_.]+", "-", name).lower()
