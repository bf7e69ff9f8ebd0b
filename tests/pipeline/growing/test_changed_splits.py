"""Recordings that change their split are reported: with shares and without group, a hash of the path decides the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.growing.growing_folders import add, grown

from spikestore.pipeline.readers.folder.splits import split_of
from spikestore.store import Store
from spikestore.store_schemas.errors import UsageError

SHARES = {"train": 0.5, "test": 0.5}
BY_PATH: dict[str, Any] = {"folder": {"shares": SHARES}}

pytestmark = pytest.mark.usefixtures("few_events")


def name_in(split: str, beginning: str) -> str:
    """Return a path whose hash puts it into a split."""
    return next(
        path for number in range(99) if split_of(path := f"a/{beginning}{number}.npy", SHARES) == split
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with recordings of both splits, and a set of them."""
    add(tmp_path / "data", **{f"a_{number}": number for number in range(6)})
    grown(tmp_path / "data", tmp_path / "store", **BY_PATH)
    return tmp_path / "data"


def test_a_renamed_recording_that_changes_its_split_is_reported(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = next(path for path in sorted(root.rglob("*.npy")) if split_of(f"a/{path.name}", SHARES) == "train")
    new = name_in("test", "renamed")
    old.rename(root / new)
    with pytest.raises(UsageError, match=r"mine:train .* has other recordings: a/"):
        grown(root, root.parent / "store", move=False, **BY_PATH)
    grown(root, root.parent / "store", **BY_PATH)
    (first, second) = [record.message for record in caplog.records if "another split" in record.message]
    assert first == second
    assert first == (
        f"1 recording is in another split than in the current sets of the name mine; for example, {new} moves from train to test. "
        "If group is not set, a hash of the path decides the split, so a renamed or moved file can change its split. To prevent this, set "
        "group under [source.folder], or replace shares there by a table with the split of each recording (table = … and split = …)"
    )


def test_a_renamed_recording_that_keeps_its_split_is_not(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = next(path for path in sorted(root.rglob("*.npy")) if split_of(f"a/{path.name}", SHARES) == "train")
    old.rename(root / name_in("train", "renamed"))
    grown(root, root.parent / "store", **BY_PATH)
    assert "another split" not in caplog.text


def test_other_causes_are_reported_without_advice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user who moves a file to another split needs no advice."""
    root = tmp_path / "data"
    by_folder: dict[str, Any] = {"folder": {"pattern": "{split}/{label}/*"}}
    add(root, train_a_1=1, train_a_2=2, test_a_3=3)
    grown(root, tmp_path / "store", **by_folder)
    (root / "train/a/2.npy").rename(root / "test/a/2.npy")
    grown(root, tmp_path / "store", **by_folder)
    (message,) = [record.message for record in caplog.records if "another split" in record.message]
    assert message.endswith("for example, test/a/2.npy moves from train to test")


def test_a_split_that_keeps_recordings_of_another_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name keeps the set of a split that a command does not write, so a recording can be in two splits of the name."""
    root = tmp_path / "data"
    by_folder: dict[str, Any] = {"folder": {"pattern": "{split}/{label}/*"}}
    add(root, train_a_1=1, train_a_2=2, test_a_3=3, test_a_4=4)
    grown(root, tmp_path / "store", **by_folder)
    store, other = Store(tmp_path / "store"), Store(tmp_path / "other")
    store.push("mine", other)
    assert "keeps its earlier set" not in caplog.text
    warning = (
        "mine:test keeps its earlier set, and 1 of the recordings of that set are now also in other splits of mine: build or copy mine:test too, "
        "or remove the split from the name with spikestore rm mine:test"
    )
    (root / "test/a/3.npy").rename(root / "train/a/3.npy")
    for write in (
        lambda: grown(root, tmp_path / "store", source={"splits": ("train",)}, **by_folder),
        lambda: store.push("mine:train", other),
    ):
        caplog.clear()
        write()
        assert caplog.messages.count(warning) == 1
    caplog.clear()
    grown(root, tmp_path / "store", **by_folder)
    assert "keeps its earlier set" not in caplog.text
