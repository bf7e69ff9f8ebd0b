"""A source is identified by the content of its files and the options of reading, not by their location."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.source import Source

FILE: dict[str, Any] = {"name": "a.h5", "size": 1, "sha256": "0" * 64}
FIELDS: dict[str, Any] = {
    "reader": "cochlea-hdf5",
    "reader_version": 1,
    "dataset": "SSC",
    "split": "train",
    "files": [FILE],
}


def files(*names: str) -> dict[str, Any]:
    return {**FIELDS, "files": [{**FILE, "name": name} for name in names]}


@pytest.mark.parametrize(
    "name",
    [
        "/a",
        "../a",
        "a/../b",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "",
        "\\a",
        "a\\b",
        "a\nb",
        "a\x00",
        ".",
        "..",
        "x" * 1025,
    ],
)
def test_names_never_leave_the_folder(name: str) -> None:
    """Absolute names, names with ``..``, and empty or unprintable names are rejected."""
    with pytest.raises(SpecError, match=r"files\[0\].name"):
        Source.from_mapping(files(name), origin="test")


@pytest.mark.parametrize("name", ["a", "a/b.h5", "..a", "a..", "ä/€", "a b", ".hidden"])
def test_ordinary_names_are_taken(name: str) -> None:
    """Dots, spaces and letters of all scripts are accepted."""
    assert SourceFile.from_mapping({**FILE, "name": name}, origin="test").name == name


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("B", "a", "C")])
def test_files_are_sorted_and_listed_once(names: tuple[str, ...]) -> None:
    """The order in which a file system lists files has no effect."""
    with pytest.raises(SpecError, match="sorted by name, without duplicates"):
        Source.from_mapping(files(*names), origin="test")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reader", "Cochlea"),
        ("reader", "a" * 64),
        ("reader", "a\n"),
        ("split", "../train"),
        ("split", ""),
        ("dataset", "S/SC"),
        ("dataset", ""),
        ("reader_version", 0),
        ("limit", 0),
        ("on_error", "ignore"),
        ("sort", 1),
        ("files", []),
        ("files", [{**FILE, "size": -1}]),
        ("files", [{**FILE, "sha256": "F" * 64}]),
        ("files", [{**FILE, "mtime": 1}]),
    ],
)
def test_what_is_refused(field: str, value: object) -> None:
    """Each problem has the path of its field."""
    with pytest.raises(SpecError) as caught:
        Source.from_mapping({**FIELDS, field: value}, origin="test")
    assert caught.value.problems[0].path.startswith(field)


def test_one_byte_of_a_file_changes_the_key() -> None:
    """The hash of the content is in the key; equal sizes and names do not make equal keys."""
    keys = {
        Source.from_mapping(
            {**FIELDS, "files": [{**FILE, "sha256": hashlib.sha256(content).hexdigest()}]}, origin="test"
        ).key
        for content in (b"a", b"b")
    }
    assert len(keys) == 2


def test_defaults_are_the_strict_ones() -> None:
    """Unsorted times and invalid recordings are errors unless the options allow them."""
    source = Source.from_mapping(FIELDS, origin="test")
    assert (source.sort, source.on_error, source.limit) == (False, "raise", None)
