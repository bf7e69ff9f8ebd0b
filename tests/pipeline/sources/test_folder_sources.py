"""Sources of folders: what the key depends on, and which fields recordings have."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.cochlea_files import bad, good
from tests.pipeline.folders import draw, save, write_tree

from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.readers.registry import open_reader
from spikestore.pipeline.sources.folder_sources import locate_recorded, make_folder_sources
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store_schemas.errors import (
    LayoutError,
    SpecError,
    SpikestoreError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.source import Source

FILES = ("train/a/u1.npy", "train/b/u2.npy", "train/b/u3.npy", "test/a/u4.npy")
PATTERN = "{split}/{label}/u{user}.*"


def sources(
    root: Path, columns: tuple[str, ...] = (), on_error: Any = "raise", **fields: Any
) -> dict[str, LocatedSource]:
    settings = FolderSettings.from_mapping(fields, origin="mine.toml")
    return make_folder_sources(
        settings, root, columns=columns, on_error=on_error, cache=root.parent / "cache"
    )


def key(root: Path, columns: tuple[str, ...] = (), **fields: Any) -> str:
    return sources(root, columns, **fields)["train"].source.key


def test_the_source_holds_all_that_determines_events_and_labels(tmp_path: Path) -> None:
    written = write_tree(tmp_path / "data", *FILES)
    located = sources(tmp_path / "data", ("user",), pattern=PATTERN)
    source = located["train"].source
    assert source.to_mapping()["folder"] == {
        "decoding": {"formats": {"npy": 1}, "fields": ["t", "x", "y", "p"], "time_unit": "us"},
        "classes": ["a", "b"],
        "labels": [0, 1, 1],
        "columns": {"user": [1, 2, 3]},
    }
    assert Source.from_mapping(source.to_mapping(), origin="copy").key == source.key
    with open_reader(source, located["train"].root) as reader:
        assert (reader.classes, reader.has_y, reader.extras, len(reader)) == (("a", "b"), True, ("user",), 3)
        for row, item in enumerate(reader.read(0, 3)):
            recording = good(item)
            events = written[source.files[row].name]
            assert all(np.array_equal(recording.events[field], events[field]) for field in "txyp")
            assert (recording.label, recording.extras) == ([0, 1, 1][row], {"user": [1, 2, 3][row]})


def test_a_part_has_its_own_labels_and_columns(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", *FILES)
    part = sources(tmp_path / "data", ("user",), pattern=PATTERN)["train"].part(range(1, 3))
    with open_reader(part.source, part.root, first_row=part.first_row) as reader:
        block = reader.read_block(2, 3)
    assert (block.labels.tolist(), block.extras["user"].tolist()) == ([1], [3])


def test_where_labels_come_from_is_not_in_the_key(tmp_path: Path) -> None:
    """A pattern, a table with other columns, or another location have one key. Other labels, units or classes have another key."""
    root = tmp_path / "data"
    write_tree(root, *FILES)
    first = key(root, pattern=PATTERN)
    lines = [f"{file},{file.split('/')[0]},{file.split('/')[1]},note" for file in FILES]
    (root / "labels.csv").write_text("\n".join(["file,split,label,note", *lines]))
    assert key(root, table="labels.csv") == first
    (root / "labels.csv").write_text(
        "\n".join(["file,split,label", *(line.removesuffix(",note") for line in reversed(lines))])
    )
    assert key(root, table="labels.csv") == first
    (root / "labels.csv").unlink()
    copy = tmp_path / "elsewhere/copy"
    shutil.copytree(root, copy)
    assert key(copy, pattern=PATTERN) == first
    others = [
        key(root, pattern=PATTERN, time_unit="ms"),
        key(root, pattern=PATTERN, offset="first_event"),
        key(root, pattern=PATTERN, clock_bits=24),
        key(root, pattern=PATTERN, classes=["b", "a"]),
        key(root, pattern=PATTERN, label="user"),
        key(root, ("user",), pattern=PATTERN),
    ]
    assert len({first, *others}) == 7


def test_one_split_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", *FILES)
    settings = FolderSettings(pattern=PATTERN)
    assert list(make_folder_sources(settings, tmp_path / "data", splits=("test",), cache=tmp_path)) == [
        "test"
    ]
    with pytest.raises(UnknownNameError, match="has no split 'valid'; its splits are train, test"):
        make_folder_sources(settings, tmp_path / "data", splits=("valid",), cache=tmp_path)
    with pytest.raises(UnknownNameError, match="there is no field 'age'"):
        make_folder_sources(settings, tmp_path / "data", columns=("age",), cache=tmp_path)
    with pytest.raises(SpikestoreError, match="nowhere does not exist"):
        make_folder_sources(settings, tmp_path / "nowhere", cache=tmp_path)


def test_copies_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A recording that is in train and test, or under two labels, is legal and probably a mistake, so it is reported."""
    root = tmp_path / "data"
    write_tree(root, *FILES)
    sources(root, pattern=PATTERN)
    assert "equal content" not in caplog.text
    (root / "test/b").mkdir()
    shutil.copy(root / FILES[0], root / "test/b")
    sources(root, pattern=PATTERN)
    assert (
        "recordings with equal content are in different splits: train/a/u1.npy and test/b/u1.npy (1 such pair)"
        in caplog.text
    )
    assert (
        "recordings with equal content have different labels: train/a/u1.npy and test/b/u1.npy (1 such pair)"
        in caplog.text
    )


def test_names_that_cannot_be_stored_and_links_to_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tree(root, "a/1.npy")
    (root / "a/2.npy").symlink_to("nowhere")
    with pytest.raises(
        SpikestoreError, match=r"a/2\.npy is a link to a file that does not exist: remove the link"
    ):
        sources(root)
    (root / "a/2.npy").unlink()
    save(root / "a/1\n2.npy", draw(3))
    with pytest.raises(
        LayoutError, match=r"'a/1\\n2\.npy' in .* has a backslash or a control character in its name"
    ):
        sources(root)


def test_events_without_y_or_p(tmp_path: Path) -> None:
    events = draw(0)
    save(tmp_path / "data/a/1.npy", np.stack([events["x"], events["t"]], axis=1))
    located = sources(tmp_path / "data", fields=["x", "t"])["all"]
    with open_reader(located.source, located.root) as reader:
        recording, block = good(reader.read(0, 1)[0]), reader.read_block(0, 1)
    assert (reader.has_y, block.y, block.p) == (False, None, None)
    assert recording.events.dtype.names == ("t", "x", "p")
    assert recording.events["p"].tolist() == [1] * len(events)


def test_mixed_fields_are_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tree(root, "a/1.npy", "a/2.npy")
    save(root / "a/3.npy", draw(3)[["t", "x", "p"]].copy())
    located = sources(root)["all"]
    with open_reader(located.source, located.root) as reader:
        *_, last = reader.read(0, 3)
    assert str(bad(last)) == "a/3.npy: it has the fields t, x, p, other recordings have t, x, y, p"


def test_the_first_recording_that_can_be_read_tells_the_fields(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tree(root, "a/1.npy", "a/2.npy")
    (root / "a/1.npy").write_bytes(b"noise")
    assert sources(root, on_error="skip")["all"].source.folder is not None
    with pytest.raises(LayoutError, match=r"a/1\.npy: the file is not a NumPy array"):
        sources(root)
    (root / "a/2.npy").write_bytes(b"")
    with pytest.raises(LayoutError, match=r"a/1\.npy: the file is not a NumPy array"):
        sources(root, on_error="skip")


def test_the_files_of_a_stored_set_are_found_again(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tree(root, *FILES)
    source = sources(root, ("user",), pattern=PATTERN)["train"].source
    assert locate_recorded(source, root).source.key == source.key
    save(root / FILES[1], draw(99))
    assert locate_recorded(source, root).source.key != source.key


def test_another_version_of_a_format_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", "a/1.npy")
    source = sources(tmp_path / "data")["all"].source
    for formats, message in (
        ({"npy": 2}, "format npy version 2, but the installed format has version 1"),
        (
            {"wand-lab.wand": 1},
            "no format is called 'wand-lab.wand'.*: install the package that reads this format",
        ),
    ):
        mapping = source.to_mapping()
        mapping["folder"]["decoding"]["formats"] = formats
        with pytest.raises(UsageError, match=message):
            open_reader(Source.from_mapping(mapping, origin="copy"), tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1], "columns": {"user": [1, 2]}}, "folder has 2 labels, but there are 3 files"),
        ({"labels": [0, 1, 2]}, "labels must be below 2 (the number of classes), got 2"),
        ({"classes": ["a", "a"]}, "classes must not list a class twice"),
        ({"columns": {}}, "the column 'user' must be in columns and in folder.columns, or in neither"),
        ({"columns": {"user": [1]}}, "user has 1 value, but there are 3 labels"),
        ({"columns": {"user": [1, 2, 2**31]}}, "columns.user"),
        (
            {"decoding": {"formats": {"npy": 1}, "fields": ["x", "t"]}},
            "fields must contain t and x, and may contain y and p",
        ),
    ],
)
def test_a_source_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_tree(tmp_path / "data", *FILES)
    mapping = sources(tmp_path / "data", ("user",), pattern=PATTERN)["train"].source.to_mapping()
    mapping["folder"] |= change
    with pytest.raises(SpecError, match=re.escape(message)):
        Source.from_mapping(mapping, origin="copy")
