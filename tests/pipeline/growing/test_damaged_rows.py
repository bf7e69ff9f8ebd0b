"""Stored rows that cannot be used: their recordings are read instead, and the result is the same."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from tests.faults.forger import Forgery
from tests.pipeline.growing.growing_folders import add, damage, grown, is_as_fresh, opened

from spikestore.store import Store

pytestmark = pytest.mark.usefixtures("few_events")


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 70 recordings, and a set of them in two fragments; one recording is new."""
    folder = tmp_path_factory.mktemp("former")
    add(folder / "data", **{f"a_{number:03d}": number for number in range(70)})
    grown(folder / "data", folder / "store", fragment_samples=64)
    add(folder / "data", z_1=1000)
    return folder


@pytest.fixture
def folder(former: Path, tmp_path: Path) -> Path:
    shutil.copytree(former, tmp_path / "grown")
    return tmp_path / "grown"


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("value/c/0", False),
        pytest.param("label/c/0", True, marks=pytest.mark.slow),
        pytest.param("check/c/0", False, marks=pytest.mark.slow),
    ],
)
def test_recordings_of_a_damaged_fragment_are_read(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    lost: bool,
) -> None:
    (path,) = (folder / "store").rglob(name)
    path.unlink() if lost else damage(path)
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert len(names) == 64 + 1
    assert features.manifest.provenance["reused_recordings"] == 70 - 64
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(
        "folder all: some rows of a committed set cannot be read, so they were computed from the recordings (1 problem; the first: "
    )
    assert name in warning
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


@pytest.mark.parametrize("lost", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_damaged_set_is_left_alone(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lost: bool,
) -> None:
    """A set without manifest, or with a damaged one, is not used: one warning, and a build from recordings."""
    path = folder / "store" / Store(folder / "store")["mine:all"].address.manifest
    path.unlink() if lost else damage(path)
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert len(names) == 71
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("no rows are taken from mine:all: ")
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


def test_a_damaged_record_costs_nothing_but_encoding(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are intact, so they are decoded and encoded again, and no recording is read."""
    features = Store(folder / "store")["mine:all"]
    path = folder / "store" / features.address.record(features.manifest.plan_id, 0)
    damage(path)
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert len(names) == 1
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


@pytest.mark.slow
def test_false_block_digests_of_a_former_set_are_not_passed_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the former set, whose digest is that of the false ones, only a deep verify notices them."""
    former = Store(folder / "store")["mine:all"]
    forgery = Forgery(folder / "store", former.address)
    forgery.change_record(lambda record: record["blocks"].__setitem__(0, "0" * 64), 0)
    forgery.add_up()
    assert Store(folder / "store")[former.address.short].digest != former.digest
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert len(names) == 1
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")


@pytest.mark.slow
def test_rows_that_lie_about_a_set_are_not_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of another fragment, whose own hashes are valid, are not used."""
    (path,) = (folder / "store").rglob("value/c/0")
    other = path.with_name("1")
    path.chmod(0o600)
    path.write_bytes(other.read_bytes())
    with opened(monkeypatch) as names:
        features = grown(folder / "data", folder / "store")["all"]
    assert len(names) == 64 + 1
    assert is_as_fresh(folder / "data", features, tmp_path / "fresh")
