"""Recordings of a folder: labels, splits and columns from names or a table; whatever does not fit is named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.folders import write_tree

from spikestore.pipeline.readers.folder.listing import Listing, list_folder
from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.readers.folder.splits import split_of
from spikestore.store_schemas.errors import SpecError, SpikestoreError


def listing(root: Path, columns: tuple[str, ...] = (), **fields: Any) -> Listing:
    return list_folder(root, FolderSettings.from_mapping(fields, origin="mine.toml"), columns)


def labels(found: Listing) -> dict[str, dict[str, str]]:
    """Return the class name of each file, by split."""
    return {
        name: {file: found.classes[label] for file, label in zip(split.files, split.labels, strict=True)}
        for name, split in found.splits.items()
    }


def write_table(root: Path, text: str, name: str = "labels.csv") -> None:
    (root / name).write_text(text, encoding="utf-8")


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    write_tree(tmp_path, "b/2.npy", "b/1.npy", "a/9.npy")
    (tmp_path / "a/.hidden.npy").touch()
    (tmp_path / "a/readme.md").touch()
    found = listing(tmp_path)
    assert labels(found) == {"all": {"a/9.npy": "a", "b/1.npy": "b", "b/2.npy": "b"}}
    assert (found.classes, found.formats) == (("a", "b"), ("npy",))


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    write_tree(tmp_path, *(f"{number}/a.npy" for number in (10, 9, 0)))
    assert listing(tmp_path).classes == ("0", "9", "10")
    assert listing(tmp_path, classes=["9", "10", "0", "1"]).classes == ("9", "10", "0", "1")


def test_splits_and_columns_from_a_pattern(tmp_path: Path) -> None:
    """Classes are those of all splits together, so that their numbers agree."""
    write_tree(tmp_path, "test/b/u3-x.npy", "train/a/u1-x.npy", "train/c/u02-x.npy")
    found = listing(tmp_path, ("user",), pattern="{split}/{label}/u{user}-*.npy")
    assert list(found.splits) == ["train", "test"]
    assert labels(found) == {
        "train": {"train/a/u1-x.npy": "a", "train/c/u02-x.npy": "c"},
        "test": {"test/b/u3-x.npy": "b"},
    }
    assert [split.columns for split in found.splits.values()] == [{"user": (1, 2)}, {"user": (3,)}]


@pytest.mark.parametrize(("first", "second"), [("1_1", "11"), ("1_0.5", "10.5")])
def test_an_underscore_is_no_part_of_a_number(tmp_path: Path, first: str, second: str) -> None:
    """Python reads 1_1 as 11, so two sessions would become one: such values are texts."""
    write_tree(tmp_path, f"a/s{first}.npy", f"b/s{second}.npy")
    found = listing(tmp_path, ("session",), pattern="{label}/s{session}.npy")
    columns = found.splits["all"].columns
    assert "session" not in columns
    assert len(set(zip(*columns.values(), strict=True))) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table(tmp_path: Path, delimiter: str) -> None:
    """Lines may have any order, quotes and a byte order mark; other columns are not stored."""
    write_tree(tmp_path, "x/1.npy", "2.npy")
    lines = ["label|file|split|age|user", '"left hand"|2.npy|test|30|4', "right|x/1.npy|train||-5", ""]
    write_table(tmp_path, "\ufeff" + "\r\n".join(lines).replace("|", delimiter))
    found = listing(tmp_path, ("user",), table="labels.csv")
    assert labels(found) == {"train": {"x/1.npy": "right"}, "test": {"2.npy": "left hand"}}
    assert [split.columns["user"] for split in found.splits.values()] == [(-5,), (4,)]


def test_other_names_of_columns_and_a_pattern_beside_a_table(tmp_path: Path) -> None:
    write_tree(tmp_path, "user1/1.npy", "user2/2.npy")
    write_table(tmp_path, "path,gesture\nuser1/1.npy,wave\nuser2/2.npy,clap\n", "facts.csv")
    found = listing(
        tmp_path, ("user",), table="facts.csv", file="path", label="gesture", pattern="user{user}/*"
    )
    assert labels(found)["all"] == {"user1/1.npy": "wave", "user2/2.npy": "clap"}
    assert found.splits["all"].columns == {"user": (1, 2)}


def test_shares_keep_groups_together_and_are_stable(tmp_path: Path) -> None:
    """Added recordings do not move others; each group is in one split."""
    write_tree(
        tmp_path, *(f"{label}/u{user}_{i}.npy" for label in "ab" for user in range(30) for i in range(2))
    )
    settings: Any = {
        "pattern": "{label}/u{user}_*",
        "shares": {"train": 0.5, "valid": 0.25, "test": 0.25},
        "group": "user",
    }
    before = labels(listing(tmp_path, **settings))
    assert list(before) == ["train", "valid", "test"]
    users = {split: {name.split("/")[1].split("_")[0] for name in files} for split, files in before.items()}
    assert sum(map(len, users.values())) == 30
    write_tree(tmp_path, *(f"{label}/u{user}_9.npy" for label in "ab" for user in range(3, 60)))
    after = labels(listing(tmp_path, **settings))
    assert all(set(before[split]) <= set(after[split]) for split in before)


def test_shares_are_met_on_average() -> None:
    splits = [split_of(f"recording {number}", {"train": 0.8, "test": 0.2}) for number in range(4000)]
    assert splits.count("test") == pytest.approx(800, abs=80)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    write_tree(tmp_path / "elsewhere", "1.npy")
    write_tree(tmp_path / "data", "a/1.npy")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    assert labels(listing(tmp_path / "data"))["all"] == {"a/1.npy": "a", "b/1.npy": "b"}
    (tmp_path / "data/b/c").symlink_to(tmp_path / "data")
    with pytest.raises(SpikestoreError, match=r"are the same folder: remove the one that is a link"):
        listing(tmp_path / "data")


TABLE = "file,label\na/1.npy,x\nb/2.npy,y\n"
Case = tuple[dict[str, Any], tuple[str, ...], str | None, str]
BAD: dict[str, Case] = {
    "files too deep": ({}, (), None, "1 of 3 recordings does not fit the pattern {label}/*; the first is c/d/3.npy: set pattern = …"),
    "no such table": ({"table": "labels.csv"}, (), None, "labels.csv does not exist: under [source.folder], set table = … to its path"),
    "no column file": ({"table": "labels.csv"}, (), "fil,label\na,b\n", "has no column 'file', did you mean 'fil'?"),
    "a file twice": ({"table": "labels.csv"}, (), TABLE + "./a/1.npy,y\n", "names a/1.npy twice, in the lines 2 and 4"),
    "a file that is not there": ({"table": "labels.csv"}, (), TABLE + "c/9.npy,y\n", "labels.csv: line 4 lists c/9.npy, a file that does not exist (1 such line)"),
    "a file of no format": ({"table": "labels.csv"}, (), TABLE + "c/notes.md,y\n", "labels.csv: line 4 lists c/notes.md, a file that is not read: "),
    "files that are not listed": ({"table": "labels.csv"}, (), TABLE, "1 of 3 recordings has no line in"),
    "a line that is too short": ({"table": "labels.csv"}, (), TABLE + "c/d/3.npy\n", "has 1 value in line 4, but the first line names 2 columns"),
    "no label": ({"table": "labels.csv"}, (), TABLE + "c/d/3.npy,\n", "c/d/3.npy has no label: write a label into the table"),
    "an unknown label": ({"table": "labels.csv", "classes": ["x", "y"]}, (), TABLE + "c/d/3.npy,z\n", "c/d/3.npy has the label 'z', which is not in classes under [source.folder]: correct the label, or add it to classes"),
    "no field label": ({"pattern": "**"}, (), None, "there is no field 'label'; the pattern and the table have none: change the value of label under [source.folder]"),
    "no such group": ({"pattern": "{label}/**", "shares": {"train": 1}, "group": "user"}, (), None, "there is no field 'user'; the pattern and the table have 'label': change the value of group under [source.folder]"),
    "no such column": ({"pattern": "{label}/**"}, ("user",), None, "there is no field 'user'; the pattern and the table have 'label': change the value of columns under [source]"),
    "no such split field": ({"pattern": "{label}/**", "split": "fold"}, (), None, "there is no field 'fold'; the pattern and the table have 'label': change the value of split under [source.folder]"),
    "a long text": ({"table": "labels.csv"}, ("note",), f"file,label,note\na/1.npy,x,{'ä' * 61}\nb/2.npy,y,\nc/d/3.npy,x,\n", "a/1.npy has a value of note with 122 bytes, but at most 120 are kept: shorten the value"),
    "a control character": ({"table": "labels.csv"}, ("note",), "file,label,note\na/1.npy,x,a\x07b\nb/2.npy,y,\nc/d/3.npy,x,\n", "'a/1.npy' has note = 'a\\x07b', which is not UTF-8 or has a character that is not printable: correct the value"),
    "a missing number": ({"table": "labels.csv"}, ("gain",), "file,label,gain\na/1.npy,x,0.5\nb/2.npy,y,\nc/d/3.npy,x,1\n", "b/2.npy has no gain, but all other values of gain are numbers: write a number into the table, or do not list gain in columns"),
    "a long name": ({"table": "labels.csv"}, ("g" * 55,), f"file,label,{'g' * 55}\na/1.npy,x,0.5\nb/2.npy,y,1\nc/d/3.npy,x,1\n", "is too long: use at most 54 characters, the limit for columns of texts"),
    "splits twice": ({"pattern": "{split}/**", "label": "split", "shares": {"train": 1}}, (), None, "has the field split, so shares must not be set"),
    "a split without recordings": ({"pattern": "{label}/**", "shares": {"train": 0.9999, "test": 0.0001}}, (), None, "the split 'test' of"),
    "an unknown format": ({"formats": ["numpy"]}, (), None, "no format is called 'numpy'"),
    "no recording of a format": ({"formats": ["npz"]}, (), None, "no recording in"),
    "an empty file as table": ({"table": "labels.csv"}, (), "", "labels.csv has no columns: its first line must name them"),
    "an absolute path": ({"table": "labels.csv"}, (), "file,label\n/data/a.npy,x\n", "labels.csv: line 2 lists /data/a.npy, which is not a path inside the data folder"),
    "a path out of the folder": ({"table": "labels.csv"}, (), "file,label\na/../../a.npy,x\n", "labels.csv: line 2 lists a/../../a.npy, which is not a path inside the data folder"),
    "a line after a value of two lines": ({"table": "labels.csv"}, (), 'file,label\na/1.npy,"x\ny"\n\nb/2.npy\n', "has 1 value in line 5, but the first line names 2 columns"),
    "a column twice": ({"table": "labels.csv"}, (), "file,a,a\n", "names the column 'a' twice"),
    "an empty table": ({"table": "labels.csv"}, (), "file,label\n", "has no line with a recording"),
    "a field twice": ({"table": "labels.csv", "pattern": "{label}/**"}, (), TABLE + "c/d/3.npy,y\n", "label is a field of the pattern and a column of"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named(tmp_path: Path, case: str) -> None:
    fields, columns, table, message = BAD[case]
    write_tree(tmp_path, "a/1.npy", "b/2.npy", "c/d/3.npy")
    (tmp_path / "c/notes.md").touch()
    if table is not None:
        write_table(tmp_path, table)
    with pytest.raises(SpikestoreError, match=re.escape(message)):
        listing(tmp_path, columns, **fields)


def test_a_name_in_another_encoding_is_no_text(tmp_path: Path) -> None:
    write_tree(tmp_path, os.fsdecode(b"a/K\xfcche.npy"))
    with pytest.raises(SpikestoreError, match=r"room = 'K\\udcfcche', which is not UTF-8 or has"):
        listing(tmp_path, ("room",), pattern="{label}/{room}.npy")


def test_splits_must_be_names(tmp_path: Path) -> None:
    write_tree(tmp_path, "Train/a/1.npy")
    with pytest.raises(
        SpikestoreError,
        match="has the split 'Train', which is not a valid name: rename the split; a name has 1 to 63 lower-case letters",
    ):
        listing(tmp_path, pattern="{split}/{label}/*")


def test_recordings_that_are_not_listed_can_be_ignored(tmp_path: Path) -> None:
    write_tree(tmp_path, "a/1.npy", "b/2.npy", "c/d/3.npy")
    write_table(tmp_path, TABLE)
    assert len(listing(tmp_path, table="labels.csv", unlisted="ignore").splits["all"].files) == 2


def test_several_formats_are_named(tmp_path: Path) -> None:
    """Several formats are an error unless the recipe says which files are recordings; excluded files do not count."""
    write_tree(tmp_path, "a/1.npy")
    (tmp_path / "a/1.csv").write_text("t,x\n")
    with pytest.raises(
        SpikestoreError, match=r"has files of 2 formats: 1 of npy \(a/1.npy\), 1 of text \(a/1.csv\)"
    ) as caught:
        listing(tmp_path)
    assert 'set formats = ["npy", "text"] under [source.folder]' in str(caught.value)
    assert listing(tmp_path, formats=["npy"]).formats == ("npy",)
    assert listing(tmp_path, exclude=["**/*.csv"]).formats == ("npy",)
    assert listing(tmp_path, formats=["text", "npy"]).formats == ("npy", "text")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SpikestoreError, match=r"no recording in .*: it is empty"):
        listing(tmp_path)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(
        SpikestoreError, match=r"no recording in .*: there are only \.jpg files: convert them to a format"
    ):
        listing(tmp_path)


def test_shares_with_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    """Such a file has a split too; its name is refused later, with one line, when the files are hashed."""
    name = os.fsdecode(b"\xff.npy")
    try:
        write_tree(tmp_path, *(f"a/{number}.npy" for number in range(40)), f"a/{name}")
    except OSError:
        pytest.skip("the file system has only names in UTF-8")
    found = listing(tmp_path, shares={"train": 0.5, "test": 0.5})
    assert f"a/{name}" in {file for split in found.splits.values() for file in split.files}


def test_why_no_file_is_a_recording(tmp_path: Path) -> None:
    """The message says which field leaves the files out: a folder with files is not empty, and files in a known format need no conversion."""
    write_tree(tmp_path, "a/1.npy")
    with pytest.raises(SpikestoreError, match=r"exclude .* leaves out all files, such as a/1.npy"):
        listing(tmp_path, exclude=["**"])
    with pytest.raises(
        SpikestoreError, match=r"it has \.npy files, but the field formats .* lists aedat4: change this field"
    ):
        listing(tmp_path, formats=["aedat4"])
    write_table(tmp_path / "a", "file,label\n1.npy,x\n")
    (tmp_path / "a/1.npy").unlink()
    with pytest.raises(SpikestoreError, match=r"the table .*labels.csv is the only file: add the recordings"):
        listing(tmp_path, table="a/labels.csv")


def test_a_table_may_list_files_that_are_not_read(tmp_path: Path) -> None:
    write_tree(tmp_path, "a/1.npy", "a/2.npy")
    (tmp_path / "a/3.csv").write_text("t,x\n")
    write_table(tmp_path, "file,label\na/1.npy,x\na/2.npy,x\na/3.csv,x\n")
    with pytest.raises(
        SpikestoreError,
        match=r"lists a/3\.csv, a file that is not read: the path matches exclude = \[…\], .* or the format is not known or not in formats = \[…\]",
    ):
        listing(tmp_path, table="labels.csv", formats=["npy"], exclude=["labels.csv"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shares": {"train": 0.5}}, "shares must add up to 1, got 0.5"),
        ({"shares": {"train": 1.5, "test": -0.5}}, "shares must be above 0"),
        ({"label": "{label}/*"}, "got '{label}/*': change this value, or set pattern or table"),
        (
            {"label": ""},
            "the value of label is the name of a field in the default pattern, so it must start with a letter",
        ),
        ({"group": "user"}, "group needs shares: set shares too"),
        ({"unlisted": "ignore"}, 'unlisted = "ignore" has no effect without a table'),
        ({"classes": ["b", "a", "a"]}, "classes must list each class once, got 'a' more than once"),
        ({"fields": ["x", "y"]}, 'fields must contain "t" and "x"'),
        ({"pattern": "{label"}, "has an unmatched brace"),
        ({"time_unit": "µs"}, "time_unit"),
    ],
)
def test_settings_that_contradict_themselves(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        listing(tmp_path, **fields)
