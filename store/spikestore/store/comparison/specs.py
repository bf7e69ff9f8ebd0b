"""Differences between the transforms, sources, files and classes from which two feature sets were computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes
    ----------
    where : str
        What differs, such as ``"to_frame.time_window"`` or ``"file a.h5"``.
    first, second : object
        Values of the first and of the second set; None for a set that has no such value.
    """

    where: str
    first: Any
    second: Any


def spec_differences(first: Manifest, second: Manifest) -> list[Difference]:
    """Return the differences of transforms, sources, files and classes of two sets."""
    found = [
        *_transforms(first.transform, second.transform),
        *_members("source.", _source_members(first.source), _source_members(second.source)),
        *_files(first.source, second.source),
    ]
    if first.layout.classes != second.layout.classes:
        found.append(Difference("classes", list(first.layout.classes), list(second.layout.classes)))
    return found


def _transforms(first: Transform, second: Transform) -> Iterator[Difference]:
    """Yield the parameters that differ; operations are matched by name and order."""
    ours = [operation.to_mapping() for operation in first.operations]
    theirs = [operation.to_mapping() for operation in second.operations]
    matcher = SequenceMatcher(
        None, [one["op"] for one in ours], [one["op"] for one in theirs], autojunk=False
    )
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        if tag == "equal":
            for one, other in zip(ours[a:a_end], theirs[b:b_end], strict=True):
                yield from _members(f"{one['op']}.", one, other)
            continue
        yield from (Difference(one["op"], _parameters(one), None) for one in ours[a:a_end])
        yield from (Difference(other["op"], None, _parameters(other)) for other in theirs[b:b_end])
    if first.max_bins != second.max_bins:
        yield Difference("max_bins", first.max_bins, second.max_bins)


def _parameters(operation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in operation.items()
        if name not in ("op", "version") and value is not None
    }


def _members(prefix: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for name in {**first, **second}:
        one, other = first.get(name), second.get(name)
        if one != other:
            yield Difference(f"{prefix}{name}", one, other)


def _source_members(source: Source) -> dict[str, Any]:
    document = source.to_mapping()
    del document["files"]
    return document


def _files(first: Source, second: Source) -> Iterator[Difference]:
    """Yield files that only one set has, and files whose contents differ between the sets; contents are shown as size and hash."""
    ours = {file.name: file for file in first.files}
    theirs = {file.name: file for file in second.files}
    for name in sorted({*ours, *theirs}):
        one, other = (
            None if file is None else f"{file.size:,} bytes, SHA-256 {file.sha256[:12]}"
            for file in (ours.get(name), theirs.get(name))
        )
        if ours.get(name) != theirs.get(name):
            yield Difference(f"file {name}", one, other)
