"""The member `items` of a source: every member of it is in the key, and nothing that cannot be is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.items import FilePart, HashPart, ItemContent, VersionPart
from spikestore.store_schemas.specs.source import Source

FILES = {
    "kind": "files",
    "reader": "nmnist",
    "reader_version": 1,
    "dataset": "NMNIST",
    "split": "train",
    "length": 3,
    "files": [{"name": "a", "size": 1, "sha256": "0" * 64}],
}
VERSION = {"kind": "version", "name": "gestures.Gestures", "version": "1", "length": 2}
HASHES = {"kind": "hash", "hashes": ["1" * 64, "2" * 64]}
CONTENT = {"parts": [FILES, VERSION, HASHES], "classes": ["a", "b"], "fields": ["t", "x", "p"]}


def source(items: dict[str, Any] | None, **fields: Any) -> Source:
    shared = {"reader": "items", "reader_version": 1, "dataset": "items", "split": "all", "files": []}
    return Source.from_mapping({**shared, **({"items": items} if items else {}), **fields}, origin="test")


def changed(place: int, **members: Any) -> dict[str, Any]:
    parts = [dict(part) for part in (FILES, VERSION, HASHES)]
    parts[place] |= members
    return CONTENT | {"parts": parts}


def test_every_member_changes_the_key() -> None:
    by_part: list[tuple[type[Any], dict[str, Any]]] = [
        (
            FilePart,
            {
                "reader": "other",
                "reader_version": 2,
                "dataset": "Other",
                "split": "test",
                "length": 4,
                "files": [{"name": "a", "size": 1, "sha256": "1" * 64}],
            },
        ),
        (
            VersionPart,
            {"name": "gestures.Other", "version": "2", "length": 3, "time_unit": "ms", "target": 0},
        ),
        (HashPart, {"hashes": ["2" * 64, "1" * 64]}),
    ]
    contents: list[dict[str, Any]] = []
    for place, (model, members) in enumerate(by_part):
        assert {*members, "kind"} == model.model_fields.keys()
        contents += [changed(place, **{name: value}) for name, value in members.items()]
    contents += [changed(1, target="label")]
    members = {
        "rows": [0, 0, 6],
        "classes": ["b", "a"],
        "fields": ["t", "x"],
        "parts": [VERSION, FILES, HASHES],
    }
    assert members.keys() == ItemContent.model_fields.keys()
    contents += [CONTENT | {name: value} for name, value in members.items()]
    sources = [source(CONTENT), *map(source, contents)]
    assert len({each.key for each in sources}) == len(sources)
    assert sources[0].key_document()["items"] == CONTENT
    assert Source.from_mapping(sources[0].to_mapping(), origin="test") == sources[0]


@pytest.mark.parametrize(
    ("items", "fields", "problem"),
    [
        (None, {}, "either files or items"),
        (CONTENT, {"files": FILES["files"]}, "either files or items, and not both"),
        (CONTENT | {"rows": [7]}, {}, "below the number of recordings, 7"),
        (CONTENT | {"classes": ["a", "a"]}, {}, "must not list a class twice"),
        (CONTENT | {"fields": ["x", "t"]}, {}, "in the order"),
        (CONTENT | {"parts": []}, {}, "parts"),
        (changed(1, kind="guess"), {}, "unknown kind 'guess'"),
        (changed(2, hashes=[]), {}, "hashes"),
    ],
)
def test_what_is_refused(items: dict[str, Any] | None, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        source(items, **fields)
