"""Members of stored documents: those of every golden store are complete, and a document that lacks one is damaged."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.documents.ref import Ref
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.specs.canonical import seal, unseal
from spikestore.store_schemas.specs.model import Document

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS: dict[str, type[Document]] = {
    "manifest.json": Manifest,
    "plan.json": Plan,
    "records/*.json": Record,
    "refs/*/*.json": Ref,
}
FREE = {"provenance", "zarr"}
"""Members whose content a document does not define."""


def documents(pattern: str) -> list[Path]:
    found = sorted(GOLDEN.rglob(pattern))
    assert len(found) >= 4  # at least one in each store
    return found


def members(document: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each member that the format defines."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield (*path, name)
            if name not in FREE:
                yield from members(value, (*path, name))
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from members(value, (*path, place))


def without(document: Any, path: tuple[str | int, ...]) -> Any:
    """Return a copy without one member."""
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return changed


@pytest.mark.parametrize("pattern", KINDS)
def test_documents_of_golden_stores_have_every_member(pattern: str) -> None:
    """They are read, and written again with the same bytes."""
    for place in documents(pattern):
        data = place.read_bytes()
        assert KINDS[pattern].from_bytes(data, path="p").to_bytes() == data


@pytest.mark.parametrize("pattern", KINDS)
def test_a_document_without_a_member_is_damaged(pattern: str) -> None:
    """Its hash is valid; the error names the member, also if the member has a default."""
    for place in documents(pattern):
        document = unseal(place.read_bytes(), path="p")
        for path in members(document):
            if isinstance(path[-1], int) or path[0] == "splits":  # names of splits are free
                continue
            with pytest.raises(DamagedError, match=r"is not a valid ") as caught:
                KINDS[pattern].from_bytes(seal(without(document, path)), path="p")
            assert str(path[-1]) in str(caught.value).partition("\n")[2]
            assert caught.value.details["objects"] == ("p",)
