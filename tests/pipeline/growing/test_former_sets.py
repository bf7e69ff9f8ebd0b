"""A set that grows reads the new recordings only, and equals a fresh build."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.pipeline.folders import draw, save
from tests.pipeline.growing.growing_folders import add, grown, is_as_fresh, opened

from spikestore.store import Store

FIRST = {
    f"{label}_{number:03d}": 100 * place + number for place, label in enumerate("ac") for number in range(70)
}
"""140 recordings in two classes: three blocks, two fragments of 64 rows and one of 12."""


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


CHANGES = [at_the_end, in_the_middle, a_class_before_others, one_less, another_name, other_content]


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


def test_one_line_says_what_is_taken(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = Store(folder / "store")["mine:all"].digest
    at_the_end(folder / "data")
    with caplog.at_level(logging.INFO):
        grown(folder / "data", folder / "store", move=False)
    assert (
        f"folder all: 140 of 141 recordings are taken from mine:all@{before[:12]}; 1 is read" in caplog.text
    )
    assert "moved mine:all from digest" in caplog.text


def test_all_recordings_are_read_on_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at_the_end(folder / "data")
    with opened(monkeypatch) as names, caplog.at_level(logging.INFO):
        features = grown(folder / "data", folder / "store", reuse=False)["all"]
    assert len(names) == 141
    assert "reused_recordings" not in features.manifest.provenance
    assert "taken" not in caplog.text
