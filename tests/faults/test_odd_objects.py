"""One odd object does not hide other objects: each command reports it, and lists, verifies or copies the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.faults.effort import LONG
from tests.faults.odd_objects import DATED, KEY, NAMES, ODD
from tests.scenarios.refusals import Answer, Run
from tests.store.damage import NAME, OTHER_SOURCE, SMALL, make_store

from spikestore.store import Store

ALWAYS = [
    "file called bytes in records",
    "full folder called bytes in features",
    "loop as record",
    "file as refs",
    "entry of before year 1",
    "file called key in builds",
    "full folder called bytes in builds",
]
IN_CI = [
    "pipe called key in transform",
    "full folder called entry in ref",
    "socket as manifest",
    "full folder as plan",
    "empty folder as chunk",
    "dead link as chunk",
    "empty folder as entry",
    "file as features",
    "file as builds",
    "file as ref",
    "record of after year 9999",
]


def chosen() -> list[Any]:
    """Return the cases of this run."""
    slow = [what for what in ODD if what not in ALWAYS] if LONG else IN_CI
    return [*ALWAYS, *(pytest.param(what, marks=pytest.mark.slow) for what in slow)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three named sets."""
    root = tmp_path_factory.mktemp("whole")
    make_store(root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of the store, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def shown(path: str) -> str:
    """Return the end of a path as a command writes it."""
    end = path.rpartition("/")[2]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in end)


@pytest.mark.parametrize("what", chosen())
def test_every_command(what: str, run: Run, root: Path, whole: Path, tmp_path: Path) -> None:
    path = ODD[what](root)
    name = shown(path)
    listed, verified = run("ls", "--store", root), run("verify", "--store", root)
    if what in DATED:
        assert (listed.status, verified.status) == (0, 0)
    else:
        assert verified.status == 1, verified
        assert name in verified.err
    if not path.startswith("refs"):
        assert "other:valid" in listed.out or "features: is" in listed.err
    assert OTHER_SOURCE.address.source_key[:12] in listed.out + verified.err or path == "features"
    collected = run("gc", "--older-than", "0", "--store", root)
    assert collected.status == 0 or "features in" in collected.err, collected
    if path not in {"features", "refs", SMALL.address.folder.rpartition("/")[0]}:
        assert run("show", "other:valid", "--store", root).status == 0
        assert run("push", "other", "--store", root, "--to", tmp_path / "other").status == 0
    pushed = run("push", NAME, "--store", root, "--to", tmp_path / "copy")
    assert (
        pushed.status == 0 or name in pushed.err or path in pushed.err or SMALL.address.folder in pushed.err
    )
    repaired = run("repair", "/".join(SMALL.address), "--store", root, "--from", whole)
    again = run("verify", "/".join(SMALL.address), "--store", root)
    mended(repaired, again, name, path)


def mended(repaired: Answer, again: Answer, name: str, path: str) -> None:
    """Assert that a repair either restored the set, or reports why it cannot."""
    if repaired.status == 0:
        assert again.status == 0, (repaired, again)
    else:
        assert name in repaired.err or path in repaired.err


def test_other_fragments_are_repaired(run: Run, root: Path, whole: Path) -> None:
    """A folder that can't be replaced does not prevent the repair of other fragments."""
    build = f"{SMALL.address.build(SMALL.plan().hash[:12])}"
    for number in (0, 1):
        (root / build / f"records/0000{number}.json").unlink()
    (root / build / "records/00000.json").mkdir()
    (root / build / "records/00000.json/x").touch()
    (root / build / "data.zarr/label/c/2").unlink()
    repaired = run("repair", NAME, "--store", root, "--from", whole)
    assert repaired.status == 1
    assert "records/00001.json: from" in repaired.err
    assert "label/c/2: from the upstream" in repaired.err
    assert "records/00000.json: it is a folder instead of a file" in repaired.err


def test_the_other_splits_are_copied(run: Run, tmp_path: Path) -> None:
    """If a split is damaged, the other splits are copied, and the name is not set."""
    store = Store(tmp_path / "store")
    store.point(NAME, {"train": SMALL.build(store.storage), "valid": OTHER_SOURCE.build(store.storage)})
    (tmp_path / "store" / SMALL.address.manifest).write_bytes(b"")
    pushed = run("push", NAME, "--store", tmp_path / "store", "--to", tmp_path / "copy")
    assert pushed.status == 1
    assert SMALL.address.manifest in pushed.err
    copy = Store(tmp_path / "copy")
    assert [features.address for features in copy.feature_sets()] == [OTHER_SOURCE.address]
    assert copy.names() == []


def test_names_are_shown_without_control_characters(run: Run, root: Path) -> None:
    (root / "features" / f"\x1b[2J{KEY}").touch()
    (root / "refs" / NAMES["line end"].decode()).touch()
    for command in ("ls", "verify", "gc"):
        answer = run(command, "--store", root)
        assert "\x1b" not in answer.out + answer.err
        assert r"features/\x1b[2Jabab" in answer.err
        assert r"refs/a\nb.json" in answer.err


def test_hidden_files_are_no_finding(run: Run, root: Path) -> None:
    """Hidden files, which file managers and network file systems leave anywhere, are not reported."""
    for folder in ("features", "refs", f"refs/{NAME}", SMALL.address.folder):
        (root / folder / ".DS_Store").touch()
    assert run("ls", "--store", root).status == 0
    assert run("verify", "--store", root).status == 0


def test_an_age_before_all_time(run: Run, root: Path) -> None:
    assert run("gc", "--older-than", "1e9", "--store", root).status == 0
