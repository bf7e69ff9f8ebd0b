"""A set that grows reads the new recordings only, and equals a fresh build."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.folders import draw, save
from tests.pipeline.growing.growing_folders import add, grown, is_as_fresh, opened, write_mnist_bin

from spikestore.store import Store
from spikestore.store_schemas.errors import RecordingError

pytestmark = pytest.mark.usefixtures("few_events")

FIRST = {
    f"{label}_{number:03d}": 100 * place + number for place, label in enumerate("ac") for number in range(35)
}
"""70 recordings in two classes: a fragment of 64 rows and one of 6."""


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings in ``data``, and a set of them in ``store``."""
    folder = tmp_path_factory.mktemp("former")
    add(folder / "data", **FIRST)
    grown(folder / "data", folder / "store", fragment_samples=64)
    return folder


@pytest.fixture
def folder(former: Path, tmp_path: Path) -> Path:
    """Return a copy, to change."""
    shutil.copytree(former, tmp_path / "grown")
    return tmp_path / "grown"


def at_the_end(root: Path) -> list[str]:
    add(root, c_900=900)
    return ["c/900.npy"]


def in_the_middle(root: Path) -> list[str]:
    add(root, a_0305=901, a_900=902)
    return ["a/0305.npy", "a/900.npy"]


def a_class_before_others(root: Path) -> list[str]:
    add(root, b_1=903)
    return ["b/1.npy"]


def one_less(root: Path) -> list[str]:
    (root / "a/000.npy").unlink()
    return []


def another_name(root: Path) -> list[str]:
    (root / "a/003.npy").rename(root / "c/zzz.npy")
    return []


def other_content(root: Path) -> list[str]:
    save(root / "a/004.npy", draw(904))
    return ["a/004.npy"]


CHANGES = [
    at_the_end,
    in_the_middle,
    a_class_before_others,
    one_less,
    another_name,
    pytest.param(other_content, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("change", CHANGES)
def test_only_new_recordings_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], list[str]]
) -> None:
    new = change(folder / "data")
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert sorted(names) == new
    assert features.manifest.provenance["reused_recordings"] == len(features) - len(new)
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


def test_one_line_reports_taken_rows(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = Store(folder / "store")["mine:all"].digest
    at_the_end(folder / "data")
    with caplog.at_level(logging.INFO):
        grown(folder / "data", folder / "store", move=False)
    assert f"folder all: 70 of 71 recordings are taken from mine:all@{before[:12]}; 1 is read" in caplog.text
    assert "moved mine:all from digest" in caplog.text


def test_all_recordings_are_read_on_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at_the_end(folder / "data")
    with opened(monkeypatch) as names, caplog.at_level(logging.INFO):
        features = grown(folder / "data", folder / "store", reuse=False)["all"]
    assert len(names) == 71
    assert "reused_recordings" not in features.manifest.provenance
    assert "taken" not in caplog.text


def test_rows_come_from_other_sets_of_the_transform(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are reused under a new name, and from a set with fewer recordings."""
    at_the_end(folder / "data")
    few = grown(folder / "data", tmp_path / "store", source={"limit": 66})["all"]
    Store(tmp_path / "store").forget("mine")
    with opened(monkeypatch) as names:
        features = grown(folder / "data", tmp_path / "store")["all"]
    assert (len(few), len(features), len(names)) == (66, 71, 5)
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


def test_recordings_of_other_splits_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that moves from one split to another is not read again."""
    root, pattern = tmp_path / "data", {"pattern": "{split}/{label}/*.npy"}
    for place, name in enumerate(("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        save(root / f"{name}.npy", draw(place))
    grown(root, tmp_path / "store", folder=pattern)
    (root / "train/b/2.npy").rename(root / "test/b/2.npy")
    save(root / "train/b/5.npy", draw(5))
    with opened(monkeypatch) as names:
        sets = grown(root, tmp_path / "store", folder=pattern)
    assert names == ["train/b/5.npy"]
    for split, features in sets.items():
        assert is_as_fresh(root, features, tmp_path / "fresh", split, folder=pattern)


@pytest.mark.parametrize(
    "other",
    [
        {"time_unit": "ms"},
        pytest.param({"offset": "first_event"}, marks=pytest.mark.slow),
        pytest.param({"names": {"t": "t"}}, marks=pytest.mark.slow),
    ],
)
def test_other_settings_read_everything(
    folder: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, object]
) -> None:
    with opened(monkeypatch) as names:
        grown(folder / "data", folder / "store", folder=other)
    assert len(names) == 70


def test_the_format_of_a_recording_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If recordings of another format are added, only they are read; a recording whose suffix changed is read in its new format."""
    root, both = tmp_path / "data", {"formats": ["npy", "mnist-bin"]}
    for number in range(3):
        write_mnist_bin(root / f"a/{number}.bin", number)
    grown(root, tmp_path / "store", folder=both)
    save(root / "a/3.npy", draw(3))
    with opened(monkeypatch) as names:
        features = grown(root, tmp_path / "store", folder=both)["all"]
    assert names == ["a/3.npy"]
    assert is_as_fresh(root, features, tmp_path / "fresh", folder=both)
    (root / "a/2.bin").rename(root / "a/2.npy")
    with pytest.raises(RecordingError, match=r"a/2\.npy: the file is not a NumPy array"):
        grown(root, tmp_path / "store", folder=both)


def test_skipped_recordings_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data/a/001.npy").write_bytes(b"\x93NUMPY")
    skip = {"on_error": "skip"}
    grown(folder / "data", folder / "store", source=skip)
    at_the_end(folder / "data")
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store", source=skip)["all"]
    assert sorted(names) == ["a/001.npy", "c/900.npy"]
    assert [row.row for row in features.manifest.skipped] == [1]
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh", source=skip)


def test_columns_come_from_the_new_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    options: dict[str, Any] = {"source": {"columns": ["user"]}, "folder": {"table": "labels.csv"}}
    for number in range(3):
        save(root / f"{number}.npy", draw(number))
    table = root / "labels.csv"
    table.write_text("file,label,user\n0.npy,a,1\n1.npy,b,2\n2.npy,a,3\n")
    grown(root, tmp_path / "store", **options)
    table.write_text("file,label,user\n0.npy,b,1\n1.npy,b,7\n2.npy,a,3\n")
    with opened(monkeypatch) as names:
        features = grown(root, tmp_path / "store", **options)["all"]
    assert names == []
    assert features.read().extras["user"].tolist() == [1, 7, 3]
    assert is_as_fresh(root, features, tmp_path / "fresh", **options)
    with opened(monkeypatch) as names:
        grown(root, tmp_path / "store", folder={"table": "labels.csv"})
    assert not names, "columns come from the reader, so a set without them has the rows too"
