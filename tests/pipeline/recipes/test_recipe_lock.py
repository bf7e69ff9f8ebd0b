"""The lock of a recipe is written as a whole and read strictly."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spikestore.pipeline.recipes.recipe_lock import LockFile, RecipeLock, lock_path, read_lock, write_lock
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import NewerFormatError, SpecError


def lock(*splits: str, digit: str = "a") -> RecipeLock:
    return RecipeLock(
        splits={
            split: Pin(transform_key=digit * 64, source_key="b" * 64, digest="c" * 64) for split in splits
        }
    )


def test_a_lock_is_next_to_its_recipe() -> None:
    """It has the recipe's own name, so that several recipes can share a folder."""
    assert lock_path(Path("recipes/ssc.toml")) == Path("recipes/ssc.lock")
    assert lock_path(Path("ssc.v2.toml")) == Path("ssc.v2.lock")
    names = ["ssc", "ssc.v1", "ssc.v2", "ssc.lock"]
    assert [lock_path(Path(name)).name for name in names] == [f"{name}.lock" for name in names]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A lock equals the one that was written; without a file there is no lock."""
    path = tmp_path / "r.lock"
    assert read_lock(path) is None
    write_lock(path, lock("train", "test"))
    assert read_lock(path) == lock("train", "test")
    assert [one.name for one in tmp_path.iterdir()] == ["r.lock"]


def test_the_text_suits_version_control(tmp_path: Path) -> None:
    """The text is sorted JSON with one value per line and a final line end; equal locks have equal texts."""
    text = lock("valid", "train").to_text()
    assert text == lock("train", "valid").to_text()
    assert text.endswith("}\n")
    assert max(len(line) for line in text.splitlines()) < 100
    assert list(json.loads(text)["splits"]) == ["train", "valid"]
    mine, other = text.splitlines(), lock("train", "valid", digit="d").to_text().splitlines()
    assert sum(a != b for a, b in zip(mine, other, strict=True)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"format": 1}',
        '{"format": 1, "splits": {}}',
        '{"format": 1, "splits": [], "more": 1}',
    ],
)
def test_an_invalid_lock_is_rejected_with_its_path(tmp_path: Path, text: str) -> None:
    """Garbage, other JSON, missing and unknown members."""
    path = tmp_path / "r.lock"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"r\.lock"):
        read_lock(path)


def test_bytes_that_are_no_text_and_a_folder(tmp_path: Path) -> None:
    """Both are rejected with the reason. Only damaged text may be deleted: a lock that cannot be read may have pins."""
    (tmp_path / "r.lock").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.lock").mkdir()
    with pytest.raises(SpecError, match=r"r\.lock is not a lock.*delete it"):
        read_lock(tmp_path / "r.lock")
    with pytest.raises(SpecError, match=r"cannot read the lock .*folder\.lock: ") as caught:
        read_lock(tmp_path / "folder.lock")
    assert "delete" not in caught.value.message


def test_a_newer_format(tmp_path: Path) -> None:
    """The format is checked before any other member."""
    path = tmp_path / "r.lock"
    path.write_text('{"format": 2, "splits": {"train": ["new"]}}')
    with pytest.raises(NewerFormatError, match="format 2"):
        read_lock(path)


@pytest.mark.parametrize(
    "pin", [{"digest": "c" * 63}, {"transform_key": "A" * 64}, {"source_key": None}, {"x": "y"}]
)
def test_pins_are_checked(tmp_path: Path, pin: dict[str, str | None]) -> None:
    """Keys and digests are 64 hexadecimal digits; other members are rejected."""
    document = json.loads(lock("train").to_text())
    document["splits"]["train"] |= pin
    path = tmp_path / "r.lock"
    path.write_text(json.dumps(document))
    with pytest.raises(SpecError, match=r"splits\.train"):
        read_lock(path)


def test_a_failed_write_leaves_the_old_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old text stays, and no temporary file does."""
    path = tmp_path / "r.lock"
    write_lock(path, lock("train"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_lock(path, lock("test"))
    assert read_lock(path) == lock("train")
    assert [one.name for one in tmp_path.iterdir()] == ["r.lock"]


def test_which_pins_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other splits of the same transform stay if the caller says so; the warning does not name the same digest twice."""
    path = tmp_path / "r.lock"
    file, old = LockFile(path, True), lock("train", "test")
    moved = old.splits["train"].model_copy(update={"source_key": "d" * 64})
    file.update(old, {"train": moved}, keep_others=True)
    assert read_lock(path) == RecipeLock(splits={"train": moved, "test": old.splits["test"]})
    assert "but this build has the same digest under other keys: the recordings" in caplog.text
    other = moved.model_copy(update={"transform_key": "e" * 64})
    file.update(read_lock(path), {"train": other}, keep_others=True)
    assert read_lock(path) == RecipeLock(splits={"train": other})
    file.update(old, {"train": moved})
    assert read_lock(path) == RecipeLock(splits={"train": moved})
