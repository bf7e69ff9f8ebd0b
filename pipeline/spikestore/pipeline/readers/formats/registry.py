"""Registry of file formats, both built-in and of other packages."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from importlib.metadata import entry_points

from spikestore.pipeline.readers.formats.built_in import BUILT_IN
from spikestore.pipeline.readers.formats.format import Format
from spikestore.pipeline.readers.packages import package_of
from spikestore.store_schemas.errors import UnknownNameError
from spikestore.store_schemas.wording import did_you_mean

logger = logging.getLogger(__name__)

GROUP = "spikestore.formats"
"""Group of the entry points by which other packages add formats; each refers to a `Format`."""


@functools.cache
def formats() -> Mapping[str, Format]:
    """Return all formats by name; formats of other packages are called ``PACKAGE.NAME``.

    A format of another package is left out, with a warning, if it cannot be loaded, if its package has another format of this
    name, or if one of its suffixes belongs to another format.
    """
    known = {one.name: one for one in BUILT_IN}
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (package_of(one), one.name)):
        package = package_of(entry)
        try:
            added = entry.load()
            if not isinstance(added, Format):
                raise TypeError(f"{entry.value} must be a spikestore.pipeline.readers.Format")
            added = dataclasses.replace(added, name=f"{package}.{added.name}")
        except Exception as error:
            logger.warning(
                "the format %s of the package %s can't be loaded (%s: %s): update or uninstall the package",
                entry.name,
                package,
                type(error).__name__,
                error,
            )
            continue
        if added.name in known:
            logger.warning(
                "the package %s registers two formats with the name %s: the second format is not used",
                package,
                added.name,
            )
            continue
        taken = {suffix: one.name for one in known.values() for suffix in one.suffixes}
        twice = [suffix for suffix in added.suffixes if suffix in taken]
        if twice:
            logger.warning(
                "the package %s registers a format for %s, but the format %s already reads these files: the format of the package is not used",
                package,
                twice[0],
                taken[twice[0]],
            )
        else:
            known[added.name] = added
    return known


@functools.cache
def _by_suffix() -> Mapping[str, Format]:
    return {suffix: one for one in formats().values() for suffix in one.suffixes}


def format_of(file_name: str) -> Format | None:
    """Return the format of a file by its longest registered suffix; None if no suffix fits."""
    known = _by_suffix()
    name = file_name.lower()
    at = name.rfind("/") + 1
    while (at := name.find(".", at)) >= 0:
        if (found := known.get(name[at:])) is not None:
            return found
        at += 1
    return None


def format_named(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    UnknownNameError
        No format has this name.
    """
    known = formats()
    if name not in known:
        hint = did_you_mean(name, list(known)) or ";"
        raise UnknownNameError(
            f"no format is called {name!r}{hint} known: {', '.join(known)}", name=name, known=tuple(known)
        )
    return known[name]
